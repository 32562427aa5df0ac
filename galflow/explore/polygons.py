"""Which points lie within a polygon: millions of points, by a raster of the plane and exactly near the border."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_CELLS = 256
"""Cells of the raster on a side."""
FEW = 20_000
"""Points for which a raster does not pay."""


class Polygon:
    """A line that was drawn around some points."""

    def __init__(self, corners: FloatArray) -> None:
        """``corners``: (M, 2)."""
        self._corners = corners
        self.low, self.high = corners.min(axis=0), corners.max(axis=0)

    @cached_property
    def _raster(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], FloatArray]:
        """Of each cell, line by line, whether it is within, and whether an edge comes near it; and cells a unit."""
        step = np.where(self.high > self.low, (self.high - self.low) / _CELLS, 1.0)
        # Between the lines of a raster: a cell that no edge enters is within or without as a whole.
        middles = (np.arange(_CELLS) + 0.5) * step[:, None] + self.low[:, None]
        grid_x, grid_y = np.meshgrid(*middles)
        inside = _crossed_oddly(self._corners, grid_x.ravel(), grid_y.ravel())
        return inside, _entered((self._corners - self.low) / step).ravel(), 1 / step

    def holds(self, x: FloatArray, y: FloatArray, *, plainly: bool = False) -> npt.NDArray[np.bool_]:
        """(N,) whether a ray from the point to the right crosses the border an odd number of times.

        Where the border crosses itself, what it encloses twice lies outside. ``plainly``: without the raster, which
        pays for more than ``FEW`` points in all.
        """
        if plainly:
            return _crossed_oddly(self._corners, x, y)
        inside, border, scale = self._raster
        found = np.zeros(len(x), dtype=bool)
        near = (x >= self.low[0]) & (x <= self.high[0]) & (y >= self.low[1]) & (y <= self.high[1])
        there = np.flatnonzero(near)
        px, py = x[there], y[there]
        columns = np.minimum(((px - self.low[0]) * scale[0]).astype(np.int32), _CELLS - 1)
        cells = np.minimum(((py - self.low[1]) * scale[1]).astype(np.int32), _CELLS - 1) * _CELLS + columns
        within = inside[cells]
        doubtful = np.flatnonzero(border[cells])
        within[doubtful] = _crossed_oddly(self._corners, px[doubtful], py[doubtful])
        found[there] = within
        return found


def _crossed_oddly(corners: FloatArray, x: FloatArray, y: FloatArray) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(x), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        spans = (y0 > y) != (y1 > y)
        found ^= spans & (x < (x1 - x0) / (y1 - y0) * (y - y0) + x0)
    return found


def _entered(corners: FloatArray) -> npt.NDArray[np.bool_]:
    """(line, column) cells that an edge comes near; corners in cells."""
    border = np.zeros((_CELLS, _CELLS), dtype=bool)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        steps = int(np.ceil(2 * np.abs(end - start).max())) + 1
        along = start + np.linspace(0, 1, steps)[:, None] * (end - start)
        column, line = np.floor(along).astype(np.int64).T
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                border[np.clip(line + dy, 0, _CELLS - 1), np.clip(column + dx, 0, _CELLS - 1)] = True
    return border
