"""The rows of a catalogue to be filtered, sorted and fetched a page at a time, however many there are.

Which rows fulfil a condition is one bit a row, asked of the database once; the order of all rows by a column is one
number a row, made once. A page is then the next rows in that order whose bit is set, and only they are fetched: page
100,000 costs what the first one does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.errors import SpecError
from galflow.explore.columns import ExploredColumns
from galflow.explore.conditions import Condition, condition_of
from galflow.explore.database import TABLE, Progress
from galflow.explore.orders import Orders, RowNumbers

ROW = "_row"
"""The column beside the catalogue's own: number of a row in the explorer, from 0."""
MOST_ROWS = 1000
"""Rows that are fetched at once for a page."""
_KEPT_MASKS, _KEPT_SELECTIONS = 8, 4

Mask = npt.NDArray[np.bool_]
Made = TypeVar("Made")


@dataclass(frozen=True)
class Query:
    """Which rows, in which order."""

    where: str = ""
    """An expression on columns (galflow.spec.expressions); empty: all rows."""
    order: str | None = None
    """Column to sort by; None: the order of the files. Missing values come last either way."""
    descending: bool = False
    lasso: str | None = None
    """Name of a selection that was made before."""


class Recent(Generic[Made]):
    """The few things that were made last, each made once."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._kept: OrderedDict[Hashable, Made] = OrderedDict()

    def peek(self, key: Hashable) -> Made | None:
        """What is kept under ``key``, if anything is."""
        with self._lock:
            return self._kept.get(key)

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What is kept under ``key``, or is made now."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made


class Rows:
    """The table of a database. Threads may share it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: ExploredColumns, orders: Orders) -> None:
        self._connection, self._orders = connection, orders
        self.columns = columns
        (self.count,) = self._one(f"SELECT count(*) FROM {TABLE}")
        types = {name: kind for name, kind, *_ in connection.cursor().execute(f"DESCRIBE {TABLE}").fetchall()}
        self._unsigned = frozenset(name for name, column in columns.items() if types[column.sql] == "UBIGINT")
        self._masks: Recent[Mask] = Recent(_KEPT_MASKS)
        self._selections: Recent[RowNumbers] = Recent(_KEPT_SELECTIONS)
        self.lassos: dict[str, Mask] = {}
        """Selections that were made by hand, by name."""

    def _one(self, sql: str, parameters: Any = None) -> tuple[Any, ...]:
        found = self._connection.cursor().execute(sql, parameters).fetchone()
        assert found is not None
        return found

    def arrow(self, sql: str, parameters: Any = None) -> pa.Table:
        """What the database answers. SpecError where an expression leads beyond what numbers can be."""
        try:
            return self._connection.cursor().sql(sql, params=parameters or {}).to_arrow_table()
        except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
            raise SpecError(f"the expression cannot be computed: {error}; correct it") from error

    def condition(self, where: str) -> Condition:
        """An expression as SQL; SpecError if it is wrong."""
        return condition_of(where, self.columns, self._unsigned)

    def mask(self, where: str, lasso: str | None = None) -> Mask | None:
        """(N,) which rows fulfil an expression and lie in a selection; None: all do."""
        found = None if not where.strip() else self._masks.get(where, lambda: self._mask(self.condition(where)))
        if lasso is None:
            return found
        if lasso not in self.lassos:
            raise SpecError(f"there is no selection {lasso!r}; make it anew, selections end with the explorer")
        return self.lassos[lasso] if found is None else found & self.lassos[lasso]

    def _mask(self, condition: Condition) -> Mask:
        sql = f"SELECT ({condition.sql}) IS TRUE AS found FROM {condition.source(TABLE)}"
        column = self.arrow(sql, dict(condition.parameters)).column("found")
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)

    def ordered(self, query: Query) -> RowNumbers:
        """Numbers of the rows that a query finds, in its order."""
        key = (query.where.strip(), query.lasso, query.order, query.descending)
        return self._selections.get(key, lambda: self._ordered(query))

    def _ordered(self, query: Query) -> RowNumbers:
        mask = self.mask(query.where, query.lasso)
        if query.order is None:
            every = np.arange(self.count, dtype=np.int32) if mask is None else np.flatnonzero(mask).astype(np.int32)
            return every[::-1] if query.descending else every
        order = self._orders.of(self.columns[query.order], self._connection.cursor(), descending=query.descending)
        return order if mask is None else order[mask[order]]

    def page(
        self, query: Query, offset: int = 0, limit: int = 50, columns: Sequence[str] | None = None
    ) -> tuple[int, pa.Table]:
        """How many rows a query finds, and some of them, with the column ``ROW`` first."""
        if offset < 0 or not 0 <= limit <= MOST_ROWS:
            raise SpecError(f"rows {offset} and the next {limit} were asked for; give at most {MOST_ROWS} at once")
        found = self.ordered(query)
        return len(found), self.fetch(found[offset : offset + limit], columns)

    def fetch(self, numbers: Sequence[int] | RowNumbers, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of these numbers, in their order."""
        names = list(self.columns) if columns is None else list(dict.fromkeys(columns))
        wanted = np.asarray(numbers, dtype=np.int64)
        shown = "".join(f", {self.columns[name].sql}" for name in names)
        sql = f"SELECT rowid AS {ROW}{shown} FROM {TABLE} WHERE rowid IN (SELECT unnest($numbers))"
        table = self.arrow(sql, {"numbers": wanted.tolist()})
        places = np.searchsorted(table.column(ROW).to_numpy(), wanted) if _sorted(table) else _places(table, wanted)
        return table.take(pa.array(places)).rename_columns([ROW, *names])

    def sort_all(self, progress: Progress) -> None:
        """Make the orders that are still to be made, of every column that has one."""
        todo = [c for c in self.columns.values() if c.value != "other" and not self._orders.has(c)]
        for number, column in enumerate(todo, 1):
            progress(f"orders: column {number} of {len(todo)}")
            self._orders.of(column, self._connection.cursor())

    def find(self, name: str, value: Any) -> RowNumbers:
        """Numbers of the rows with this value in a column."""
        found = self.arrow(f"SELECT rowid FROM {TABLE} WHERE {self.columns[name].sql} = $value", {"value": value})
        return np.sort(found.column(0).to_numpy()).astype(np.int32)


def _sorted(table: pa.Table) -> bool:
    numbers = table.column(ROW).to_numpy()
    return bool((numbers[1:] >= numbers[:-1]).all())


def _places(table: pa.Table, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    there = table.column(ROW).to_numpy()
    by = np.argsort(there)
    return by[np.searchsorted(there, wanted, sorter=by)]
