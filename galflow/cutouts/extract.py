"""From an image and positions to cutouts: one vectorised gather, or a bilinear one where a band lies on another grid.

No loop over objects. What lies beyond the image is missing (NaN, inverse variance 0, plane NO_DATA), never repeated or
mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS, WcsError
from numpy.lib.stride_tricks import sliding_window_view

from galflow.errors import DataError
from galflow.surveys.base import UNUSABLE, Image, Plane

SAME_GRID_PIXELS = 0.05
"""Two bands whose grids differ by a whole number of pixels to within this are gathered without resampling."""
_FAR = 1e9
"""A pixel outside every image, whose number still fits an integer."""
BEYOND = Plane.NO_DATA | Plane.EDGE
"""What the mask says beyond the image."""
_OBJECTS_AT_ONCE = 2048
_WINDOW_BYTES_AT_ONCE = 1 << 20
"""What a gather copies in one go: a temporary that stays in the processor's cache."""


@dataclass(frozen=True)
class Grid:
    """Where cutouts lie in one band: an affine map from reference pixels around each object to the band's pixels."""

    x: np.ndarray
    """(N,) where, in this band, the central pixel (``size // 2``) of the reference band's cutout lies."""
    y: np.ndarray
    matrix: np.ndarray | None
    """(N, 2, 2): d(x, y of this band) / d(x, y of the reference); None: the identity, no resampling."""


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


def is_flawless(image: Image) -> bool:
    """Whether the image is known, without a look at its pixels, to have none that is missing or masked.

    So it is where ``galflow.surveys.sky.with_ivar`` gave both planes as one value (strides 0).
    """
    ivar, mask = image.ivar, image.mask
    if ivar is None or mask is None or not image.flux.size:
        return False
    one_value = ivar.strides == (0, 0) and mask.strides == (0, 0)
    return one_value and bool(ivar[0, 0] > 0) and bool(mask[0, 0] == 0)


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
    # The reference band is cut on whole pixels, so it is its central pixel, not the object, that the bands share.
    x, y = central_pixel(x), central_pixel(y)
    half = max(size / 2, 1.0)
    points_x = np.concatenate([x, x + half, x - half, x, x])
    points_y = np.concatenate([y, y, y, y + half, y - half])
    try:
        with np.errstate(invalid="ignore"):
            sky = reference.wcs.all_pix2world(points_x, points_y, 0)
            there = band.wcs.all_world2pix(sky[0], sky[1], 0, quiet=True)
    except (WcsError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]  # wcslib's traceback; its last line is the cause
        raise DataError(f"the bands cannot be aligned: {reason}; check the WCS of both") from error
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
    """Cutouts of ``image`` (whose ivar must be given) on ``grid``, float32, float32, uint16; into ``out`` if given."""
    if image.ivar is None:
        raise DataError("cut_band needs the image's inverse variance; galflow.surveys.sky.with_ivar measures it")
    mask = image.mask if image.mask is not None else np.broadcast_to(np.uint16(0), image.flux.shape)
    if out is None:
        out = BandCutouts.empty(len(grid.x), size)
    if grid.matrix is None:
        x0, y0 = corners(grid.x, size), corners(grid.y, size)
        gather(image.flux, x0, y0, size, np.nan, out.flux)
        gather(image.ivar, x0, y0, size, 0.0, out.ivar)
        gather(mask, x0, y0, size, int(BEYOND), out.mask)
        return out
    for start in range(0, len(grid.x), _OBJECTS_AT_ONCE):
        rows = slice(start, start + _OBJECTS_AT_ONCE)
        part = Grid(grid.x[rows], grid.y[rows], grid.matrix[rows])
        out.flux[rows], out.ivar[rows], out.mask[rows] = _resample(image.flux, image.ivar, mask, part, size)
    return out


def _resample(
    flux: np.ndarray, ivar: np.ndarray, mask: np.ndarray, grid: Grid, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bilinear interpolation that keeps surface brightness, scaled to the reference's pixel area.

    A pixel with a missing neighbour is missing; variances add with the squared weights, masks by "or".
    """
    if grid.matrix is None:
        raise DataError("resampling needs a grid with a matrix")
    height, width = flux.shape
    steps = np.arange(size) - size // 2
    matrix = grid.matrix
    xs = (
        grid.x[:, None, None]
        + matrix[:, 0, 0, None, None] * steps[None, :]
        + matrix[:, 0, 1, None, None] * steps[:, None]
    )
    ys = (
        grid.y[:, None, None]
        + matrix[:, 1, 0, None, None] * steps[None, :]
        + matrix[:, 1, 1, None, None] * steps[:, None]
    )
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
