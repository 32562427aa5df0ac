"""An image averaged into a few hundred bins a side, in units of the scatter of its own bins, with bright light clipped.

What is left of a source is no brighter than a few times the noise, so that many pixels in a row count for more than any
bright one. Pixels are read once at most, a strip of rows at a time; of large bins every other row is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from galflow.constants import SIGMA_PER_MAD
from galflow.surveys.base import Image, Plane
from galflow.surveys.reading.ridge import Line, offsets

_LARGEST_BIN = 16
"""Pixels."""
_BINS = (128, 256, 512)
"""Most bins along the longer side, powers of two: the first that makes bins small enough, else the last."""
_EVERY_OTHER_ROW_FROM = 8
"""Bins of that many pixels a side have enough of them in half of their rows."""
_CLIP_PIXEL, _CLIP_BIN = 3.0, 4.0
"""Standard deviations of a pixel, then of a bin."""
_LEAST_OBSERVED = 0.5


@dataclass(frozen=True, eq=False)
class BinnedMap:
    """The bins, both planes (y, x) float32."""

    light: np.ndarray
    """In robust standard deviations of the bins, clipped; 0 where nothing is known."""
    weight: np.ndarray
    """1 where the bin is observed, else 0."""
    side: int
    """Pixels of a bin's side."""

    @property
    def size(self) -> int:
        """The power of two that both axes fit into."""
        return 1 << max(0, max(self.light.shape) - 1).bit_length()

    def pixel(self, x: float, y: float) -> tuple[float, float]:
        """Where a place in bins lies in pixels; whole numbers are the middles of both."""
        return (x + 0.5) * self.side - 0.5, (y + 0.5) * self.side - 0.5

    def forget(self, line: Line) -> None:
        """Take the bins of a line for unobserved."""
        _, across = offsets(line, self.light.shape)
        near = np.abs(across) < line.half_width + 1.5
        self.light[near], self.weight[near] = 0.0, 0.0


def bin_image(image: Image, level: float, sigma: float) -> BinnedMap:
    """The bins of an image whose sky has this level and this sigma a pixel.

    Pixels without inverse variance, and those that the mask takes for a trail or a bright star's, are left out.
    """
    height, width = image.flux.shape
    sides = [math.ceil(max(height, width) / most) for most in _BINS]
    side = next((side for side in sides if side <= _LARGEST_BIN), sides[-1])
    rows, columns = height // side, width // side
    mean = np.zeros((rows, columns), np.float32)
    share = np.ones((rows, columns), np.float32)
    step = 2 if side >= _EVERY_OTHER_ROW_FROM else 1
    strip = np.empty((len(range(0, side, step)), columns * side), np.float32)
    low, high = np.float32(level - _CLIP_PIXEL * sigma), np.float32(level + _CLIP_PIXEL * sigma)
    for row in range(rows):
        window = (slice(row * side, (row + 1) * side, step), slice(0, columns * side))
        np.clip(image.flux[window], low, high, out=strip)
        known = _known(image, window)
        if known is not None:
            strip[~known] = 0.0
            share[row] = _sums(known.astype(np.float32), columns) / (strip.size // columns)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean[row] = _sums(strip, columns) / (strip.size // columns * share[row])
    weight = (share > _LEAST_OBSERVED).astype(np.float32)
    seen = mean[weight > 0]
    if not len(seen):
        return BinnedMap(np.zeros_like(mean), weight, side)
    middle = np.median(seen)
    scatter = max(SIGMA_PER_MAD * float(np.median(np.abs(seen - middle))), 1e-3 * sigma)
    light = np.clip((mean - middle) / np.float32(scatter), -_CLIP_BIN, _CLIP_BIN)
    return BinnedMap(np.where(weight > 0, light, np.float32(0)), weight, side)


def _sums(strip: np.ndarray, columns: int) -> np.ndarray:
    """Sums of the bins of one strip of rows, (columns,)."""
    return np.asarray(strip.sum(axis=0).reshape(columns, -1).sum(axis=1))


def _known(image: Image, window: tuple[slice, slice]) -> np.ndarray | None:
    """Which pixels of a strip take part; None: all. A plane of one value (strides 0) is not read."""
    known: np.ndarray | None = None
    if image.ivar is not None and (image.ivar.strides != (0, 0) or not image.ivar[0, 0] > 0):
        known = image.ivar[window] > 0
    if image.mask is not None and (image.mask.strides != (0, 0) or image.mask[0, 0] != 0):
        unmarked = (image.mask[window] & np.uint16(Plane.NO_DATA | Plane.TRAIL | Plane.BRIGHT_STAR)) == 0
        known = unmarked if known is None else known & unmarked
    return None if known is None or known.all() else known
