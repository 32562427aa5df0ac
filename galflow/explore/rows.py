"""The rows of a catalogue to be filtered, sorted and fetched a page at a time, however many there are.

Which rows are selected is one truth value a row (galflow.explore.masks), the order of all rows by a column one number a
row (galflow.explore.orders). A page is the next rows in that order that are selected, and only they are fetched: page
100,000 costs what the first one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.errors import SpecError
from galflow.explore.columns import ExploredColumn, ExploredColumns
from galflow.explore.database import TABLE, Progress
from galflow.explore.masks import Masks
from galflow.explore.orders import Orders, RowNumbers
from galflow.explore.query import Query
from galflow.explore.recent import Recent
from galflow.explore.values import Numbers, Values, pieces

ROW = "_row"
"""The column beside the catalogue's own: number of a row in the explorer, from 0."""
MOST_ROWS = 1000
"""Rows that are fetched at once for a page."""
_KEPT = 4
_BLOCK = 122_880
"""Rows that the database keeps together."""
_FIRST = "anomaly_rank"
"""What decides among rows that are equal in an order."""
_FEW, _PIECE = 200_000, 20_000


class Rows:
    """The table of a database. Threads may share it."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        columns: ExploredColumns,
        folder: Path | None = None,
        used: IO[bytes] | None = None,
    ) -> None:
        """``folder``: where orders and arrays are kept; None: in memory.

        ``used``: what keeps the folder from being deleted until it is closed.
        """
        self._connection, self._used = connection, used
        self._orders = Orders(folder, columns.get(_FIRST))
        self.columns = columns
        found = connection.cursor().execute(f"SELECT count(*) FROM {TABLE}").fetchone()
        assert found is not None
        self.count: int = found[0]
        self._values = Values(folder, self.count)
        self.masks = Masks(connection, columns, self.count, self._values)
        self._found: Recent[RowNumbers] = Recent(_KEPT)

    def close(self) -> None:
        """Let go of the database."""
        self._connection.close()
        if self._used is not None:
            self._used.close()

    def ordered(self, query: Query) -> RowNumbers:
        """Numbers of the rows that a query finds, in its order."""
        if query.selection.label is not None:  # labels change
            return self._ordered(query)
        return self._found.get(query, lambda: self._ordered(query))

    def _ordered(self, query: Query) -> RowNumbers:
        mask = self.masks.of(query.selection)
        if query.order is None:
            every = np.arange(self.count, dtype=np.int32) if mask is None else np.flatnonzero(mask).astype(np.int32)
            return every[::-1] if query.descending else every
        order = self._order(query.order, query.descending)
        if mask is None:
            return order
        return np.concatenate([order[:0], *(order[some][mask[order[some]]] for some in pieces(len(order)))])

    def _order(self, name: str, descending: bool) -> RowNumbers:
        column = _sortable(self.columns.named(name))
        return self._orders.of(column, self._connection.cursor(), descending=descending)

    def leading(self, name: str, most: int) -> RowNumbers:
        """Numbers of the rows with the lowest values of a column; none where it is not there."""
        if name not in self.columns:
            return np.zeros(0, np.int32)
        return self._orders.known(self.columns[name], self._connection.cursor())[:most]

    def numbers(self, name: str) -> Numbers:
        """(N,) a column of numbers by row, NaN where missing; SpecError if it has none."""
        return self.masks.numbers(name)

    def page(
        self, query: Query, offset: int = 0, limit: int = 50, columns: Sequence[str] | None = None
    ) -> tuple[int, pa.Table]:
        """How many rows a query finds, and some of them, with the column ``ROW`` first."""
        if offset < 0 or not 0 <= limit <= MOST_ROWS:
            raise SpecError(f"rows {offset} and the next {limit} were asked for; give at most {MOST_ROWS} at once")
        total, numbers = self._part(query, offset, limit)
        return total, self.fetch(numbers, columns)

    def _part(self, query: Query, offset: int, limit: int) -> tuple[int, RowNumbers]:
        """How many rows a query finds, and the numbers of some; the order is gone along no farther than to these."""
        known = self._found.peek(query)
        mask = None if known is not None or query.order is None else self.masks.of(query.selection)
        if mask is None or query.order is None:
            found = self.ordered(query)
            return len(found), found[offset : offset + limit]
        order = self._order(query.order, query.descending)
        parts: list[RowNumbers] = []
        passed = 0
        for some in pieces(len(order)):
            if passed >= offset + limit:
                break
            there = order[some]
            there = there[mask[there]]
            parts.append(there[max(0, offset - passed) : max(0, offset + limit - passed)])
            passed += len(there)
        return int(np.count_nonzero(mask)), np.concatenate([np.zeros(0, np.int32), *parts])

    def fetch(self, numbers: Sequence[int] | RowNumbers, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of these numbers, in their order, with the column ``ROW`` first; SpecError if there is none such."""
        names = list(self.columns) if columns is None else list(dict.fromkeys(columns))
        wanted = np.asarray(numbers, dtype=np.int64)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < self.count):
            raise SpecError(f"rows are numbered from 0 to {self.count - 1}; given: {wanted.min()} to {wanted.max()}")
        sql = f"SELECT rowid AS {ROW}{self._shown(names)} FROM {TABLE} WHERE rowid IN (SELECT unnest($numbers))"
        table = self.masks.arrow(sql, {"numbers": wanted.tolist()})
        there = table.column(ROW).to_numpy()
        by = np.argsort(there)
        places = by[np.searchsorted(there, wanted, sorter=by)]
        return table.take(pa.array(places, pa.int64())).rename_columns([ROW, *names])

    def _shown(self, names: Sequence[str]) -> str:
        return "".join(f", {self.columns.named(name).sql}" for name in names)

    def pieces(self, query: Query, columns: Sequence[str], limit: int | None = None) -> Iterator[pa.Table]:
        """The rows that a query finds, some thousands at a time; of very many in the order of the files instead."""
        found = self.ordered(query)[:limit]
        if len(found) <= _FEW:
            for start in range(0, len(found), _PIECE):
                yield self.fetch(found[start : start + _PIECE], columns).drop_columns([ROW])
            return
        numbers = np.sort(found)
        for start in range(0, self.count, _BLOCK):
            first, last = np.searchsorted(numbers, [start, start + _BLOCK])
            if first == last:
                continue
            block = {"first": start, "last": start + _BLOCK - 1}
            sql = f"SELECT rowid AS {ROW}{self._shown(columns)} FROM {TABLE} WHERE rowid BETWEEN $first AND $last"
            table = self.masks.arrow(sql, block).sort_by(ROW)
            taken = table.take(pa.array(numbers[first:last] - start))
            yield taken.drop_columns([ROW]).rename_columns(list(columns))

    def prepare(self, progress: Progress) -> None:
        """Make the orders and arrays that are still to be made, of every column that has one."""
        numbers = [c for c in self.columns.values() if c.value in ("integer", "float") and not self._values.has(c)]
        for number, column in enumerate(numbers, 1):
            progress(f"numbers: column {number} of {len(numbers)}")
            self._values.of(column, self._connection.cursor())
            self._values.release(column)
        todo = [c for c in self.columns.values() if c.value != "other" and not self._orders.has(c)]
        for number, column in enumerate(todo, 1):
            progress(f"orders: column {number} of {len(todo)}")
            self._orders.of(column, self._connection.cursor())

    def extremes(self, name: str) -> tuple[float, float] | None:
        """The lowest and the highest value of a column of numbers; None: it has none."""
        ends = self._orders.ends(_sortable(self.columns.named(name)), self._connection.cursor())
        if ends is None:
            return None
        low, high = self.fetch(ends, [name]).column(name).to_pylist()
        return float(low), float(high)

    def find(self, name: str, value: Any) -> RowNumbers:
        """Numbers of the rows with this value in a column."""
        sql = f"SELECT rowid AS row FROM {TABLE} WHERE {self.columns.named(name).sql} = $value"
        found: npt.NDArray[np.int64] = self.masks.arrow(sql, {"value": value}).column("row").to_numpy()
        return np.sort(found).astype(np.int32)


def _sortable(column: ExploredColumn) -> ExploredColumn:
    if column.value == "other":
        raise SpecError(f"column {column.name!r} holds lists or the like, which have no order; sort by another one")
    return column
