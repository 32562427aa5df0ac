"""What a run's selections left out, as a sentence and rows of a table.

This file imports nothing of galflow, so that the terminal need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
