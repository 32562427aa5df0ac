"""A map of two columns: how many rows lie where, and the rows themselves where they are few enough to be drawn.

A browser draws some ten thousand points; of ten million it is given counts in cells, made in the database, and the
highest-ranked of them as points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.errors import SpecError
from galflow.explore.database import TABLE
from galflow.explore.masks import MASK
from galflow.explore.query import EVERYTHING, Selection
from galflow.explore.recent import Recent
from galflow.explore.rows import Rows
from galflow.explore.sky import CIRCLE, RA, Axis, turned

MOST_POINTS = 20_000
MOST_CELLS = 512
"""On a side."""
_RANK, _ID = "anomaly_rank", "object_id"
_KEPT = 32

Bounds = tuple[float, float, float, float]
"""Lowest and highest x, lowest and highest y."""


@dataclass(frozen=True)
class MapQuery:
    """What is drawn."""

    x: str
    y: str
    colour: str | None = None
    """Column whose mean colours a cell."""
    selection: Selection = EVERYTHING
    bounds: Bounds | None = None
    """The visible part; None: all there is."""
    cells: tuple[int, int] = (256, 256)
    """Across and down."""

    def __post_init__(self) -> None:
        if not all(1 <= n <= MOST_CELLS for n in self.cells):
            raise SpecError(f"a map of {self.cells[0]} x {self.cells[1]} cells; give 1 to {MOST_CELLS} on a side")
        if self.bounds is not None:
            x0, x1, y0, y1 = self.bounds
            if not (np.isfinite(self.bounds).all() and x0 < x1 and y0 < y1):
                raise SpecError(f"bounds {self.bounds}; expected lowest and highest x, lowest and highest y")


@dataclass(frozen=True, eq=False)
class Map:
    """What there is to draw."""

    bounds: Bounds
    count: int
    """Rows within the bounds."""
    counts: npt.NDArray[np.uint32]
    """(y, x) rows in each cell, y upwards."""
    means: npt.NDArray[np.float32] | None
    """(y, x) mean of the colour's column; NaN where there is none."""
    points: Mapping[str, npt.NDArray[Any]]
    """x, y, colour and id of the rows that are drawn as points: all of them, or the highest-ranked."""
    whole: bool
    """Whether the points are all rows within the bounds."""


@dataclass(frozen=True)
class _Drawn:
    """A map's rows, in SQL."""

    axes: Mapping[str, str]
    """x, y and colour."""
    source: str
    where: str
    parameters: Mapping[str, Any]
    selection: Selection


