"""What is asked about labels: what people said, what to show next, and what somebody says now.

Everything is put into the store before it is answered; nothing of it is kept here alone.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from galflow.explore.answers import as_rows, ids_among
from galflow.explore.requests import Explored, object_number
from galflow.runs.labelling import Labelling

router = APIRouter()
MOST_SHOWN = 200
MOST_AT_ONCE = 10_000
MEDIA = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "fits": "application/fits"}


class Said(BaseModel):
    """What somebody says of some objects, in one act."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[str], Field(min_length=1, max_length=MOST_AT_ONCE)]
    label: str | None
    by: str
    note: Annotated[str, Field(max_length=2000)] = ""
    target: str = "interesting"


class Person(BaseModel):
    """Who asks."""

    model_config = ConfigDict(extra="forbid")

    by: str
    target: str = "interesting"


def serve_labels(app: FastAPI, labelling: Labelling) -> None:
    """Have a service know the labels: its rows can be chosen by them."""
    app.state.labelling = labelling
    explored = app.state.explored

    def labelled(label: str) -> npt.NDArray[Any]:
        return np.array([i for i, judgement in labelling.refresh().items() if judgement.label == label])

    explored.label_classes = lambda: sorted({judgement.label for judgement in labelling.refresh().values()})
    explored.rows.masks.labelled = labelled


def _labelling(request: Request) -> Labelling:
    found: Labelling = request.app.state.labelling
    return found


@router.get("/labels")
def labels(request: Request, by: str = "", target: str = "interesting") -> dict[str, Any]:
    """Classes, how many objects have which, what ``by`` said last, and what labelling found so far."""
    labelling = _labelling(request)
    labelling.refresh()
    return _standing(labelling, by, target)


def _standing(labelling: Labelling, by: str, target: str) -> dict[str, Any]:
    gain = labelling.gain(target)
    mine = [i for i, judgement in labelling.judgements.items() if by in judgement.votes]
    return {
        "classes": labelling.classes,
        "counts": labelling.counts,
        "mine": len(mine),
        "people": labelling.people,
        "disputed": [str(i) for i, j in labelling.judgements.items() if len(j.counts) > 1][:MOST_SHOWN],
        "unreadable": labelling.book.unreadable,
        "gain": {"found": gain.found, "plain": gain.plain},
    }


@router.get("/labels/next")
def next_objects(
    request: Request,
    explored: Explored,
    by: str,
    n: Annotated[int, Query(ge=1, le=MOST_SHOWN)] = 1,
    target: str = "interesting",
) -> dict[str, Any]:
    """Rows of the objects to show ``by`` next, and how probable it is that each is interesting; null: not known yet."""
    labelling = _labelling(request)
    chosen = labelling.next_objects(by, n, target)
    chances = labelling.probabilities(chosen, target)
    numbers = [explored.numbers_of(object_id)[0] for object_id in chosen]
    table = explored.rows.fetch(numbers)
    rows = as_rows(table, ids_among(explored.rows.columns))
    return {"rows": rows, "probability": chances}


@router.post("/labels")
def say(request: Request, said: Said) -> dict[str, Any]:
    """Store it; a null label takes back what ``by`` said. Answered once the store has it."""
    labelling = _labelling(request)
    given = labelling.label([object_number(i) for i in said.ids], said.label, said.by, said.note)
    told = [{"object_id": str(one.object_id), "label": one.label, "at": one.at.isoformat()} for one in given]
    return {"labels": told, **_standing(labelling, said.by, said.target)}


@router.post("/labels/undo")
def undo(request: Request, explored: Explored, who: Person) -> dict[str, Any]:
    """Take back what ``by`` said last; the rows of the objects."""
    labelling = _labelling(request)
    numbers = [explored.numbers_of(object_id)[0] for object_id in labelling.undo(who.by)]
    rows = as_rows(explored.rows.fetch(numbers), ids_among(explored.rows.columns)) if numbers else []
    return {"rows": rows, **_standing(labelling, who.by, who.target)}


@router.get("/labels/of/{object_id}")
def of_object(request: Request, object_id: str) -> dict[str, Any]:
    """What each person says of one object, and what that means together."""
    labelling = _labelling(request)
    found = labelling.refresh().get(object_number(object_id))
    if found is None:
        return {"label": None, "votes": {}}
    return {"label": found.label, "votes": {person: vote.label for person, vote in sorted(found.votes.items())}}


@router.get("/labels/export/{format}")
def export(request: Request, explored: Explored, format: str) -> Response:
    """All labelled objects as CSV, Parquet or FITS."""
    from galflow.runs.label_export import labels_as

    labelling = _labelling(request)
    labelling.refresh()
    data = labels_as(labelling.table(), format)
    name = f'attachment; filename="{explored.name}-labels.{format}"'
    return Response(data, media_type=MEDIA[format], headers={"content-disposition": name})
