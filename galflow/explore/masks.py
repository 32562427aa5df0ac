"""Which rows of the table are meant: one truth value a row, asked of the database part by part and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.errors import SpecError
from galflow.explore.columns import ExploredColumns
from galflow.explore.conditions import Condition, condition_of
from galflow.explore.database import TABLE
from galflow.explore.polygons import FEW, Polygon
from galflow.explore.query import Cone, Lasso, Selection
from galflow.explore.recent import Recent
from galflow.explore.sky import along, cut_of
from galflow.explore.values import Numbers, Values, pieces

Mask = npt.NDArray[np.bool_]
LabelledIds = Callable[[str], npt.NDArray[Any]]
"""Name of a class -> ids of the objects that have it now."""
_KEPT = 8
_NAMES = ("source_name", "tile")
_LONGEST_ID = 20
_ID, _RA, _DEC = "object_id", "ra", "dec"


class Masks:
    """The masks of one table."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, columns: ExploredColumns, count: int, values: Values
    ) -> None:
        self._connection, self._columns, self._count, self._values = connection, columns, count, values
        described = connection.cursor().execute(f"DESCRIBE {TABLE}").fetchall()
        types: Mapping[str, str] = {name: kind for name, kind, *_ in described}
        self._unsigned = frozenset(name for name, column in columns.items() if types[column.sql] == "UBIGINT")
        self._kept: Recent[Mask] = Recent(_KEPT)
        self.labelled: LabelledIds | None = None
        """Who knows the labels; None: there are none."""

    def arrow(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """What the database answers. SpecError where an expression leads beyond what numbers can be."""
        with self._connection.cursor() as cursor:
            try:
                return cursor.sql(sql, params=dict(parameters or {})).to_arrow_table()
            except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
                raise SpecError(f"the expression cannot be computed: {error}; correct it") from error

    def condition(self, where: str) -> Condition:
        """An expression as SQL; SpecError if it is wrong."""
        return condition_of(where, self._columns, self._unsigned)

    def of(self, selection: Selection) -> Mask | None:
        """(N,) which rows are selected; None: all of them."""
        where, text = selection.where.strip(), selection.text.strip().lower()
        parts: list[Mask] = []
        if where:
            parts.append(self._kept.get(("where", where), lambda: self._fulfil(self.condition(where))))
        if text:
            parts.append(self._kept.get(("text", text), lambda: self._fulfil(self._called(text))))
        if (cone := selection.cone) is not None:
            parts.append(self._kept.get(cone, lambda: self._around(cone)))
        if (lasso := selection.lasso) is not None:
            parts.append(self._kept.get(lasso, lambda: self._enclosed(lasso)))
        if selection.label is not None:
            parts.append(self._labelled(selection.label))  # labels change: never kept
        return np.logical_and.reduce(parts) if parts else None

    def _fulfil(self, condition: Condition) -> Mask:
        """As a filter: the database reads of a column only where those before it hold."""
        source = condition.source(f"(SELECT rowid AS row, * FROM {TABLE})")
        sql = f"SELECT CAST(row AS INTEGER) AS row FROM {source} WHERE {condition.sql}"
        return self._numbered(self.arrow(sql, condition.parameters).column("row"))

    def _called(self, text: str) -> Condition:
        names = [self._columns[name].sql for name in _NAMES if name in self._columns]
        tests = [f"contains(lower({name}), $text)" for name in names]
        parameters: dict[str, Any] = {"text": text} if tests else {}
        if text.isdecimal() and len(text) <= _LONGEST_ID and _ID in self._columns:
            tests.append(f"{self._columns[_ID].sql} = CAST($id AS HUGEINT)")
            parameters["id"] = int(text)
        return Condition(" OR ".join(tests) or "false", parameters=parameters)

    def _around(self, cone: Cone) -> Mask:
        """By haversines, which are exact for small distances; of rows in its strip of declination alone."""
        ra, dec = (self._columns.named(name).sql for name in (_RA, _DEC))
        half = f"pow(sin(radians({dec} - $dec) / 2), 2)"
        across = f"cos(radians({dec})) * cos(radians($dec)) * pow(sin(radians({ra} - $ra) / 2), 2)"
        near = f"{dec} BETWEEN $dec - $radius AND $dec + $radius"
        inside = f"{half} + {across} <= pow(sin(radians($radius) / 2), 2)"
        strip = f"(SELECT rowid AS row, * FROM {TABLE} WHERE {near})"
        return self._numbered(self.arrow(f"SELECT row FROM {strip} WHERE {inside}", cone._asdict()).column("row"))

    def _numbered(self, numbers: Any) -> Mask:
        """The mask of some rows, by their numbers."""
        mask = np.zeros(self._count, dtype=bool)
        mask[np.asarray(numbers, dtype=np.int64)] = True
        return mask

    def _enclosed(self, lasso: Lasso) -> Mask:
        polygon = Polygon(np.array(lasso.points, dtype=np.float64))
        (x0, y0), (x1, y1) = polygon.low.tolist(), polygon.high.tolist()
        x, y = self.numbers(lasso.x), self.numbers(lasso.y)
        x_cut, y_cut = cut_of(lasso.x, x0, x1), cut_of(lasso.y, y0, y1)
        mask = np.zeros(self._count, dtype=bool)
        for part in pieces(self._count):
            mask[part] = polygon.holds(along(x[part], x_cut), along(y[part], y_cut), plainly=self._count <= FEW)
        self.release(lasso.x, lasso.y)
        return mask

    def release(self, *names: str) -> None:
        """Let go of the memory of columns that were gone through."""
        for name in names:
            self._values.release(self._columns.named(name))

    def numbers(self, name: str) -> Numbers:
        """(N,) a column of numbers by row, NaN where missing; SpecError if it has none."""
        column = self._columns.named(name)
        if column.value not in ("integer", "float"):
            raise SpecError(f"column {name!r} has no numbers; a map is of two columns that have")
        return self._values.of(column, self._connection.cursor())

    def _labelled(self, label: str) -> Mask:
        ids = np.array([], dtype=np.int64) if self.labelled is None else np.asarray(self.labelled(label))
        unsigned = _ID in self._unsigned
        wanted = f"CAST(unnest($ids) AS {'UBIGINT' if unsigned else 'BIGINT'})"
        found = self.arrow(f"SELECT rowid AS row FROM {TABLE} WHERE {self._columns[_ID].sql} IN (SELECT {wanted})",
                           {"ids": [int(i) for i in ids]})  # fmt: skip
        return self._numbered(found.column("row"))
