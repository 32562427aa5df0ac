"""The sections with pictures: most anomalous, set apart, left out, random normal and planted, drawn by one display.

Each is a contact sheet, one picture an object, followed by cards with what every model makes of it. Where a run asks
for more objects than a small file can show, the first ones get pictures and the rest a line each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from galflow.cutouts.cutout_set import CutoutSet
from galflow.models.base import Reconstructs
from galflow.report.cards import Card, make_cards, make_display, objects_pictured, read_cutouts
from galflow.report.inputs import RESIDUALS, ReportInputs
from galflow.report.objects import Selection, Shown
from galflow.report.pictures import LARGEST_SIDE, Display, data_uri
from galflow.report.residuals import RESIDUAL_LIMIT, residual_legend_png
from galflow.report.trimmed import Trimmed
from galflow.storage.layout import residuals_folder

_FEW_MODELS = 4
"""So many models' pictures stand side by side at full size; of more models, six do at a smaller one."""
_MANY_PER_ROW = 6
_PIXELATED_SIDE = 64
"""Pictures of no more pixels than this are enlarged without smoothing."""


@dataclass(frozen=True)
class Gallery:
    """The objects of a section: those with pictures, and those that found no room for any."""

    name: str
    """What its cards' anchors begin with."""
    cards: list[Card]
    rest: list[Shown]


def galleries(inputs: ReportInputs, selection: Selection, left_out: Trimmed) -> tuple[dict[str, Any], Display]:
    """The pictures of all sections, and in words how to read them, for the templates; and how fluxes become colours."""
    room = _room(inputs, left_out)
    examples, titles = _planted_examples(selection, inputs.primary)
    wanted = {
        "top": (selection.top, [f"#{row.rank}" for row in selection.top]),
        "apart": (selection.apart, [f"#{row.rank} {row.triage}" for row in selection.apart]),
        "left": (selection.left, [f"#{row.rank} {left_out.of_what(row.tile, row.row)}" for row in selection.left]),
        "normal": (selection.normal, [f"normal {i + 1}" for i in range(len(selection.normal))]),
        "planted": (examples, titles),
    }
    rows = {name: shown[:room] for name, (shown, _) in wanted.items()}
    products = {str(r.details.get("tile", "")): r.product for r in inputs.cutouts}
    # All at once, so that each chunk is read once and each model sees full batches.
    every = [row for part in rows.values() for row in part]
    cutouts = read_cutouts(inputs.store, products, every, inputs.survey_models)
    first_normal = len(rows["top"]) + len(rows["apart"]) + len(rows["left"])
    display = make_display(inputs.survey_models, cutouts[first_normal : first_normal + len(rows["normal"])])
    cards = iter(
        make_cards(
            every,
            cutouts,
            inputs.survey_models,
            display,
            inputs.primary,
            [title for name, (_, given) in wanted.items() for title in given[: len(rows[name])]],
        )
    )
    made = {
        name: Gallery(name, [next(cards) for _ in part], list(wanted[name][0][room:])) for name, part in rows.items()
    }
    side = _geometry(inputs)
    oriented = any(cutout.orientation.to_north_deg is not None for cutout in cutouts)
    return {
        "galleries": made,
        "oriented": oriented,
        "display_words": display.describe(),
        "display_short": display.short(),
        "side_words": side,
        "residual_legend": data_uri(residual_legend_png()),
        "residual_limit": RESIDUAL_LIMIT,
        "stored": _stored_residuals(inputs),
        **_layout(inputs),
    }, display


def _layout(inputs: ReportInputs) -> dict[str, Any]:
    """How many models' pictures stand in a row, and how large."""
    reconstructing = [n for n, m in inputs.survey_models.items() if isinstance(m.module, Reconstructs)]
    few = len(reconstructing) <= _FEW_MODELS
    return {
        "reconstructing": reconstructing,
        "columns": len(reconstructing) if few else min(_MANY_PER_ROW, len(reconstructing)),
        "side_px": 96 if few else 64,
        "pixelated": min(inputs.spec.cutouts.size, LARGEST_SIDE) <= _PIXELATED_SIDE,
    }


def _stored_residuals(inputs: ReportInputs) -> dict[str, Any] | None:
    """Of how many objects, by which models and where residuals are stored; None where none are."""
    receipts = inputs.stages[RESIDUALS].receipts if RESIDUALS in inputs.stages else ()
    models = dict.fromkeys(name for r in receipts for name in str(r.details["models"]).split(", ") if name)
    if not models:
        return None
    folder = residuals_folder(inputs.spec.survey.survey_name)
    return {"objects": sum(r.rows for r in receipts), "models": list(models), "folder": folder}


def _room(inputs: ReportInputs, left_out: Trimmed) -> int:
    """How many objects of each gallery get pictures."""
    card = next(iter(inputs.survey_models.values())).card
    reconstructing = sum(isinstance(m.module, Reconstructs) for m in inputs.survey_models.values())
    sections = 3 + (inputs.spec.cutouts.plant is not None) + left_out.any
    return max(1, objects_pictured(len(card.bands), inputs.spec.cutouts.size, reconstructing) // sections)


def _geometry(inputs: ReportInputs) -> str:
    """Side and scale of the pictures."""
    size = inputs.spec.cutouts.size
    first = next((r for r in inputs.cutouts if r.rows), None)
    if first is None:
        return f"{size} pixels"
    scale = float(CutoutSet(inputs.store, first.product).attributes["pixel_scale_arcsec"])
    return f"{size} pixels = {size * scale:.3g} arcsec ({scale:.3g} arcsec per pixel)"


def _planted_examples(selection: Selection, primary: str) -> tuple[list[Shown], list[str]]:
    """For each kind the copy with the highest primary score and the one with the lowest, where they differ."""
    rows: list[Shown] = []
    titles: list[str] = []
    scored = [row for row in selection.planted if row.p is not None]
    for kind in [k.kind for k in selection.recall]:
        own = [row for row in scored if row.planted_kind == kind]
        for row, what in zip(own[:1] + own[1:][-1:], ("highest", "lowest"), strict=False):
            titles.append(f"{kind.replace('_', ' ')}, {what}: {_found(row, selection, primary)}")
            rows.append(row)
    return rows, titles


def _found(row: Shown, selection: Selection, primary: str) -> str:
    """Whether the primary score has it in the top 5%."""
    sigma = row.sigma[primary]
    is_found = sigma is not None and selection.top_sigma is not None and sigma >= selection.top_sigma
    return "found" if is_found else "missed"
