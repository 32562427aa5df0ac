"""Tables of simulated galaxies (stellar mass, size, star formation, ...) and of a survey's redshifts.

A galaxy's key is its name or subhalo id, behind its snapshot and a slash where snapshots are told apart. It refuses a
table that names a galaxy twice, and redshifts of which none is a positive number.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.stamp_labels import check_names
from galflow.surveys.reading.table_files import load_table


@dataclass(frozen=True, eq=False)
class GalaxyTable:
    """What is known of galaxies besides their images."""

    keys: tuple[str, ...]
    columns: pa.Table
    """A row for each key."""

    @functools.cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.keys)}

    def rows_of(self, keys: Sequence[str]) -> pa.Table:
        """The columns of these galaxies, (n,) rows, null for a galaxy that the table has not.

        A key with a snapshot that the table does not know is looked up by its last part.
        """
        known = self._row_of
        return self.columns.take(pa.array([known.get(k, known.get(k.rpartition("/")[2])) for k in keys], pa.int64()))


def read_properties(uri: str, id_column: str, snapshot_column: str | None, columns: Mapping[str, str]) -> GalaxyTable:
    """The table at ``uri``: ``columns`` (its name -> catalogue name; empty: all), by galaxy.

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
        twice = next(text for text, number in Counter(texts).items() if number > 1)
        raise SpecError(
            f"properties {uri} name galaxy {twice} more than once; keep one row a galaxy, or say by "
            "properties_snapshot which column tells snapshots apart"
        )
    fields = [table.schema.field(name).with_name(to) for name, to in chosen.items()]
    found = pa.Table.from_arrays([table[name] for name in chosen], schema=pa.schema(fields))
    return GalaxyTable(tuple(texts), found.filter(named))


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
