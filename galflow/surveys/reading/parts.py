"""Some pixels of an image, chosen before any is read: what cutouts need, and the samples that tell of its sky.

Planes of a part are (1, M): what works pixel by pixel works on them as on a whole image, and costs as little as the
part is small. What would need other pixels raises WholeNeeded: then the image is read whole.
"""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from galflow.errors import GalflowError

SAMPLE_PIXELS = 1 << 16
"""The quartiles of 2^16 normal pixels give sigma to 0.5 %, their median to 0.005 sigma."""
_BLOCK = 16
_ROWS = 64


class WholeNeeded(GalflowError):
    """A part of an image does not say what is asked; the message says why."""


@dataclass(frozen=True, eq=False)
class Part:
    """Pixels of an image of ``shape`` (y, x)."""

    shape: tuple[int, int]
    index: np.ndarray
    """(M,) int64, ascending, each once: y * width + x."""

    @cached_property
    def rows(self) -> np.ndarray:
        """(M,) y of each."""
        return self.index // self.shape[1]

    def values_at(self, plane: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Pixels of a plane, (1, M), at flat indices of the image, any shape, all of which the part has."""
        return np.asarray(plane[0, np.searchsorted(self.index, index)])

    def spread(self, plane: np.ndarray) -> np.ndarray:
        """A plane, (1, M), as one of the image's shape, of which nothing but the part may be looked at.

        The rest is memory that is never touched, and so takes none. A plane of one value (strides 0) stays one.
        """
        if plane.strides == (0, 0) and plane.size:
            return np.broadcast_to(plane[0, 0], self.shape)
        pages = mmap.mmap(-1, self.shape[0] * self.shape[1] * plane.itemsize)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            pages.madvise(mmap.MADV_NOHUGEPAGE)  # else each pixel takes two megabytes
        whole = np.frombuffer(pages, plane.dtype)
        whole[self.index] = plane[0]
        return whole.reshape(self.shape)


def block_grid(shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """(step y, step x, block y, block x): where the blocks that are sampled of an image lie, and their size."""
    height, width = shape
    if height * width <= SAMPLE_PIXELS or min(height, width) < 2 * _BLOCK:
        return height, width, height, width
    step = max(_BLOCK, math.ceil(_BLOCK * math.sqrt(height * width / SAMPLE_PIXELS)))
    return min(step, height), min(step, width), _BLOCK, _BLOCK


def blocks(plane: np.ndarray) -> np.ndarray:
    """(p, h, q, w) view of the p x q blocks that are sampled of a plane, (y, x)."""
    height, width = plane.shape
    step_y, step_x, block_y, block_x = block_grid((height, width))
    rows, columns = height // step_y, width // step_x
    cut = plane[: rows * step_y, : columns * step_x].reshape(rows, step_y, columns, step_x)
    return cut[:, :block_y, :, :block_x]


def block_pixels(shape: tuple[int, int]) -> np.ndarray:
    """(p, h, q, w) flat indices of the same blocks."""
    step_y, step_x, block_y, block_x = block_grid(shape)
    y = np.arange(shape[0] // step_y)[:, None] * step_y + np.arange(block_y)
    x = np.arange(shape[1] // step_x)[:, None] * step_x + np.arange(block_x)
    return y[:, :, None, None] * shape[1] + x


def sampled_rows(height: int) -> slice:
    """About 64 rows, spread evenly."""
    return slice(None, None, max(1, height // _ROWS))


def square_pixels(shape: tuple[int, int], x0: np.ndarray, y0: np.ndarray, size: int) -> np.ndarray:
    """(K,) flat indices, ascending, each once, of what squares that begin at ``x0``, ``y0``, (N,), have of an image."""
    near = (x0 > -size) & (y0 > -size) & (x0 < shape[1]) & (y0 < shape[0])
    y = (y0[near, None] + np.arange(size))[:, :, None]
    x = (x0[near, None] + np.arange(size))[:, None, :]
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return np.unique((y * shape[1] + x)[inside])


def part_of(shape: tuple[int, int], *more: np.ndarray) -> Part:
    """The blocks that tell of an image's sky, and ``more`` flat indices."""
    return Part(shape, np.unique(np.concatenate([block_pixels(shape).ravel(), *more])).astype(np.int64))


def row_pixels(shape: tuple[int, int]) -> np.ndarray:
    """Flat indices of ``sampled_rows``."""
    return (np.arange(shape[0])[sampled_rows(shape[0])][:, None] * shape[1] + np.arange(shape[1])).ravel()
