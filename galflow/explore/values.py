"""The numbers of a column as one array, which maps and lines drawn around points go through without the database.

For a large catalogue an array is a file, which is mapped; it is read in pieces that stay in the processor's cache.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.explore.columns import ExploredColumn
from galflow.explore.database import TABLE

Numbers = npt.NDArray[Any]
PIECE = 1 << 16
"""Rows that are gone through at once."""


class Values:
    """Arrays by column, each made when it is first asked for."""

    def __init__(self, folder: Path | None, count: int) -> None:
        """``folder``: where they are kept; None: in memory. ``count``: rows of the table."""
        self._folder, self._count = folder, count
        self._made: dict[str, Numbers] = {}
        self._lock = Lock()

    def of(self, column: ExploredColumn, cursor: duckdb.DuckDBPyConnection) -> Numbers:
        """(N,) a column of numbers, by row: integers as they are, NaN where a value is missing."""
        with self._lock:
            if column.sql not in self._made:
                self._made[column.sql] = self._make(column, cursor) if not self.has(column) else self._load(column)
            return self._made[column.sql]

    def release(self, column: ExploredColumn) -> None:
        """Let go of the memory into which an array is mapped, once it was gone through; the system caches files."""
        mapped = getattr(self._made.get(column.sql), "base", None)
        if isinstance(mapped, mmap.mmap):
            mapped.madvise(mmap.MADV_DONTNEED)

    def has(self, column: ExploredColumn) -> bool:
        """Whether it is made already."""
        return column.sql in self._made or (self._folder is not None and self._file(column).exists())

    def _file(self, column: ExploredColumn) -> Path:
        assert self._folder is not None
        return self._folder / f"{column.sql}.npy"

    def _load(self, column: ExploredColumn) -> Numbers:
        with self._file(column).open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return np.ndarray(shape, kind, mapped, file.tell())

    def _make(self, column: ExploredColumn, cursor: duckdb.DuckDBPyConnection) -> Numbers:
        kind = _kind(column, cursor)
        if self._folder is None:
            array = np.empty(self._count, kind)
            _fill(array, column, cursor)
            return array
        temporary = self._file(column).with_suffix(f".{os.getpid()}")
        written = np.lib.format.open_memmap(temporary, "w+", kind, (self._count,))
        _fill(written, column, cursor)
        written.flush()
        os.replace(temporary, self._file(column))
        return self._load(column)


def pieces(count: int) -> Iterator[slice]:
    """Rows in pieces."""
    for start in range(0, count, PIECE):
        yield slice(start, min(start + PIECE, count))


def _kind(column: ExploredColumn, cursor: duckdb.DuckDBPyConnection) -> npt.DTypeLike:
    """float32 where the catalogue has no more, integers where none is missing, else float64."""
    test = f"SELECT any_value(typeof({column.sql})), count(*) - count({column.sql}) FROM {TABLE}"
    ((name, missing),) = cursor.execute(test).fetchall()
    if column.value == "integer" and not missing and name in _INTEGERS:
        return _INTEGERS[name]
    return np.float32 if name == "FLOAT" else np.float64


_INTEGERS: dict[str, npt.DTypeLike] = {
    "TINYINT": np.int8, "SMALLINT": np.int16, "INTEGER": np.int32, "BIGINT": np.int64,
    "UTINYINT": np.uint8, "USMALLINT": np.uint16, "UINTEGER": np.uint32, "UBIGINT": np.uint64,
}  # fmt: skip


def _fill(array: Numbers, column: ExploredColumn, cursor: duckdb.DuckDBPyConnection) -> None:
    whole = np.issubdtype(array.dtype, np.integer)
    taken = column.sql if whole else f"CAST({column.sql} AS {'FLOAT' if array.dtype == np.float32 else 'DOUBLE'})"
    reader: pa.RecordBatchReader = cursor.sql(f"SELECT {taken} AS v FROM {TABLE}").to_arrow_reader(PIECE)
    start = 0
    for batch in reader:
        array[start : start + len(batch)] = batch.column(0).to_numpy(zero_copy_only=False)
        start += len(batch)
