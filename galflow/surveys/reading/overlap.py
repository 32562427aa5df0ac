"""The area that the pixels of two grids have in common."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

OVERLAP_STEP = 1 / 256
"""Matrices that differ by less in each element have one table of overlaps."""
_MOST_POSITIONS = 640
_NODES = 32


def interval_overlaps(centre: np.ndarray, pitch: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis of parallel grids, how much of each unit pixel lies in each of the other grid's pixels.

    ``centre``, (N,): position of the other grid's pixel of step 0; ``pitch``, (N,): from one of its pixels to the next,
    negative where it runs backwards. The first unit pixel touched, (N,) int64, and lengths (N, steps, pixels) float32.
    """
    middle = centre[:, None] + pitch[:, None] * steps
    half = np.abs(pitch)[:, None, None] / 2
    first = np.floor(middle.min(axis=1) - np.abs(pitch) / 2 + 0.5).astype(np.int64)
    count = math.ceil(float((np.abs(pitch) * len(steps)).max(initial=0.0))) + 1
    pixel = first[:, None, None] + np.arange(count)
    middle = middle[:, :, None]
    lengths = np.minimum(middle + half, pixel + 0.5) - np.maximum(middle - half, pixel - 0.5)
    return first, np.maximum(lengths, 0.0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """Overlaps of unit pixels with one parallelogram, for all places of its centre within a pixel."""

    neighbours: tuple[tuple[int, int, np.ndarray], ...]
    """Offset in y and in x of a unit pixel that may be touched, and its overlap, (phases,) float32."""
    phases: int
    """Places along each axis."""
    reach: int
    """The largest offset."""
    area: float
    """Of the parallelogram: the sum of its overlaps at each place."""

    def phase(self, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
        """Index into the overlaps for centres ``dx``, ``dy`` (-0.5 to 0.5) off the middle of the pixel they lie in."""
        at = [np.clip(((d + 0.5) * self.phases).astype(np.int32), 0, self.phases - 1) for d in (dy, dx)]
        return at[0] * self.phases + at[1]


@functools.lru_cache(maxsize=64)
def overlap_table(key: tuple[int, ...]) -> OverlapTable:
    """The table for the parallelogram whose sides are the columns of the matrix ``key`` (m00, m01, m10, m11) times
    ``OVERLAP_STEP``.

    The overlap is integrated along one side by the midpoint rule and along the other exactly, to about 1e-3 of a pixel;
    places of the centre are 1/64 of a pixel apart, and farther for parallelograms of more than 8 pixels across.
    """
    matrix = np.array(key, dtype=np.float64).reshape(2, 2) * OVERLAP_STEP
    extent = np.abs(matrix).sum(axis=1).max() / 2
    reach = math.ceil(extent + 0.5)
    phases = max(8, min(64, _MOST_POSITIONS // (2 * reach + 1)))
    fraction = (np.arange(phases) + 0.5) / phases - 0.5
    # Where a unit pixel's middle lies relative to the parallelogram's centre, along one axis: (offset, phase).
    place = np.arange(-reach, reach + 1)[:, None] - fraction
    area = abs(float(np.linalg.det(matrix)))
    overlap = _overlaps(matrix, place.ravel()) * area
    overlap = overlap.reshape(2 * reach + 1, phases, 2 * reach + 1, phases).transpose(0, 2, 1, 3)
    overlap = overlap.reshape((2 * reach + 1) ** 2, phases * phases)
    overlap *= area / overlap.sum(axis=0)
    offsets = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    touched = ((dy, dx, row.astype(np.float32)) for (dy, dx), row in zip(offsets, overlap, strict=True) if row.any())
    return OverlapTable(tuple(touched), phases, reach, area)


def _overlaps(matrix: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The share of the parallelogram that lies in unit pixels centred at all pairs of ``place``, (n,): (n y, n x).

    Points of the parallelogram are matrix @ (u, v), u and v from -0.5 to 0.5: for each u the v within the pixel fill an
    interval, bounded along x and along y.
    """
    total = np.zeros((len(place), len(place)))
    nodes = _NODES * math.ceil(np.abs(matrix).max())
    for u in (np.arange(nodes) + 0.5) / nodes - 0.5:
        x_low, x_high = _bounds(place - matrix[0, 0] * u, matrix[0, 1])
        y_low, y_high = _bounds(place - matrix[1, 0] * u, matrix[1, 1])
        length = np.minimum(x_high, y_high[:, None]) - np.maximum(x_low, y_low[:, None])
        total += np.maximum(length, 0.0)
    return total / nodes


def _bounds(offset: np.ndarray, slope: float) -> tuple[np.ndarray, np.ndarray]:
    """The v from -0.5 to 0.5 with |slope * v - offset| <= 0.5; low above high where there is none."""
    if abs(slope) < 1e-12:
        inside = np.abs(offset) <= 0.5
        return np.where(inside, -0.5, 1.0), np.where(inside, 0.5, -1.0)
    ends = np.stack([(offset - 0.5) / slope, (offset + 0.5) / slope])
    return np.maximum(ends.min(axis=0), -0.5), np.minimum(ends.max(axis=0), 0.5)
