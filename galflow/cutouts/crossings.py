"""Which cutouts a trail crosses: segments of straight lines against squares, some of them turned. No pixel is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from galflow.cutouts.extract import Grid, corners
from galflow.surveys.reading.trails import Trail


def crossed(trails: Sequence[Trail], grid: Grid, size: int) -> np.ndarray:
    """Whether any of a band's trails touches a cutout of ``size`` pixels on ``grid``, (N,) bool.

    A trail is as wide as its full width at half maximum.
    """
    found = np.zeros(len(grid.x), bool)
    for trail in trails:
        ends = np.array([[trail.x0, trail.y0], [trail.x1, trail.y1]])
        if grid.matrix is None:
            corner = np.stack([corners(grid.x, size), corners(grid.y, size)], axis=-1)
            places, scale = ends - corner[:, None].astype(np.float64), np.ones(len(corner))
        else:
            # Into the cutout's own pixels, of which size // 2 is the one that the grid gives.
            usable = np.abs(np.linalg.det(grid.matrix)) > 0
            inverse = np.linalg.inv(np.where(usable[:, None, None], grid.matrix, np.eye(2)))
            offset = ends - np.stack([grid.x, grid.y], axis=-1)[:, None]
            places = np.einsum("nij,nej->nei", inverse, offset) + size // 2
            scale = np.sqrt(np.abs(np.linalg.det(inverse)))
        found |= _touches(places, 0.5 * trail.width_pixels * scale, size)
    return found


def _touches(ends: np.ndarray, reach: np.ndarray, size: int) -> np.ndarray:
    """Whether segments, (N, 2 ends, x and y), come within ``reach``, (N,), of a square of pixels 0 ... size - 1.

    A segment is cut off at each pair of the square's sides in turn (Liang & Barsky 84). The corners of the widened
    square are not rounded.
    """
    begin, step = ends[:, 0], ends[:, 1] - ends[:, 0]
    low, high = -0.5 - reach[:, None], size - 0.5 + reach[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        first, last = (low - begin) / step, (high - begin) / step
    flat = step == 0
    within = (begin >= low) & (begin <= high)
    enter = np.where(flat, np.where(within, 0.0, np.inf), np.minimum(first, last)).max(axis=1)
    leave = np.where(flat, np.where(within, 1.0, -np.inf), np.maximum(first, last)).min(axis=1)
    return np.asarray(np.maximum(enter, 0.0) <= np.minimum(leave, 1.0))
