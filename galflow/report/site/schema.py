"""What the pages' scripts are told of a run: its columns, flags, classes and bands, and where its pictures lie."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from galflow.cutouts.cutout_set import CutoutSet
from galflow.models.base import Reconstructs
from galflow.report.flag_words import FLAG_WORDS
from galflow.report.inputs import ReportInputs
from galflow.report.pictures import Display
from galflow.report.site.explained import StoredResiduals
from galflow.report.site.gallery import CHUNK_ROWS, Gallery, classes_of
from galflow.report.site.latents import LatentMap
from galflow.report.site.sheets import (
    KIND,
    PIXELS_OBJECTS,
    SHEET_COLUMNS,
    SHEET_OBJECTS,
    objects_with_pixels,
    thumbnail_side,
)
from galflow.report.site.tiles import TileTable
from galflow.report.site.viewers import viewers
from galflow.scores.score import columns_of
from galflow.scores.summary import SIGMA_EDGES


def schema_of(
    inputs: ReportInputs,
    gallery: Gallery,
    tiles: TileTable,
    display: Display,
    latents: LatentMap | None,
    lost: Collection[int],
    stored: StoredResiduals,
) -> dict[str, Any]:
    """As scripts/source.js says; ``lost``: sheets of pictures that could not be written; ``stored``: by the run."""
    columns = gallery.columns()
    names = {column["name"] for column in columns}
    bits = gallery.flags()
    files_of_sheet = SHEET_OBJECTS // PIXELS_OBJECTS
    side = inputs.spec.cutouts.size
    pixels = min(len(gallery), objects_with_pixels(len(display.bands), side))
    return {
        "run": inputs.run,
        "survey": inputs.spec.survey.survey_name,
        "rows": len(gallery),
        "objects": inputs.findings["objects"],
        "chunks": max(1, math.ceil(len(gallery) / CHUNK_ROWS)),
        "columns": columns,
        "left_out": list(gallery.left_out),
        "scores": [name for score in inputs.calibrated if (name := f"{score}_sigma") in names],
        "raw_scores": [score for score in inputs.calibrated if score in names],
        "meanings": _meanings(inputs),
        "distributions": _distributions(inputs),
        "magnitude": gallery.magnitude(display.bands),
        "bands": list(display.bands),
        "channels": [display.bands[i] for i in display.channels],
        "display": {"softening": _finite(display.softening_sigma), "white": display.white_sigma},
        "flags": {
            f.name: {"bit": int(f), "words": words} for f, words in FLAG_WORDS.items() if bits & int(f) and f.name
        },
        "classes": classes_of(gallery),
        "labels": gallery.present("label"),
        "tiles": tiles.names,
        "viewers": viewers(inputs.spec.survey),
        "pixel_scale_arcsec": _pixel_scale(inputs),
        "cutout_pixels": side,
        "latents": None if latents is None else {"model": latents.model, "shares": latents.shares.round(3).tolist()},
        "explained": _explained(inputs.run, stored, stored.room(len(display.bands), side), len(gallery))
        if any(isinstance(model.module, Reconstructs) for model in inputs.survey_models.values())
        else "",
        "sprites": {
            "size": thumbnail_side(side),
            "across": SHEET_COLUMNS,
            "each": SHEET_OBJECTS,
            "objects": len(gallery),
            "kind": KIND,
            "lost": sorted(lost),
        },
        "pixels": {
            "each": PIXELS_OBJECTS,
            "objects": pixels,
            "lost": sorted(sheet * files_of_sheet + i for sheet in lost for i in range(files_of_sheet)),
        },
    }


def _explained(run: str, stored: StoredResiduals, room: int, objects: int) -> str:
    """Of which objects there are reconstructions, and how one sees those of the others."""
    words = f"The report has reconstructions of its first {SHEET_OBJECTS} objects"
    if stored.models and room > SHEET_OBJECTS:
        among = f" among its first {room:,}" if room < objects else ""
        words += f", and of those{among} whose residual pictures the run stored (output.residuals)"
    return f"{words}. Those of any object are made by: galflow explore {run}"


def _meanings(inputs: ReportInputs) -> dict[str, str]:
    """Score column -> what it measures, as its model says."""
    models = inputs.survey_models
    return {c.name: models[c.model].card.scores.get(c.score, "") for c in columns_of(models) if c.calibrated}


def _distributions(inputs: ReportInputs) -> dict[str, Any]:
    """Of each score's sigmas over all objects of the run: the edges of all, and counts, with those beyond both ends."""
    counts = {f"{s}_sigma": h.counts.tolist() for s in inputs.calibrated if (h := inputs.summary.sigma.get(s))}
    return {"edges": SIGMA_EDGES.round(6).tolist(), "counts": counts}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pixel_scale(inputs: ReportInputs) -> float | None:
    """Of the run's cutouts, in arcsec; None where nothing was cut."""
    first = next((r for r in inputs.cutouts if r.rows), None)
    return None if first is None else float(CutoutSet(inputs.store, first.product).attributes["pixel_scale_arcsec"])
