"""What the pages' scripts are told of a run first: the explorer's answer to what scripts/source.js calls a schema."""

from __future__ import annotations

import math
from typing import Any

from galflow.explore.explored import ExploredRun
from galflow.explore.pictures import SPRITE_SIDE
from galflow.report.flag_words import FLAG_WORDS
from galflow.report.site.columns import magnitude_column
from galflow.report.site.viewers import viewers
from galflow.spec.survey import SurveySpec

_SHOWN_TILES = 5000


def page_schema(explored: ExploredRun) -> dict[str, Any]:
    """As scripts/source.js says, for all rows of the catalogue."""
    rows, described = explored.rows, explored.described
    survey = SurveySpec.model_validate(explored.manifest.specification["survey"])
    columns = [column.to_json() for column in rows.columns.values() if column.kind != "other"]
    raw = [name.removesuffix("_sigma") for name in described.scores]
    first = explored.first_cutout
    bands = [] if first is None else list(first.attributes["bands"])
    return {
        "run": explored.name,
        "survey": survey.survey_name,
        "finished": explored.manifest.finished,
        "rows": rows.count,
        "objects": rows.count,
        "columns": columns,
        "scores": described.scores,
        "raw_scores": [name for name in raw if name in rows.columns],
        "meanings": {},
        "distributions": {"edges": described.edges, "counts": described.counts},
        "magnitude": magnitude_column(columns, bands),
        "bands": bands,
        **_shown(explored),
        "flags": {
            flag.name: {"bit": int(flag), "words": words}
            for flag, words in FLAG_WORDS.items()
            if described.flags & int(flag) and flag.name
        },
        "classes": described.classes,
        "labels": explored.label_classes(),
        "tiles": described.tiles[:_SHOWN_TILES],
        "viewers": viewers(survey),
        "pixel_scale_arcsec": None if first is None else float(first.attributes["pixel_scale_arcsec"]),
        "cutout_pixels": None if first is None else first.pixel_shape[-1],
        "placed": all(name in rows.columns and rows.extremes(name) is not None for name in ("ra", "dec")),
        "latents": _latents(explored),
        "neighbours": explored.similar is not None,
        "sprites": {"size": SPRITE_SIDE},
        "formats": ["parquet", "fits", "votable", "csv", "stamps", "png", "pdf"],
    }


def _latents(explored: ExploredRun) -> dict[str, Any] | None:
    """Columns that are directions of a model's latents, the leading one first; null where the run has none."""
    axes = explored.latents
    if axes is None:
        return None
    return {"model": axes.model, "axes": axes.names, "shares": axes.shares, "lost": axes.lost}


def _shown(explored: ExploredRun) -> dict[str, Any]:
    """Which bands are which colours, and how bright is white."""
    display = explored.display
    if display is None:
        return {"channels": [], "display": {"softening": None, "white": 1.0}}
    softening = display.softening_sigma if math.isfinite(display.softening_sigma) else None
    channels = [display.bands[i] for i in display.channels]
    return {"channels": channels, "display": {"softening": softening, "white": display.white_sigma}}
