"""What is asked about likeness: the objects most like one."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, FastAPI, Query

from galflow.errors import SpecError
from galflow.explore.answers import as_rows, ids_among
from galflow.explore.explored import ExploredRun
from galflow.explore.requests import Explored, object_number
from galflow.runs.similar import has_index, similar_objects

router = APIRouter()


def serve_similar(app: FastAPI) -> None:
    """Have a service know which objects are alike, if the run has an index."""
    explored: ExploredRun = app.state.explored

    def find(object_id: int, count: int) -> npt.NDArray[Any]:
        near = similar_objects(explored.store, explored.manifest).near(object_id, count)
        return np.array([neighbour.object_id for neighbour in near])

    if has_index(explored.manifest):
        explored.similar = find


@router.get("/objects/{object_id}/similar")
def similar(explored: Explored, object_id: str, count: Annotated[int, Query(ge=1, le=500)] = 12) -> dict[str, Any]:
    """Rows of the objects most like one, the nearest first, each with its ``distance`` in latents."""
    wanted = object_number(object_id)
    explored.numbers_of(wanted)  # says if there is no such object
    try:
        found = similar_objects(explored.store, explored.manifest).near(wanted, count)
    except SpecError as error:
        if not has_index(explored.manifest):
            raise
        return {"rows": [], "why": str(error)}  # it was not scored, so it has no latents
    numbers = [explored.numbers_of(neighbour.object_id)[0] for neighbour in found]
    rows = as_rows(explored.rows.fetch(numbers), ids_among(explored.rows.columns)) if numbers else []
    return {"rows": [row | {"distance": near.distance} for row, near in zip(rows, found, strict=True)]}
