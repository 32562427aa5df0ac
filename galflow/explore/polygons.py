"""Which points lie within a polygon: millions of points, by a raster of the plane and exactly near the border."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_CELLS = 512
"""Cells of the raster on a side."""
_FEW = 20_000
"""Points for which a raster does not pay."""


def within(corners: FloatArray, x: FloatArray, y: FloatArray) -> npt.NDArray[np.bool_]:
    """(N,) whether a ray from the point to the right crosses the border of ``corners`` (M, 2) an odd number of times.

    Where the border crosses itself, what it encloses twice lies outside.
    """
    if len(x) <= _FEW:
        return _crossed_oddly(corners, x, y)
    low, high = corners.min(axis=0), corners.max(axis=0)
    step = np.where(high > low, (high - low) / _CELLS, 1.0)
    # Between the lines of a raster: a cell that no edge enters is within or without as a whole.
    middles = (np.arange(_CELLS) + 0.5) / _CELLS
    grid_x, grid_y = np.meshgrid(low[0] + middles * (high[0] - low[0]), low[1] + middles * (high[1] - low[1]))
    inside = _crossed_oddly(corners, grid_x.ravel(), grid_y.ravel())
    inside = inside.reshape(_CELLS, _CELLS)
    border = _entered((corners - low) / step)
    columns = np.clip(((x - low[0]) / step[0]).astype(np.int32), 0, _CELLS - 1)
    lines = np.clip(((y - low[1]) / step[1]).astype(np.int32), 0, _CELLS - 1)
    cells = lines * _CELLS + columns
    found = inside.ravel()[cells]
    near = np.flatnonzero(border.ravel()[cells])
    found[near] = _crossed_oddly(corners, x[near], y[near])
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