class Maps:
    """Maps of one table. Threads may share it."""

    def __init__(self, rows: Rows, west: float = 0.0) -> None:
        """``west``: right ascension at which the rows' field begins, if it crosses 0; else 0."""
        self._rows, self._west = rows, west
        self._bounds: Recent[Bounds] = Recent(_KEPT)

    def draw(self, query: MapQuery) -> Map:
        """Counts, and points."""
        for name in (query.x, query.y):
            self._rows.masks.axis(name)  # says what is no axis
        bounds = query.bounds or self._bounds.get((query.x, query.y), lambda: self._all(query.x, query.y))
        x0, x1, y0, y1 = bounds
        x, y = self._axis("x", query.x, x0, x1), self._axis("y", query.y, y0, y1)
        axes = {"x": x.sql, "y": y.sql}
        if query.colour is not None:
            axes["colour"] = self._rows.masks.axis(query.colour)
        within = f"{x.sql} BETWEEN $x0 AND $x1 AND {y.sql} BETWEEN $y0 AND $y1"
        limits = dict(zip(("x0", "x1", "y0", "y1"), bounds, strict=True)) | x.parameters | y.parameters
        source, selected, more = self._selected(query.selection)
        drawn = _Drawn(axes, source, f"{within} AND {selected}", limits | more, query.selection)
        counts, means = self._grid(drawn, *query.cells)
        count = int(counts.sum())
        points, whole = self._points(drawn, count)
        return Map(bounds, count, counts, means, points, whole)

    def _axis(self, axis: str, name: str, low: float, high: float) -> Axis:
        return turned(axis, name, self._rows.masks.axis(name), low, high)

    def _ask(self, sql: str, drawn: _Drawn, **more: Any) -> pa.Table:
        masks = self._rows.masks
        mask = masks.of(drawn.selection) if MASK in drawn.source else None
        return masks.arrow(sql, {**drawn.parameters, **more}, mask)

    def _all(self, across: str, up: str) -> Bounds:
        if self._west and RA in (across, up):
            return self._finite(across, up)
        ends = [self._rows.extremes(name) for name in (across, up)]
        found = [one for one in ends if one is not None and np.isfinite(one).all()]
        return _around(*found[0], *found[1]) if len(found) == len(ends) else self._finite(across, up)

    def _finite(self, across: str, up: str) -> Bounds:
        """Where columns hold infinities, or nothing, or cross 0."""
        circle = (self._west - CIRCLE, self._west) if self._west else (0.0, CIRCLE)
        (x, turns), (y, more) = self._axis("x", across, *circle), self._axis("y", up, *circle)
        both = f"isfinite({x}) AND isfinite({y})"
        sql = f"SELECT min({x}) AS a, max({x}) AS b, min({y}) AS c, max({y}) AS d FROM {TABLE} WHERE {both}"
        (found,) = self._rows.masks.arrow(sql, turns | more).to_pylist()
        if found["a"] is None:
            return (0.0, 1.0, 0.0, 1.0)
        return _around(*(float(found[name]) for name in "abcd"))

    def _selected(self, selection: Selection) -> tuple[str, str, dict[str, Any]]:
        """FROM, WHERE and parameters of the rows that are selected."""
        if selection == EVERYTHING:
            return TABLE, "true", {}
        if selection == Selection(where=selection.where):
            condition = self._rows.masks.condition(selection.where)
            return condition.source(TABLE), condition.sql, dict(condition.parameters)
        return f"{TABLE} POSITIONAL JOIN {MASK}", "selected", {}

    def _grid(
        self, drawn: _Drawn, across: int, down: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32] | None]:
        x = f"least($nx - 1, CAST(floor(({drawn.axes['x']} - $x0) / ($x1 - $x0) * $nx) AS INTEGER))"
        y = f"least($ny - 1, CAST(floor(({drawn.axes['y']} - $y0) / ($y1 - $y0) * $ny) AS INTEGER))"
        mean = f", avg({drawn.axes['colour']}) AS mean" if "colour" in drawn.axes else ""
        sql = f"SELECT {y} * $nx + {x} AS cell, count(*) AS count{mean} FROM {drawn.source} WHERE {drawn.where}"
        found = self._ask(f"{sql} GROUP BY cell", drawn, nx=across, ny=down)
        cells = found.column("cell").to_numpy()
        counts = np.zeros(across * down, np.uint32)
        counts[cells] = found.column("count").to_numpy()
        if not mean:
            return counts.reshape(down, across), None
        means = np.full(across * down, np.nan, np.float32)
        means[cells] = found.column("mean").to_numpy()
        return counts.reshape(down, across), means.reshape(down, across)

    def _points(self, drawn: _Drawn, count: int) -> tuple[dict[str, npt.NDArray[Any]], bool]:
        columns = self._rows.columns
        whole = count <= MOST_POINTS
        if not whole and _RANK not in columns:
            return {}, False
        where = drawn.where if whole else f"{drawn.where} AND {columns[_RANK].sql} <= {MOST_POINTS}"
        taken = ", ".join(f"{sql} AS {name}" for name, sql in drawn.axes.items())
        number = columns[_ID].sql if _ID in columns else "rowid"
        sql = f"SELECT {taken}, CAST({number} AS VARCHAR) AS id FROM {drawn.source} WHERE {where}"
        found = self._ask(sql, drawn)
        return {name: found.column(name).to_numpy(zero_copy_only=False) for name in found.column_names}, whole


def _around(x0: float, x1: float, y0: float, y1: float) -> Bounds:
    """Room for a row on the upper edge in the last cell, and for one row alone in the middle of a map."""
    dx, dy = (1e-9 * (high - low) or 0.5 for low, high in ((x0, x1), (y0, y1)))
    return (x0 - dx, x1 + dx, y0 - dy, y1 + dy)
