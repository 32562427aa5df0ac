"""Whether a selection fits a survey: columns and their kinds by catalogues' heads, regions by where its tiles lie."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from galflow.errors import DataError, SpecError, StoreError
from galflow.spec.selection import SelectionSpec
from galflow.surveys.base import Fault, Survey, Tile
from galflow.surveys.reading.places import Place
from galflow.surveys.reading.regions import out_of_reach
from galflow.surveys.reading.selection import rule_faults

_READERS = 8
"""Headers and heads of catalogues read at once: in a bucket each waits for the network."""
_FIELD = "survey.select"


def selection_faults(survey: Survey, tiles: Sequence[Tile]) -> list[Fault]:
    """Rules that do not fit the catalogues, of all tiles or of some, and regions in which no tile lies.

    A catalogue of which nothing is known, or that cannot be read, has no fault here: cutting it records what it lacks.
    """
    selection = survey.selection
    if selection is None or not tiles:
        return []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="galflow-select") as readers:
        places = readers.map(lambda tile: _place(survey, tile), tiles)
        near = [tile for tile, place in zip(tiles, places, strict=True) if not out_of_reach(selection, place)]
        if not near:
            problem = f"none of the {len(tiles)} tiles of {survey.name} lies in them"
            return [Fault(f"{_FIELD}.regions", problem, "correct them")]
        schemas = list(readers.map(lambda tile: _schema(survey, tile), near)) if selection.where else []
    return _of_schemas(selection, near, schemas)


def _of_schemas(selection: SelectionSpec, tiles: Sequence[Tile], schemas: Sequence[pa.Schema | None]) -> list[Fault]:
    """Of the tiles within reach: a fault that all of them have is one of the specification."""
    known: dict[pa.Schema, list[Fault]] = {}
    affected: dict[tuple[str, str], list[Fault]] = {}
    for tile, schema in zip(tiles, schemas, strict=False):
        if schema is None:
            continue
        if schema not in known:
            known[schema] = [
                Fault(f"{_FIELD}.{field}", error.problem, error.mend) for field, error in rule_faults(selection, schema)
            ]
        for fault in known[schema]:
            affected.setdefault((fault.field, fault.problem), []).append(
                Fault(fault.field, fault.problem, fault.mend, None, tile.name)
            )
    return [
        fault if len(faults) < len(tiles) else Fault(fault.field, fault.problem, fault.mend)
        for faults in affected.values()
        for fault in (faults if len(faults) < len(tiles) else faults[:1])
    ]


def _place(survey: Survey, tile: Tile) -> Place | None:
    try:
        return Place.of(survey.footprint(tile))
    except DataError:
        return None  # told by the survey's own inspection


def _schema(survey: Survey, tile: Tile) -> pa.Schema | None:
    try:
        return survey.catalog_schema(tile)
    except (DataError, SpecError, StoreError):
        return None  # told by the survey's own inspection
