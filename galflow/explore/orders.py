"""The order of all rows by each column: which row comes first, second and so on.

Made by the database and kept as one 32-bit number a row: for a large catalogue in a file a column, which is mapped and
of which a page reads a few bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock

import duckdb
import numpy as np
import numpy.typing as npt

from galflow.explore.columns import ExploredColumn
from galflow.explore.database import TABLE

RowNumbers = npt.NDArray[np.int32]


class Orders:
    """Orders by column, each made when it is first asked for."""

    def __init__(self, folder: Path | None, first: ExploredColumn | None) -> None:
        """``folder``: where they are kept; None: in memory. ``first``: what decides among equal rows."""
        self._folder, self._first = folder, first
        self._made: dict[str, tuple[RowNumbers, int]] = {}
        self._lock = Lock()

    def _known(self, column: ExploredColumn, cursor: duckdb.DuckDBPyConnection) -> tuple[RowNumbers, int]:
        """The rising order, and of how many rows there is a value."""
        with self._lock:
            if column.sql not in self._made:
                self._made[column.sql] = self._load(column) or self._make(column, cursor)
            return self._made[column.sql]

    def ends(self, column: ExploredColumn, cursor: duckdb.DuckDBPyConnection) -> tuple[int, int] | None:
        """Numbers of the rows with the lowest and the highest value; None: no row has one."""
        order, known = self._known(column, cursor)
        return (int(order[0]), int(order[known - 1])) if known else None

    def of(self, column: ExploredColumn, cursor: duckdb.DuckDBPyConnection, *, descending: bool = False) -> RowNumbers:
        """(N,) numbers of all rows by a column; rows without a value come last either way."""
        order, known = self._known(column, cursor)
        return np.concatenate([order[:known][::-1], order[known:]]) if descending else order

    def known(self, column: ExploredColumn, cursor: duckdb.DuckDBPyConnection) -> RowNumbers:
        """Numbers of the rows with a value, in rising order."""
        order, known = self._known(column, cursor)
        return order[:known]

    def has(self, column: ExploredColumn) -> bool:
        """Whether it is made already."""
        return column.sql in self._made or (self._folder is not None and self._file(column).exists())

    def _file(self, column: ExploredColumn) -> Path:
        assert self._folder is not None
        return self._folder / f"{column.sql}.order"

    def _load(self, column: ExploredColumn) -> tuple[RowNumbers, int] | None:
        if self._folder is None or not self._file(column).exists():
            return None
        mapped = np.memmap(self._file(column), np.int32, "r")
        return mapped[1:], int(mapped[0])

    def _make(self, column: ExploredColumn, cursor: duckdb.DuckDBPyConnection) -> tuple[RowNumbers, int]:
        second = "" if self._first is None else f", {self._first.sql} NULLS LAST"
        sql = f"SELECT CAST(rowid AS INTEGER) AS row FROM {TABLE} ORDER BY {column.sql} NULLS LAST{second}, rowid"
        order = cursor.execute(sql).fetchnumpy()["row"]
        known = cursor.execute(f"SELECT count({column.sql}) FROM {TABLE}").fetchone()
        assert known is not None
        found: tuple[RowNumbers, int] = np.asarray(order, np.int32), known[0]
        if self._folder is None:
            return found
        temporary = self._file(column).with_suffix(f".{os.getpid()}")
        with temporary.open("wb") as file:
            np.array([known[0]], np.int32).tofile(file)
            found[0].tofile(file)
        os.replace(temporary, self._file(column))
        del found
        loaded = self._load(column)
        assert loaded is not None
        return loaded
