"""A PSF that differs over an image: stamps at positions (cells, a grid, one for each stamp of a galaxy), or FWHM maps.

What it is at an object is up to four stamps with their weights, so that a tile's objects share the stamps. It does not
extrapolate: beyond the outermost positions the nearest holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from galflow.errors import DataError

NEIGHBOURS = 4
"""Stamps that make up the PSF at an object."""
_GRID_PIXELS = 1e-3
_PIECE = 4096


@dataclass(frozen=True, eq=False)
class PsfField:
    """PSF stamps at positions in an image's own pixels."""

    x: np.ndarray
    """(k,) 0-based pixels."""
    y: np.ndarray
    images: np.ndarray
    """(k, side, side) float32, odd side, sum 1."""
    linear: bool = False
    """Whether it is interpolated between neighbours of a regular grid; else the nearest stamp holds."""

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.images) > 0:
            raise DataError(f"{len(self.images)} PSF stamps have {len(self.x)} positions; expected one each")
        if self.linear:
            self._grid()

    @property
    def mean(self) -> np.ndarray:
        """(side, side) float32 of sum 1."""
        total = self.images.sum(axis=0, dtype=np.float64)
        return np.asarray(total / total.sum(), np.float32)

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, 4) int32 numbers of stamps and (n, 4) float32 weights of sum 1, at (n,) positions; NaN: the first's."""
        known = np.isfinite(x) & np.isfinite(y)
        x, y = np.where(known, x, self.x[0]), np.where(known, y, self.y[0])
        return self._interpolated(x, y) if self.linear else self._nearest(x, y)

    def _nearest(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nodes = np.zeros((len(x), NEIGHBOURS), np.int32)
        for start in range(0, len(x), max(1, _PIECE * 64 // len(self.x))):
            part = slice(start, start + max(1, _PIECE * 64 // len(self.x)))
            distance = (x[part, None] - self.x) ** 2 + (y[part, None] - self.y) ** 2
            nodes[part] = distance.argmin(axis=1)[:, None]
        weights = np.zeros(nodes.shape, np.float32)
        weights[:, 0] = 1
        return nodes, weights

    def _grid(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x and y of the grid's lines, and (rows, columns) numbers of stamps; DataError where there is no full grid."""
        xs, column = _lines(self.x)
        ys, row = _lines(self.y)
        number = np.full((len(ys), len(xs)), -1, np.int32)
        number[row, column] = np.arange(len(self.x))
        if (number < 0).any():
            raise DataError(
                f"{len(self.x)} PSF stamps lie at {len(xs)} x and {len(ys)} y, which is no full grid; declare "
                "interpolation: nearest"
            )
        return xs, ys, number

    def _interpolated(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        xs, ys, number = self._grid()
        (left, right, fx), (below, above, fy) = _between(xs, x), _between(ys, y)
        nodes = np.stack([number[below, left], number[below, right], number[above, left], number[above, right]], axis=1)
        weights = np.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], axis=1)
        return nodes.astype(np.int32), weights.astype(np.float32)


@dataclass(frozen=True, eq=False)
class FwhmMap:
    """The PSF's FWHM over an image."""

    values: np.ndarray
    """(h, w) arcsec, of the image's shape or coarser; what is no positive number is unknown."""
    shape: tuple[int, int]
    """(y, x) of the image."""

    @property
    def median(self) -> float | None:
        """Of the known values; None where there is none."""
        known = self.values[np.isfinite(self.values) & (self.values > 0)]
        return float(np.median(known)) if known.size else None

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(n,) arcsec at (n,) positions, NaN where it is unknown or beyond the image."""
        known = (x > -0.5) & (x < self.shape[1] - 0.5) & (y > -0.5) & (y < self.shape[0] - 0.5)
        cells = [
            np.clip(np.floor((np.where(known, v, 0) + 0.5) * side / pixels), 0, side - 1).astype(np.int64)
            for v, side, pixels in zip((y, x), self.values.shape, self.shape, strict=True)
        ]
        found = np.asarray(self.values[cells[0], cells[1]], np.float64)
        return np.where(known & np.isfinite(found) & (found > 0), found, np.nan)


@dataclass(frozen=True, eq=False)
class Psf:
    """The point-spread function: an image, a FWHM, or both."""

    image: np.ndarray | None = None
    """(y, x), odd sides, centred, sum 1."""
    fwhm_arcsec: float | None = None
    field: PsfField | None = None
    """How it differs over the image; ``image`` is then the mean."""
    fwhm_map: FwhmMap | None = None
    """How its FWHM differs over the image; ``fwhm_arcsec`` is then the median."""

    def __post_init__(self) -> None:
        if self.image is None and self.fwhm_arcsec is None:
            raise DataError("a PSF needs an image or a FWHM; give neither only by leaving the PSF out")


def _lines(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different coordinates, sorted, and which of them each value is."""
    rounded = np.round(values / _GRID_PIXELS)
    lines, which = np.unique(rounded, return_inverse=True)
    return lines * _GRID_PIXELS, which


def _between(lines: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The lines before and after each value, and how far it is from the one to the other, 0 to 1."""
    after = np.clip(np.searchsorted(lines, values, side="right"), 1, max(1, len(lines) - 1))
    if len(lines) == 1:
        first = np.zeros(len(values), np.int64)
        return first, first, np.zeros(len(values))
    before = after - 1
    share = (values - lines[before]) / (lines[after] - lines[before])
    return before, after, np.clip(share, 0, 1)
