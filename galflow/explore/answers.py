"""Rows of a catalogue as JSON, in which nothing is rounded: ids as text, and what no JSON number can be as text."""

from __future__ import annotations

import base64
import math
from collections.abc import Collection
from typing import Any

import pyarrow as pa

from galflow.explore.columns import ExploredColumns

_LARGEST_EXACT = 2**53
"""JavaScript's numbers are float64."""


def ids_among(columns: ExploredColumns) -> frozenset[str]:
    """Columns of whole numbers that name something, which travel as text."""
    return frozenset(n for n, c in columns.items() if c.value == "integer" and c.ucd.split(";")[0] == "meta.id")


def as_rows(table: pa.Table, ids: Collection[str]) -> list[dict[str, Any]]:
    """A dictionary a row."""
    values = {
        name: [_text(v) if name in ids else plain(v) for v in table.column(name).to_pylist()]
        for name in table.column_names
    }
    return [{name: column[i] for name, column in values.items()} for i in range(len(table))]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGEST_EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, list):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {str(name): plain(element) for name, element in value.items()}
    return str(value)
