"""The columns of a catalogue as the explorer has them: what is said of each, and its name in the database.

In the database columns are numbered, so that no name of a survey's ever stands in SQL.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from galflow.catalog.carried import DESCRIPTION, UCD, UNIT
from galflow.errors import SpecError

Kind = Literal["number", "text", "flag", "boolean", "other"]
Value = Literal["integer", "float", "text", "boolean", "nothing", "other"]
_QUALITY = b"meta.code.qual"
_NAMED = 40
"""Columns named in a message."""


@dataclass(frozen=True)
class ExploredColumn:
    """One column of the catalogue."""

    name: str
    sql: str
    """Its name in the database."""
    value: Value
    """What kind of value an expression finds in it."""
    kind: Kind
    """How a page shows it: ``flag`` is a sum of bits; ``other`` has no order and no place in expressions."""
    unit: str = ""
    description: str = ""
    ucd: str = ""

    def to_json(self) -> dict[str, str]:
        """What a page is told of it."""
        return {
            "name": self.name, "kind": self.kind, "unit": self.unit, "description": self.description, "ucd": self.ucd,
        }  # fmt: skip


class ExploredColumns(Mapping[str, ExploredColumn]):
    """The columns by name, in the catalogue's order."""

    def __init__(self, schema: pa.Schema) -> None:
        """``schema`` is the catalogue's, with what is said of each column in its fields' metadata."""
        self.schema = schema
        self._by_name = {field.name: _column(number, field) for number, field in enumerate(schema)}

    def __getitem__(self, name: str) -> ExploredColumn:
        return self._by_name[name]

    def named(self, name: str) -> ExploredColumn:
        """The column of this name; SpecError says which there are."""
        if name not in self._by_name:
            raise SpecError(f"there is no column {name!r}; {self._near(name)}")
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def _near(self, name: str) -> str:
        by_lower = {other.lower(): other for other in self}
        near = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        more = f" and {len(self) - _NAMED} more" if len(self) > _NAMED else ""
        return f"{hint}The catalogue has {', '.join(list(self)[:_NAMED])}{more}"


def _column(number: int, field: pa.Field) -> ExploredColumn:
    said: Mapping[bytes, bytes] = field.metadata or {}
    value = _value(field.type)
    texts: dict[str, Any] = {
        name: said.get(key, b"").decode(errors="replace")
        for name, key in (("unit", UNIT), ("description", DESCRIPTION), ("ucd", UCD))
    }
    return ExploredColumn(field.name, f"c{number}", value, _kind(value, said.get(UCD, b"")), **texts)


def _value(kind: pa.DataType) -> Value:
    test = pa.types
    if test.is_dictionary(kind):
        return _value(kind.value_type)
    if test.is_boolean(kind):
        return "boolean"
    if test.is_integer(kind):
        return "integer"
    if test.is_floating(kind) or test.is_decimal(kind):
        return "float"
    if test.is_string(kind) or test.is_large_string(kind) or test.is_string_view(kind):
        return "text"
    return "nothing" if test.is_null(kind) else "other"


def _kind(value: Value, ucd: bytes) -> Kind:
    if value == "integer" and ucd == _QUALITY:
        return "flag"
    kinds: dict[Value, Kind] = {
        "integer": "number", "float": "number", "text": "text", "boolean": "boolean", "nothing": "number",
        "other": "other",
    }  # fmt: skip
    return kinds[value]
