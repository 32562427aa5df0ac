"""What travels with a table beside its values: each column's unit, description and UCD, and what could not be read.

Units, descriptions and UCDs are pyarrow field metadata, as VOParquet has them. What was left out of a file is kept as a
list of texts in the schema's metadata until the run has recorded it. This file refuses to judge: it only carries.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

REASONS = b"galflow_reasons"
"""Schema metadata: JSON list of texts, each naming file, column or row, and what became of it."""
PART_OF_SKY = b"galflow_part_of_sky"
"""Schema metadata of rows near the tiles of a catalogue that covers more of the sky: the others were never read."""
ROLE = b"galflow_role"
"""Field metadata of a file's own pixel positions beside sky positions: "x0", "x1", "y0" or "y1" (axis, first pixel)."""
DESCRIPTIVE = ("unit", "description", "ucd")
"""Field metadata that says what a column is."""


def reasons_of(table: pa.Table) -> list[str]:
    """What was left out when the table was read, or is doubtful; empty where nothing was."""
    stored = (table.schema.metadata or {}).get(REASONS)
    return [] if stored is None else [str(reason) for reason in json.loads(stored)]


def with_reasons(table: pa.Table, reasons: Iterable[str]) -> pa.Table:
    """The table with further reasons after those it has, each once."""
    together = list(dict.fromkeys([*reasons_of(table), *reasons]))
    if not together:
        return table
    metadata = dict(table.schema.metadata or {}) | {REASONS: json.dumps(together).encode()}
    return table.replace_schema_metadata(metadata)


def is_part_of_sky(table: pa.Table) -> bool:
    """Whether the catalogue has rows elsewhere, which were left out unread."""
    return PART_OF_SKY in (table.schema.metadata or {})


def without_reasons(table: pa.Table) -> pa.Table:
    """The table as it is published: without galflow's own notes in schema and fields."""
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key not in (REASONS, PART_OF_SKY)}
    fields = [field.with_metadata(_without_role(field.metadata)) for field in table.schema]
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields, metadata=metadata or None))


def _without_role(metadata: Mapping[bytes, bytes] | None) -> dict[bytes, bytes]:
    return {key: value for key, value in (metadata or {}).items() if key != ROLE}


def notes(unit: object = None, description: object = None, ucd: object = None) -> dict[bytes, bytes]:
    """Field metadata of what is known about a column; empty texts say nothing."""
    given = zip(DESCRIPTIVE, (unit, description, ucd), strict=True)
    texts = {name: " ".join(str(value).split()) for name, value in given if value is not None}
    return {name.encode(): text.encode() for name, text in texts.items() if text}


def note_of(field: pa.Field, name: str) -> str:
    """A text of the field's metadata, "" where it has none."""
    value: bytes = (field.metadata or {}).get(name.encode(), b"")
    return value.decode("utf-8", errors="replace")


def assembled(columns: Sequence[tuple[pa.Field, pa.Array | pa.ChunkedArray]], like: pa.Table | None = None) -> pa.Table:
    """A table of columns; each field takes its column's type, the schema the metadata of ``like``.

    Names that repeat get a suffix: "mag", "mag_2".
    """
    names = unique_names([field.name for field, _ in columns])
    fields = [
        pa.field(name, array.type, metadata=field.metadata) for name, (field, array) in zip(names, columns, strict=True)
    ]
    schema = pa.schema(fields, metadata=None if like is None else like.schema.metadata)
    return pa.Table.from_arrays([array for _, array in columns], schema=schema)


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, each once: the second "mag" is "mag_2"; a column without a name is "column_" and its number from 1."""
    taken = set(names)
    seen: set[str] = set()
    unique = []
    for number, name in enumerate(names, start=1):
        chosen = name or f"column_{number}"
        suffix = 2
        while chosen in seen or (chosen != name and chosen in taken):
            chosen = f"{name or f'column_{number}'}_{suffix}"
            suffix += 1
        seen.add(chosen)
        unique.append(chosen)
    return unique
