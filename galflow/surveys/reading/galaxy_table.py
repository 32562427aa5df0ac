"""Tables of simulated galaxies (stellar mass, size, star formation, ...) and of a survey's redshifts.

A galaxy's key is its name or subhalo id, behind its snapshot and a slash where snapshots are told apart. It refuses a
table that names a galaxy twice, and redshifts of which none is a positive number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.stamp_labels import check_names
from galflow.surveys.reading.table_files import load_table

KEY = "key"


def read_properties(uri: str, id_column: str, snapshot_column: str | None, columns: Mapping[str, str]) -> pa.Table:
    """The table at ``uri`` with a first column "key" (text), then ``columns`` (its name -> catalogue name; empty: all).

    Raises SpecError for a table that cannot be read, a column that is not there and a galaxy that is there twice.
    """
    table = _loaded(uri)
    keyed = [id_column] if snapshot_column is None else [snapshot_column, id_column]
    chosen = dict(columns) or {name: name for name in table.column_names if name not in keyed}
    _require(table, [*keyed, *chosen], uri)
    check_names(chosen.values(), f"properties {uri}")
    parts = [pc.utf8_trim_whitespace(table[name].cast(pa.string())) for name in keyed]
    keys = parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, "/")
    named = keys.is_valid()
    texts = keys.filter(named).to_pylist()
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise SpecError(
            f"properties {uri} name galaxy {twice} more than once; keep one row a galaxy, or say by "
            "properties_snapshot which column tells snapshots apart"
        )
    fields = [pa.field(KEY, pa.string()), *(table.schema.field(n).with_name(to) for n, to in chosen.items())]
    return pa.Table.from_arrays([keys, *(table[name] for name in chosen)], schema=pa.schema(fields)).filter(named)


def rows_of(table: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The columns of these galaxies, (n,) rows without the key, null for a galaxy that the table has not.

    A key with a snapshot that the table does not know is looked up by its last part.
    """
    row_of = {key: row for row, key in enumerate(table[KEY].to_pylist())}
    rows = pa.array([row_of.get(key, row_of.get(key.rpartition("/")[2])) for key in keys], pa.int64())
    return table.drop_columns([KEY]).take(rows)


def read_redshifts(uri: str, column: str, limits: tuple[float, float] | None) -> np.ndarray:
    """(n,) the positive redshifts of a catalogue, within ``limits``; SpecError where there are none."""
    table = _loaded(uri)
    _require(table, [column], uri)
    try:
        values = table[column].cast(pa.float64()).fill_null(np.nan).to_numpy()
    except pa.ArrowInvalid as error:
        raise SpecError(f"redshift_catalog {uri}: column {column!r} holds no numbers ({error})") from error
    low, high = limits or (0.0, np.inf)
    usable = values[np.isfinite(values) & (values > 0) & (values >= low) & (values <= high)]
    if not len(usable):
        within = "" if limits is None else f" within {low:g} to {high:g}"
        raise SpecError(
            f"redshift_catalog {uri}: none of {len(values)} values of {column!r} is a redshift above 0{within}"
        )
    return np.asarray(usable)


def _loaded(uri: str) -> pa.Table:
    try:
        return load_table(uri)
    except DataError as error:
        raise SpecError(str(error)) from error


def _require(table: pa.Table, names: Sequence[str], uri: str) -> None:
    absent = [name for name in names if name not in table.column_names]
    if absent:
        raise SpecError(f"{uri} has no column {absent[0]!r}; it has {', '.join(table.column_names)}")
