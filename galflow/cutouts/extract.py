"""From an image and positions to cutouts: one vectorised gather, or a resampling where a band lies on another grid.

No loop over objects. What lies beyond the image is missing (NaN, inverse variance 0, plane NO_DATA), never repeated or
mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import Image, Plane
from galflow.surveys.reading.grids import SAME_GRID_PIXELS, Grid, grid_in_band
from galflow.surveys.reading.resample import Planes, resample
from galflow.surveys.reading.windows import BEYOND, central_pixel, corners, gather, leaves_image

__all__ = [
    "BEYOND",
    "SAME_GRID_PIXELS",
    "BandCutouts",
    "Grid",
    "central_pixel",
    "corners",
    "cut_band",
    "gather",
    "grid_in_band",
    "is_flawless",
    "leaves_image",
]
_OBJECTS_AT_ONCE = 2048


def is_flawless(image: Image) -> bool:
    """Whether the image is known, without a look at its pixels, to have none that is missing or masked.

    So it is where ``galflow.surveys.reading.sky.with_ivar`` gave both planes as one value (strides 0).
    """
    ivar, mask = image.ivar, image.mask
    if ivar is None or mask is None or not image.flux.size:
        return False
    one_value = ivar.strides == (0, 0) and mask.strides == (0, 0)
    return one_value and bool(ivar[0, 0] > 0) and bool(mask[0, 0] == 0)


@dataclass(frozen=True, eq=False)
class BandCutouts:
    """Cutouts of one band, each (N, size, size)."""

    flux: np.ndarray
    ivar: np.ndarray
    mask: np.ndarray

    @classmethod
    def empty(cls, n: int, size: int) -> BandCutouts:
        """Room for N cutouts, whose values are yet to be written."""
        shape = (n, size, size)
        return cls(np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.uint16))

    def clear(self) -> None:
        """Set all pixels to missing."""
        self.flux[...], self.ivar[...], self.mask[...] = np.nan, 0.0, int(Plane.NO_DATA)

    def put(self, rows: np.ndarray, part: BandCutouts) -> None:
        """Set these rows, (N,) bool, to the cutouts of ``part``."""
        self.flux[rows], self.ivar[rows], self.mask[rows] = part.flux, part.ivar, part.mask


def cut_band(image: Image, grid: Grid, size: int, out: BandCutouts | None = None) -> BandCutouts:
    """Cutouts of ``image`` (whose ivar must be given) on ``grid``, float32, float32, uint16; into ``out`` if given.

    Raises DataError where there is no inverse variance, where grids differ absurdly, or memory does not suffice.
    """
    if image.ivar is None:
        raise DataError(
            "cut_band needs the image's inverse variance; galflow.surveys.reading.sky.with_ivar measures it"
        )
    mask = image.mask if image.mask is not None else np.broadcast_to(np.uint16(0), image.flux.shape)
    try:
        out = out or BandCutouts.empty(len(grid.x), size)
        _fill(out, Planes(image.flux, image.ivar, mask), grid, size)
    except MemoryError as error:
        raise DataError(
            f"its {len(grid.x)} cutouts of {size} pixels did not fit into memory: {error}; give workers more memory"
        ) from error
    return out


def _fill(out: BandCutouts, band: Planes, grid: Grid, size: int) -> None:
    """Write the cutouts of ``band`` into ``out``."""
    if grid.matrix is None:
        x0, y0 = corners(grid.x, size), corners(grid.y, size)
        gather(band.flux, x0, y0, size, np.nan, out.flux)
        gather(band.ivar, x0, y0, size, 0.0, out.ivar)
        gather(band.mask, x0, y0, size, int(BEYOND), out.mask)
        return
    for start in range(0, len(grid.x), _OBJECTS_AT_ONCE):
        rows = slice(start, start + _OBJECTS_AT_ONCE)
        made = resample(band, Grid(grid.x[rows], grid.y[rows], grid.matrix[rows]), size)
        out.flux[rows], out.ivar[rows], out.mask[rows] = made.flux, made.ivar, made.mask
