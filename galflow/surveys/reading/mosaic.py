"""Lays ready-made stamps on a grid, so that stamps reach the models by the same extraction path as a survey's tile.

A cell is a square of twice the largest stamp's side with the stamp in its middle; between two stamps lie missing pixels
at least as wide as a stamp, so that no cutout of up to a cell's side sees a neighbour. The centre pixel of a stamp of
shape (h, w), (h // 2, w // 2), is the centre pixel of its cell whatever the stamp's size. This file refuses to decode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from galflow.errors import DataError

MOST_PIXELS = 400_000_000
"""A mosaic of more (1.6 GB a band) points to stamps that should be cropped, binned or put in more tiles."""


@dataclass(frozen=True)
class Mosaic:
    """The grid of ``count`` cells for stamps of up to ``stamp_side`` pixels."""

    count: int
    stamp_side: int

    @classmethod
    def fits(cls, count: int, stamp_side: int) -> bool:
        """Whether a mosaic of so many stamps of that side is small enough."""
        rows = -(-max(count, 1) // _columns(count))
        return rows * _columns(count) * (2 * stamp_side) ** 2 <= MOST_PIXELS

    def __post_init__(self) -> None:
        pixels = self.shape[0] * self.shape[1]
        if pixels > MOST_PIXELS:
            raise DataError(
                f"{self.count} stamps of {self.stamp_side} pixels a side make a mosaic of {pixels} pixels, expected at "
                f"most {MOST_PIXELS}; lower the number of images in a tile, or crop or bin the stamps"
            )

    @property
    def cell_side(self) -> int:
        """Pixels from one stamp's centre to the next."""
        return 2 * self.stamp_side

    @property
    def columns(self) -> int:
        """Cells in a row: as square a grid as can be."""
        return _columns(self.count)

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) pixels of the mosaic."""
        rows = max(1, -(-self.count // self.columns))
        return rows * self.cell_side, self.columns * self.cell_side

    @property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """``(y, x)``, each (count,) int64: the 0-based centre pixel of every stamp."""
        cell = np.arange(self.count, dtype=np.int64)
        half = self.cell_side // 2
        return cell // self.columns * self.cell_side + half, cell % self.columns * self.cell_side + half

    def assemble(self, stamps: Sequence[np.ndarray | None], fill: float, dtype: type[np.generic]) -> np.ndarray:
        """(y, x) mosaic of 2-D ``stamps`` in order, ``fill`` in the gaps and where a stamp is None."""
        canvas = np.full(self.shape, fill, dtype=dtype)
        for stamp, y, x in zip(stamps, *self.centres, strict=True):
            if stamp is not None:
                top, left = y - stamp.shape[0] // 2, x - stamp.shape[1] // 2
                canvas[top : top + stamp.shape[0], left : left + stamp.shape[1]] = stamp
        return canvas


def _columns(count: int) -> int:
    """Columns of the grid of ``count`` cells."""
    return max(1, math.isqrt(max(count - 1, 0)) + 1)
