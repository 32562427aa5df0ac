"""What is known about ready-made images beside their pixels: folder, parts of the file name, a table of labels.

It gives columns that travel into the catalogue, one row an image. It refuses to guess a type: parts of a file name
are text unless they are declared numbers, and a label that would hide one of galflow's own columns is an error.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.table_files import load_table
from galflow.surveys.reading.table_metadata import reasons_of, with_reasons
from galflow.surveys.reading.text_patterns import TextPattern

RESERVED = frozenset(
    {"object_id", "ra_deg", "dec_deg", "x", "y", "file", "file_name", "source_name", "read_error"}
    | {"survey", "release", "tile", "row", "run_id", "anomaly_q", "flags", "outcome"}
)
"""Columns that galflow writes itself."""


def read_labels(uri: str, file_column: str, columns: Mapping[str, str]) -> pa.Table:
    """A table of labels (CSV, FITS, VOTable, ...): its ``file_column`` under the name "file", then ``columns``.

    ``columns``: its name -> catalogue name; empty: all others under their own names. Raises SpecError for a missing,
    repeated or reserved column.
    """
    try:
        table = load_table(uri, as_text=frozenset({file_column}))
    except DataError as error:
        raise SpecError(f"labels {uri} are no table: {error}; give a table with a header line") from error
    chosen = dict(columns) or {name: name for name in table.column_names if name != file_column}
    for name in (file_column, *chosen):
        if table.column_names.count(name) != 1:
            raise SpecError(
                f"labels {uri} have {table.column_names.count(name)} columns {name!r}, expected one; their columns are "
                f"{', '.join(table.column_names)}"
            )
    check_names(chosen.values(), f"labels {uri}")
    table = table.filter(table[file_column].is_valid())
    arrays = [pc.utf8_trim_whitespace(table[file_column]), *(table[name].combine_chunks() for name in chosen)]
    if len(pc.unique(arrays[0])) != len(arrays[0]):
        counts = pc.value_counts(arrays[0]).to_pylist()
        twice = next(entry["values"] for entry in counts if entry["counts"] > 1)
        raise SpecError(f"labels {uri} name the file {twice!r} more than once; keep one line a file")
    return with_reasons(pa.Table.from_arrays(arrays, names=["file", *chosen.values()]), reasons_of(table))


def check_names(names: Iterable[str], where: str) -> None:
    """SpecError where a column would hide one of galflow's own or occur twice."""
    seen: set[str] = set()
    for name in names:
        if name in RESERVED:
            raise SpecError(
                f"{where}: the column {name!r} is one that galflow writes itself; give it another name "
                "(option label_columns, or the group's name in name_pattern)"
            )
        if name in seen:
            raise SpecError(f"{where}: the column {name!r} is given twice; give each a name of its own")
        seen.add(name)


def describe(
    names: Sequence[str],
    *,
    folder_column: str | None,
    name_pattern: str | None,
    numbers: Sequence[str],
    labels: pa.Table | None,
) -> pa.Table:
    """One row an image: ``file`` (its path below the root), its folder's name, the named groups of ``name_pattern``
    (null where it does not match), and its labels (null where the table has no line for it, by path or by base name).
    """
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"file": pa.array(names, pa.string())}
    if folder_column is not None:
        columns[folder_column] = pa.array([PurePosixPath(name).parent.name for name in names], pa.string())
    if name_pattern is not None:
        pattern = TextPattern(name_pattern)
        for group in pattern.names:
            texts = pattern.find(names, group)
            try:
                columns[group] = texts.cast(pa.float64()) if group in numbers else texts
            except pa.ArrowInvalid as error:
                raise SpecError(f"name_pattern group {group!r} is declared a number, but {error}; drop it") from error
    if labels is not None:
        row_of = {file: row for row, file in enumerate(labels["file"].to_pylist())}
        rows = pa.array([row_of.get(name, row_of.get(PurePosixPath(name).name)) for name in names], pa.int64())
        for name in labels.column_names[1:]:
            columns[name] = labels[name].take(rows)
    check_names([name for name in columns if name != "file"], "stamps")
    return with_reasons(pa.table(columns), [] if labels is None else reasons_of(labels))


def selected(table: pa.Table, select: Mapping[str, str | tuple[str, ...]]) -> pa.Array:
    """(n,) bool: rows in which every column of ``select`` has the value, or one of the values, given as text."""
    keep = pa.array([True] * len(table), pa.bool_())
    for name, wanted in select.items():
        if name not in table.column_names:
            raise SpecError(f"select names the column {name!r}; the columns are {', '.join(table.column_names)}")
        values = pa.array([wanted] if isinstance(wanted, str) else wanted, pa.string())
        keep = pc.and_(keep, pc.is_in(table[name].cast(pa.string()), value_set=values))
    return keep


def checksum(table: pa.Table) -> str:
    """SHA-256 of a table's content."""
    return hashlib.sha256(json.dumps(table.to_pylist(), sort_keys=True, default=str).encode()).hexdigest()
