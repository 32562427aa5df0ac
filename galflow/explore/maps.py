"""A map of two columns: how many rows lie where, and the rows themselves where they are few enough to be drawn.

A browser draws some ten thousand points; of ten million it is given exact counts in cells, and the highest-ranked of
those in view as points. Columns are gone through piece by piece as arrays, which takes a tenth of what grouping by cell
takes in a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.errors import SpecError
from galflow.explore.cell_counts import CellCounts
from galflow.explore.masks import Mask
from galflow.explore.query import EVERYTHING, Selection
from galflow.explore.recent import Recent
from galflow.explore.rows import Rows
from galflow.explore.sky import CIRCLE, RA, Cut, along, cut_of
from galflow.explore.values import Numbers, pieces

MOST_POINTS = 20_000
MOST_CELLS = 512
"""On a side."""
_RANK, _ID = "anomaly_rank", "object_id"
_KEPT = 32
_WALKED = 500_000
"""Highest-ranked rows among which points are sought."""

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
    """x, y, colour and id of the rows that are drawn as points: all of them, or the highest-ranked in view."""
    whole: bool
    """Whether the points are all rows within the bounds."""


@dataclass(frozen=True)
class _Axis:
    """A column along an axis of a map."""

    numbers: Numbers
    cut: Cut | None

    def __getitem__(self, rows: slice | npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        return along(self.numbers[rows], self.cut)


class Maps:
    """Maps of one table. Threads may share it."""

    def __init__(self, rows: Rows, west: float = 0.0) -> None:
        """``west``: right ascension at which the rows' field begins, if it crosses 0; else 0."""
        self._rows, self._west = rows, west
        self._bounds: Recent[Bounds] = Recent(_KEPT)

    def draw(self, query: MapQuery) -> Map:
        """Counts, and points."""
        for name in (query.x, query.y, query.colour):
            if name is not None:
                self._rows.numbers(name)  # says what is no axis
        bounds = query.bounds or self._bounds.get((query.x, query.y), lambda: self._all(query.x, query.y))
        x, y = self._axis(query.x, *bounds[:2]), self._axis(query.y, *bounds[2:])
        colour = None if query.colour is None else self._rows.numbers(query.colour)
        mask = self._rows.masks.of(query.selection)
        counted = CellCounts(bounds, query.cells, MOST_POINTS, colour is not None)
        for part in pieces(self._rows.count):
            rows = np.arange(part.start, part.stop) if mask is None else part.start + np.flatnonzero(mask[part])
            some: slice | npt.NDArray[np.integer] = part if mask is None else rows
            counted.add(rows, x[some], y[some], None if colour is None else colour[some])
        whole = counted.rows is not None
        numbers = self._highest(x, y, bounds, mask) if counted.rows is None else counted.rows
        points = self._points(numbers, x, y, colour)
        self._rows.masks.release(*(name for name in (query.x, query.y, query.colour) if name is not None))
        return Map(bounds, counted.total, counted.counts, counted.means, points, whole)

    def _axis(self, name: str, low: float, high: float) -> _Axis:
        return _Axis(self._rows.numbers(name), cut_of(name, low, high))

    def _all(self, across: str, up: str) -> Bounds:
        if not (self._west and RA in (across, up)):
            ends = [self._rows.extremes(name) for name in (across, up)]
            found = [one for one in ends if one is not None and np.isfinite(one).all()]
            if len(found) == len(ends):
                return _around(*found[0], *found[1])
        return self._finite(across, up)

    def _finite(self, across: str, up: str) -> Bounds:
        """Where columns hold infinities, or nothing, or cross 0."""
        circle = (self._west - CIRCLE, self._west) if self._west else (0.0, CIRCLE)
        x, y = self._axis(across, *circle), self._axis(up, *circle)
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        for part in pieces(self._rows.count):
            both = np.stack([x[part], y[part]], axis=1)
            both = both[np.isfinite(both).all(axis=1)]
            if len(both):
                low, high = np.minimum(low, both.min(axis=0)), np.maximum(high, both.max(axis=0))
        if not np.isfinite(low).all():
            return (0.0, 1.0, 0.0, 1.0)
        return _around(float(low[0]), float(high[0]), float(low[1]), float(high[1]))

    def _highest(self, x: _Axis, y: _Axis, bounds: Bounds, mask: Mask | None) -> npt.NDArray[np.integer]:
        """Numbers of the highest-ranked rows in view, among the first ``_WALKED`` of all ranks."""
        found: list[npt.NDArray[np.integer]] = []
        x0, x1, y0, y1 = bounds
        ranked = self._rows.leading(_RANK, _WALKED)
        for start in range(0, len(ranked), MOST_POINTS):
            rows = ranked[start : start + MOST_POINTS]
            rows = rows if mask is None else rows[mask[rows]]
            px, py = x[rows], y[rows]
            found.append(rows[(px >= x0) & (px <= x1) & (py >= y0) & (py <= y1)])
            if sum(map(len, found)) >= MOST_POINTS:
                break
        return np.concatenate(found)[:MOST_POINTS] if found else np.zeros(0, np.int32)

    def _points(
        self, numbers: npt.NDArray[np.integer], x: _Axis, y: _Axis, colour: Numbers | None
    ) -> dict[str, npt.NDArray[Any]]:
        ids = self._rows.numbers(_ID)[numbers] if _ID in self._rows.columns else numbers
        found = {"x": x[numbers], "y": y[numbers], "id": ids}
        return found if colour is None else {**found, "colour": colour[numbers]}


def _around(x0: float, x1: float, y0: float, y1: float) -> Bounds:
    """Room for a row on the upper edge in the last cell, and for one row alone in the middle of a map."""
    dx, dy = (1e-9 * (high - low) or 0.5 for low, high in ((x0, x1), (y0, y1)))
    return (x0 - dx, x1 + dx, y0 - dy, y1 + dy)
