"""What is asked about maps of the sky and of latents, and of what is drawn around on them."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Body

from galflow.errors import SpecError
from galflow.explore.maps import Bounds, Map, MapQuery
from galflow.explore.query import Query
from galflow.explore.requests import Explored, Selected, lasso_of

router = APIRouter()


@router.get("/points")
def points(
    explored: Explored,
    selection: Selected,
    x: str,
    y: str,
    colour: str | None = None,
    bounds: str = "",
    cells: int = 256,
) -> dict[str, Any]:
    """Counts in cells, and points; ``bounds``: lowest and highest x, lowest and highest y of what is visible.

    Arrays are base64 of little-endian numbers: counts uint32, means, x, y and colour float32.
    """
    query = MapQuery(x, y, colour, selection, _bounds(bounds) if bounds else None, (cells, cells))
    return _answer(explored.maps.draw(query))


@router.post("/selections")
def selections(explored: Explored, selection: Selected, polygon: Annotated[Any, Body()]) -> dict[str, Any]:
    """How many of the selected rows lie within {x, y, points}; the same JSON, given as ``lasso``, selects them."""
    return {"rows": len(explored.rows.ordered(Query(replace(selection, lasso=lasso_of(polygon)))))}


def _bounds(text: str) -> Bounds:
    try:
        x0, x1, y0, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise SpecError(f"bounds {text!r}; expected four numbers: lowest and highest x, then y") from None
    return (x0, x1, y0, y1)


def _answer(found: Map) -> dict[str, Any]:
    down, across = found.counts.shape
    return {
        "bounds": found.bounds,
        "count": found.count,
        "whole": found.whole,
        "across": across,
        "down": down,
        "counts": _packed(found.counts, "<u4"),
        "means": None if found.means is None else _packed(found.means, "<f4"),
        "ids": [str(i) for i in found.points.get("id", ())],
        **{name: _packed(found.points[name], "<f4") for name in ("x", "y", "colour") if name in found.points},
    }


def _packed(values: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")
