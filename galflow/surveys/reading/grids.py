"""Where the pixels of one band lie in another: an affine map around each object, through both bands' WCS.

The bands of a tile may differ in frame, scale, rotation and shape. Only without a WCS must they share one grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS, NoConvergence, WcsError

from galflow.errors import DataError
from galflow.surveys.base import Image
from galflow.surveys.reading.positions import icrs_to_pixel, pixel_to_icrs
from galflow.surveys.reading.windows import central_pixel

SAME_GRID_PIXELS = 0.05
"""Two bands whose grids differ by a whole number of pixels to within this are gathered without resampling."""

WCS_FAULTS = (WcsError, NoConvergence, ValueError, ArithmeticError, LookupError)
"""What astropy raises on a WCS that cannot be used, or not for the positions given."""


@dataclass(frozen=True)
class Grid:
    """Where cutouts lie in one band: an affine map from reference pixels around each object to the band's pixels."""

    x: np.ndarray
    """(N,) where, in this band, the central pixel (``size // 2``) of the reference band's cutout lies."""
    y: np.ndarray
    matrix: np.ndarray | None
    """(N, 2, 2): d(x, y of this band) / d(x, y of the reference); None: the identity, no resampling."""

    def pixels(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y in this band, (N, size, size), of the middles of the reference's pixels."""
        steps = np.arange(size) - size // 2
        matrix = np.broadcast_to(np.eye(2), (len(self.x), 2, 2)) if self.matrix is None else self.matrix
        along_x, along_y = steps[None, None, :], steps[None, :, None]
        part = matrix[:, :, :, None, None]
        xs = self.x[:, None, None] + part[:, 0, 0] * along_x + part[:, 0, 1] * along_y
        ys = self.y[:, None, None] + part[:, 1, 0] * along_x + part[:, 1, 1] * along_y
        return xs, ys


def cause(error: BaseException) -> str:
    """What an error of a WCS says, in a line: wcslib gives a traceback, of which the last line is the cause."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def grid_in_band(x: np.ndarray, y: np.ndarray, size: int, reference: Image, band: Image) -> Grid:
    """The cutouts' grid in ``band``, for positions (N,) on the reference band; aligned by WCS where both have one."""
    if reference is band or reference.wcs is None or band.wcs is None:
        if reference.flux.shape != band.flux.shape:
            raise DataError(
                f"bands of shapes {reference.flux.shape} and {band.flux.shape} cannot be aligned without a WCS; "
                "give both a WCS, or images on one pixel grid"
            )
        return Grid(x, y, None)
    if reference.flux.shape == band.flux.shape and _same_header(reference.wcs, band.wcs):
        return Grid(x, y, None)
    # A place far off the reference has no cutout, and projections are not made for it.
    height, width = reference.flux.shape
    far = (np.abs(x - width / 2) > width + size) | (np.abs(y - height / 2) > height + size)
    x, y = np.where(far, np.nan, x), np.where(far, np.nan, y)
    # The reference band is cut on whole pixels, so it is its central pixel, not the object, that the bands share.
    x, y = (np.where(np.isfinite(v), central_pixel(v), np.nan) for v in (x, y))
    half = max(size / 2, 1.0)
    points_x = np.concatenate([x, x + half, x - half, x, x])
    points_y = np.concatenate([y, y, y, y + half, y - half])
    try:
        with np.errstate(invalid="ignore"):
            there = icrs_to_pixel(band.wcs, *pixel_to_icrs(reference.wcs, points_x, points_y))
    except (*WCS_FAULTS, MemoryError) as error:
        raise DataError(f"the bands cannot be aligned: {cause(error)}; check the WCS of both") from error
    centre, right, left, up, down = np.split(np.stack(there, axis=-1), 5)
    matrix = np.stack([(right - left) / (2 * half), (up - down) / (2 * half)], axis=-1)
    if _is_whole_shift(centre, matrix, x, y, half):
        return Grid(centre[:, 0], centre[:, 1], None)
    return Grid(centre[:, 0], centre[:, 1], matrix)


def _same_header(a: WCS, b: WCS) -> bool:
    return bool(a.wcs == b.wcs) and a.sip is None and b.sip is None


def _is_whole_shift(centre: np.ndarray, matrix: np.ndarray, x: np.ndarray, y: np.ndarray, half: float) -> bool:
    good = np.isfinite(centre).all(axis=1) & np.isfinite(matrix).all(axis=(1, 2))
    if not good.any():
        return True
    shift = centre[good] - np.stack([x, y], axis=-1)[good]
    off_pixel = np.abs(shift - np.round(shift)).max()
    turned = np.abs(matrix[good] - np.eye(2)).max() * half
    return bool(off_pixel < SAME_GRID_PIXELS and turned < SAME_GRID_PIXELS)
