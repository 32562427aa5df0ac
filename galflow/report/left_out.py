"""What a run's selections left out, by reason: summed over tiles for the manifest, and as rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from galflow.cutouts.tile_rows import SELECTION_DETAIL
from galflow.storage.receipts import Receipt, read_receipts
from galflow.storage.store import Store
from galflow.surveys.reading.selection import LeftOut, together


def left_out_of_run(store: Store, receipts: Sequence[Receipt], unopened: Sequence[str]) -> dict[str, Any]:
    """The counts of cutout sets, as plain values: rows, selected, left_out by reason; and of tiles not opened.

    Rows are those of the catalogues of opened tiles, and of a survey-wide catalogue all.
    """
    details = (receipt.details.get(SELECTION_DETAIL) for receipt in read_receipts(store, [r.key for r in receipts]))
    whole = together(LeftOut.from_json(found) for found in details if found is not None)
    return whole.to_json() | {"unopened_tiles": len(unopened)}


@dataclass(frozen=True)
class SelectionTable:
    """One survey's, or sample's."""

    name: str
    sentence: str
    rows: tuple[tuple[str, int, int], ...]
    """(reason, objects of which it is the first, objects of which it holds)."""


def selection_tables(found: Mapping[str, Any]) -> list[SelectionTable]:
    """A table for each selection of a run's findings."""
    return [
        SelectionTable(
            name,
            selection_sentence(of),
            tuple((row["reason"], row["objects"], row["alone"]) for row in of["left_out"]),
        )
        for name, of in found.get("selection", {}).items()
    ]


def selection_sentence(of: Mapping[str, Any]) -> str:
    """How many objects were taken of how many, and which tiles were not even opened."""
    words = f"{of['selected']:,} of {of['rows']:,} catalogued objects were selected"
    match of["unopened_tiles"]:
        case 0:
            return f"{words}."
        case 1:
            return f"{words}; one tile lies beyond the regions and was not opened."
        case tiles:
            return f"{words}; {tiles:,} tiles lie beyond the regions and were not opened."
