"""Interpolation between the four nearest pixels, with the variance and the mask that go with it."""

from __future__ import annotations

import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import UNUSABLE, Plane
from galflow.surveys.reading.grids import Grid
from galflow.surveys.reading.windows import BEYOND


def interpolate(
    flux: np.ndarray, ivar: np.ndarray, mask: np.ndarray, grid: Grid, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bilinear interpolation that keeps surface brightness, scaled to the reference's pixel area.

    A pixel with a missing neighbour is missing; variances add with the squared weights, masks by "or".
    """
    if grid.matrix is None:
        raise DataError("resampling needs a grid with a matrix")
    height, width = flux.shape
    matrix = grid.matrix
    xs, ys = grid.pixels(size)
    area = np.abs(np.linalg.det(matrix))[:, None, None]
    inside = (xs >= 0) & (ys >= 0) & (xs <= width - 1) & (ys <= height - 1)
    xs, ys = np.where(inside, xs, 0.0), np.where(inside, ys, 0.0)
    left, low = xs.astype(np.int64), ys.astype(np.int64)
    fx, fy = xs - left, ys - low
    value = np.zeros(xs.shape)
    variance = np.zeros(xs.shape)
    planes = np.zeros(xs.shape, np.uint16)
    missing = ~inside
    for dy, dx, weight in ((0, 0, (1 - fx) * (1 - fy)), (0, 1, fx * (1 - fy)), (1, 0, (1 - fx) * fy), (1, 1, fx * fy)):
        # On the last row or column the neighbour beyond has no weight; it is replaced by one that exists.
        index = np.minimum(low + dy, height - 1) * width + np.minimum(left + dx, width - 1)
        used = weight > 1e-6
        iv = ivar.ravel()[index]
        missing |= used & (iv <= 0)
        value += np.where(used & (iv > 0), weight * flux.ravel()[index], 0.0)
        variance += np.where(used & (iv > 0), weight**2 / np.where(iv > 0, iv, 1.0), 0.0)
        planes |= np.where(used, mask.ravel()[index], 0).astype(np.uint16)
    planes[~inside] = int(BEYOND)
    planes[missing & ((planes & int(UNUSABLE)) == 0)] |= int(Plane.NO_DATA)
    good = ~missing
    out_flux = np.where(good, value * area, np.nan).astype(np.float32)
    out_ivar = np.where(good, 1.0 / (np.where(good, variance, 1.0) * area**2), 0.0).astype(np.float32)
    return out_flux, out_ivar, planes
