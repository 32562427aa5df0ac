"""What is asked about rows: the columns, a page of the table, one object and its picture."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from fastapi.responses import Response

from galflow.errors import SpecError
from galflow.explore.answers import as_rows, ids_among
from galflow.explore.pictures import MOST_PICTURES, SPRITE_SIDE, image_png, sprite_png
from galflow.explore.requests import Asked, Explored, object_number
from galflow.explore.schema import page_schema

router = APIRouter()


@router.get("/schema")
def schema(explored: Explored) -> dict[str, Any]:
    """Columns, rows and what else a page has to know first."""
    return page_schema(explored)


@router.get("/rows")
def rows(
    explored: Explored,
    query: Asked,
    offset: int = 0,
    limit: int = 50,
    column: Annotated[list[str] | None, Query()] = None,
) -> dict[str, Any]:
    """How many rows there are, and a page of them."""
    total, table = explored.rows.page(query, offset, limit, column)
    return {"total": total, "rows": as_rows(table, ids_among(explored.rows.columns))}


@router.get("/sprite.png")
def sprite(explored: Explored, row: Annotated[list[int], Query()], side: int = SPRITE_SIDE) -> Response:
    """The pictures of these rows side by side, each scaled to ``side`` pixels."""
    if len(row) > MOST_PICTURES or not 8 <= side <= 256:
        raise SpecError(f"{len(row)} pictures of {side} pixels; give at most {MOST_PICTURES}, of 8 to 256 pixels")
    return Response(sprite_png(explored.pictures, explored.places(row), side), media_type="image/png")


@router.get("/objects/{object_id}")
def one(explored: Explored, object_id: str, row: int | None = None) -> dict[str, Any]:
    """An object's row with all its columns, the primary one or the one of this number; its other rows by number."""
    found = explored.numbers_of(object_number(object_id))
    number = found[0] if row is None else row
    table = explored.rows.fetch([number])
    return {"row": as_rows(table, ids_among(explored.rows.columns))[0], "others": [n for n in found if n != number]}


@router.get("/objects/{object_id}/cutout.png")
def cutout(explored: Explored, object_id: str, row: int | None = None) -> Response:
    """Its picture in colour."""
    (place,) = explored.places([explored.numbers_of(object_number(object_id))[0] if row is None else row])
    if place is None:
        raise SpecError(f"object {object_id} has no cutout")
    (picture,) = explored.pictures.draw([place])
    return Response(image_png(picture), media_type="image/png")


@router.get("/objects/{object_id}/pixels")
def pixels(explored: Explored, object_id: str, row: int | None = None) -> dict[str, Any]:
    """Its pixels band by band, as scripts/static_source.js decodes them; null where it has no cutout."""
    (place,) = explored.places([explored.numbers_of(object_number(object_id))[0] if row is None else row])
    return {"pixels": None if place is None else explored.pictures.pixels(place)}


@router.get("/objects/{object_id}/explained")
def explained_by(explored: Explored, object_id: str, row: int | None = None) -> dict[str, Any]:
    """The models' reconstructions as ``pixels`` gives pixels, each with its origin; why there is none by a model."""
    number = explored.numbers_of(object_number(object_id))[0] if row is None else row
    (place,) = explored.places([number])
    if place is None:
        return {"explained": []}
    (tile,) = explored.rows.fetch([number], ["tile"]).column("tile").to_pylist()
    found = [
        {"model": one.model, "origin": one.origin, "why": one.why}
        | ({} if one.flux is None else explored.pictures.packed(place, one.flux))
        for one in explored.reconstructions.of(tile, *place)
    ]
    return {"explained": found}


@router.get("/objects/{object_id}/place")
def place_of(explored: Explored, query: Asked, object_id: str) -> dict[str, int]:
    """Where an object stands among the rows of a query, from 0; -1: it is not among them."""
    number = explored.numbers_of(object_number(object_id))[0]
    found = np.flatnonzero(explored.rows.ordered(query) == number)
    return {"place": int(found[0]) if len(found) else -1}
