"""The sections with pictures: most anomalous, random normal and planted objects, all drawn by one display.

Where a run asks for more objects than a small file can show, the first ones get pictures and the rest a line each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from galflow.cutouts.cutout_set import CutoutSet
from galflow.models.base import Reconstructs
from galflow.report.cards import Card, make_cards, make_display, objects_pictured, read_cutouts
from galflow.report.inputs import ReportInputs
from galflow.report.objects import Selection, Shown
from galflow.report.pictures import MISSING_RGB, Display, data_uri
from galflow.report.residuals import RESIDUAL_LIMIT, residual_legend_png

MODELS_PER_ROW = 3
"""A card shows the reconstructions of so many models in a row."""


@dataclass(frozen=True)
class Gallery:
    """The cards of a section, and the objects that found no room for pictures."""

    cards: list[Card]
    rest: list[Shown]


def galleries(inputs: ReportInputs, selection: Selection) -> dict[str, Any]:
    """The pictures of real objects, and in words how to read them."""
    products = _products(inputs)
    room = _room(inputs)
    normal = read_cutouts(inputs.store, products, selection.normal[:room])
    display = make_display(inputs.models, normal)
    make = _card_maker(inputs, products, display)
    reconstructing = [n for n, m in inputs.models.items() if isinstance(m.module, Reconstructs)]
    return {
        "top": make(selection.top, room, [f"#{i + 1}" for i in range(len(selection.top))]),
        "normal": make(selection.normal, room, ["normal"] * len(selection.normal)),
        "display_words": display.describe(),
        "display_short": display.short(),
        "geometry": f"Each picture is {_geometry(inputs)} on a side, y upwards",
        "side_words": _geometry(inputs),
        "reconstructing": reconstructing,
        "models_per_row": MODELS_PER_ROW,
        "columns": 1 + 2 * min(MODELS_PER_ROW, len(reconstructing)) if reconstructing else 1,
        "residual_legend": data_uri(residual_legend_png()),
        "residual_limit": RESIDUAL_LIMIT,
        "missing_colour": "#{:02x}{:02x}{:02x}".format(*MISSING_RGB),
        "planted_examples": make(*_planted_examples(selection, inputs.primary, room)),
    }


def _products(inputs: ReportInputs) -> dict[str, str]:
    return {str(r.details.get("tile", "")): r.product for r in inputs.cutouts}


def _room(inputs: ReportInputs) -> int:
    """How many objects of each gallery get pictures."""
    card = next(iter(inputs.models.values())).card
    reconstructing = sum(isinstance(m.module, Reconstructs) for m in inputs.models.values())
    galleries = 3 if inputs.spec.cutouts.plant is not None else 2
    return max(1, objects_pictured(len(card.bands), inputs.spec.cutouts.size, reconstructing) // galleries)


def _card_maker(
    inputs: ReportInputs, products: Mapping[str, str], display: Display
) -> Callable[[Sequence[Shown], int, Sequence[str]], Gallery]:
    def make(rows: Sequence[Shown], room: int, titles: Sequence[str]) -> Gallery:
        shown = rows[:room]
        cutouts = read_cutouts(inputs.store, products, shown)
        cards = make_cards(shown, cutouts, inputs.models, display, inputs.primary, titles)
        return Gallery(cards, list(rows[room:]))

    return make


def _geometry(inputs: ReportInputs) -> str:
    """Side and scale of the pictures."""
    size = inputs.spec.cutouts.size
    first = next((r for r in inputs.cutouts if r.rows), None)
    if first is None:
        return f"{size} pixels"
    scale = float(CutoutSet(inputs.store, first.product).attributes["pixel_scale_arcsec"])
    return f"{size} pixels = {size * scale:.3g} arcsec ({scale:.3g} arcsec per pixel)"


def _planted_examples(selection: Selection, primary: str, room: int) -> tuple[list[Shown], int, list[str]]:
    """For each kind the copy with the highest primary score and the one with the lowest, where they differ."""
    rows: list[Shown] = []
    titles: list[str] = []
    scored = [row for row in selection.planted if row.p is not None]
    for kind in [k.kind for k in selection.recall]:
        own = [row for row in scored if row.planted_kind == kind]
        for row, what in zip(own[:1] + own[1:][-1:], ("highest score", "lowest score"), strict=False):
            sigma = row.sigma[primary]
            is_found = sigma is not None and selection.top_sigma is not None and sigma >= selection.top_sigma
            rows.append(row)
            titles.append(f"{kind.replace('_', ' ')}, {what}: {'found' if is_found else 'missed'}")
    return rows[:room], room, titles
