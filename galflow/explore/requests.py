"""What requests have in common: the run that the service shows, and which rows are meant."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

from fastapi import Depends, Request

from galflow.errors import SpecError
from galflow.explore.explored import ExploredRun
from galflow.explore.query import Cone, Lasso, Query, Selection

_LARGEST_ID = 2**64


def explored_of(request: Request) -> ExploredRun:
    """The run that the service shows."""
    found: ExploredRun = request.app.state.explored
    return found


def selection_of(
    where: str = "", text: str = "", cone: str = "", lasso: str = "", label: str | None = None
) -> Selection:
    """Which rows: ``cone`` is "ra,dec,radius" in degrees, ``lasso`` JSON with x, y and points."""
    return Selection(where, text, _cone(cone) if cone else None, lasso_of(_json(lasso)) if lasso else None, label)


def query_of(
    selection: Annotated[Selection, Depends(selection_of)], order: str | None = None, descending: bool = False
) -> Query:
    """Which rows, in which order."""
    return Query(selection, order, descending)


Explored = Annotated[ExploredRun, Depends(explored_of)]
Selected = Annotated[Selection, Depends(selection_of)]
Asked = Annotated[Query, Depends(query_of)]


def _cone(text: str) -> Cone:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)) or not 0 < numbers[2] <= 180:
        raise SpecError(f"cone {text!r}; expected right ascension, declination and radius in degrees, with commas")
    return Cone(*numbers)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise SpecError("lasso is no JSON; expected x, y and points") from None


def lasso_of(given: Any) -> Lasso:
    """A polygon on a map of two columns, from JSON; SpecError says what is expected."""
    try:
        points = tuple((float(x), float(y)) for x, y in given["points"])
        found = Lasso(str(given["x"]), str(given["y"]), points)
    except (KeyError, TypeError, ValueError):
        raise SpecError("a lasso is {x: column, y: column, points: [[x, y], ...]}") from None
    if not all(math.isfinite(number) for point in points for number in point):
        raise SpecError("the points of a lasso are finite numbers")
    return found


def object_number(text: str) -> int:
    """An id, which travels as text."""
    try:
        number = int(text)
    except ValueError:
        number = _LARGEST_ID
    if not -_LARGEST_ID < number < _LARGEST_ID:
        raise SpecError(f"{text[:80]!r} is no object id; expected a whole number, as in the column object_id")
    return number
