"""Square windows of an image around many places at once: one vectorised gather, no loop over objects.

What lies beyond the image is missing, never repeated or mirrored.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from galflow.surveys.base import Plane

_FAR = 1e9
"""A pixel outside every image, whose number still fits an integer."""
BEYOND = Plane.NO_DATA | Plane.EDGE
"""What the mask says beyond the image."""
_WINDOW_BYTES_AT_ONCE = 1 << 20
"""What a gather copies in one go: a temporary that stays in the processor's cache."""


def corners(position: np.ndarray, size: int) -> np.ndarray:
    """First pixel of the cutout of side ``size`` whose pixel ``size // 2`` is the one that holds ``position``."""
    return central_pixel(position).astype(np.int64) - size // 2


def central_pixel(position: np.ndarray) -> np.ndarray:
    """The pixel that holds ``position``, (N,) float64; far outside every image where a position is not finite."""
    return np.floor(np.clip(np.nan_to_num(position, nan=-_FAR), -_FAR, _FAR) + 0.5)


def gather(
    plane: np.ndarray, x0: np.ndarray, y0: np.ndarray, size: int, fill: float, out: np.ndarray | None = None
) -> np.ndarray:
    """Windows of ``plane`` (y, x) that start at (y0, x0), both (N,): (N, size, size), ``fill`` beyond the plane.

    Written into ``out`` where it is given. A plane that holds one value (strides 0) is not read pixel by pixel.
    """
    height, width = plane.shape
    windows = np.empty((len(x0), size, size), dtype=plane.dtype) if out is None else out
    outer = leaves_image(x0, y0, size, (height, width))
    if plane.strides == (0, 0) and plane.size:
        windows[...] = plane[0, 0]
    elif height >= size and width >= size:
        view = sliding_window_view(plane, (size, size))
        # An object that leaves the image first gets the nearest window that does not; what is beyond comes below.
        x_in, y_in = np.clip(x0, 0, width - size), np.clip(y0, 0, height - size)
        step = max(1, _WINDOW_BYTES_AT_ONCE // (size * size * plane.itemsize))
        for start in range(0, len(x0), step):
            rows = slice(start, start + step)
            windows[rows] = view[y_in[rows], x_in[rows]]
    if outer.any():
        windows[outer] = fill
    partial = np.flatnonzero(outer & (x0 + size > 0) & (y0 + size > 0) & (x0 < width) & (y0 < height))
    if len(partial):
        ys = y0[partial, None] + np.arange(size)
        xs = x0[partial, None] + np.arange(size)
        there = ((ys >= 0) & (ys < height))[:, :, None] & ((xs >= 0) & (xs < width))[:, None, :]
        taken = plane[np.clip(ys, 0, height - 1)[:, :, None], np.clip(xs, 0, width - 1)[:, None, :]]
        windows[partial] = np.where(there, taken, np.asarray(fill, plane.dtype))
    return windows


def leaves_image(x0: np.ndarray, y0: np.ndarray, size: int, shape: tuple[int, int]) -> np.ndarray:
    """Whether a cutout reaches beyond an image of ``shape`` (y, x). (N,) bool."""
    return (x0 < 0) | (y0 < 0) | (x0 + size > shape[1]) | (y0 + size > shape[0])
