"""What is asked about rows: the columns, a page of the table, one object and its picture."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from galflow.errors import SpecError
from galflow.explore import rows as asked
from galflow.explore.answers import as_rows, ids_among
from galflow.explore.explored import ExploredRun
from galflow.report.pictures import picture_png

router = APIRouter()


def explored_of(request: Request) -> ExploredRun:
    """The run that the service shows."""
    found: ExploredRun = request.app.state.explored
    return found


Explored = Annotated[ExploredRun, Depends(explored_of)]


def query_of(
    where: str = "", order: str | None = None, descending: bool = False, lasso: str | None = None
) -> asked.Query:
    """Which rows are meant, in which order."""
    return asked.Query(where, order, descending, lasso)


Asked = Annotated[asked.Query, Depends(query_of)]


def object_number(text: str) -> int:
    """An id, which travels as text."""
    try:
        return int(text)
    except ValueError:
        raise SpecError(f"{text!r} is no object id; expected a whole number, as in the column object_id") from None


@router.get("/schema")
def schema(explored: Explored) -> dict[str, Any]:
    """Columns, rows and what else a page has to know first."""
    return explored.schema()


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


@router.get("/objects/{object_id}")
def one(explored: Explored, object_id: str, row: int | None = None) -> dict[str, Any]:
    """An object's row with all its columns: the primary one, or the one of this number."""
    number = explored.row_of(object_number(object_id)) if row is None else row
    return {"row": as_rows(explored.rows.fetch([number]), ids_among(explored.rows.columns))[0]}


@router.get("/objects/{object_id}/cutout.png")
def cutout(explored: Explored, object_id: str, row: int | None = None) -> Response:
    """Its picture in colour."""
    number = explored.row_of(object_number(object_id)) if row is None else row
    (place,) = explored.places([number])
    if place is None:
        raise SpecError(f"object {object_id} has no cutout")
    (picture,) = explored.pictures.draw([place])
    return Response(picture_png(picture), media_type="image/png")
