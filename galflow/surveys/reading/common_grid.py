"""A tile's bands on the pixels of its reference band, whole images at a time, for detection and for simulated mocks.

A band that lies on the reference's grid is handed on as it is; another is resampled block by block, its flux kept
(galflow.surveys.reading.resample). It is NaN, with inverse variance 0, where it does not cover the reference.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from galflow.surveys.base import Image, Plane
from galflow.surveys.reading.grids import Grid, grid_in_band
from galflow.surveys.reading.observed import usable_pixels
from galflow.surveys.reading.resample import Planes, resample
from galflow.surveys.reading.windows import BEYOND, corners, gather

_BLOCK = 64
"""Side of a block, within which the map between the two grids is taken for affine."""


def on_grid(image: Image, reference: Image) -> Image:
    """``image`` on the pixels of ``reference``: its shape, WCS and pixel scale; the PSF stays that of ``image``.

    An inverse variance is carried over; without one there is none in the result. Raises DataError where the two cannot
    be aligned: shapes that differ and no WCS, or a broken WCS.
    """
    height, width = reference.flux.shape
    columns, rows = -(-width // _BLOCK), -(-height // _BLOCK)
    y, x = (np.arange(n) * _BLOCK + _BLOCK // 2 for n in (rows, columns))
    places = [v.ravel().astype(np.float64) for v in np.meshgrid(x, y)]
    grid = grid_in_band(places[0], places[1], _BLOCK, reference, image)
    if grid.matrix is None and image.flux.shape == (height, width) and _is_same(grid, places[0], places[1]):
        return image
    band = _planes(image)
    flux, ivar = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    mask = np.empty((height, width), np.uint16)
    for row in range(rows):
        some = slice(row * columns, (row + 1) * columns)
        matrix = None if grid.matrix is None else grid.matrix[some]
        strip = _strip(band, Grid(grid.x[some], grid.y[some], matrix))
        top, bottom = row * _BLOCK, min(height, (row + 1) * _BLOCK)
        for plane, blocks in ((flux, strip.flux), (ivar, strip.ivar), (mask, strip.mask)):
            plane[top:bottom] = blocks.transpose(1, 0, 2).reshape(_BLOCK, -1)[: bottom - top, :width]
    if image.ivar is None:
        missing = ivar == 0
        flux[missing] = np.nan
        mask[missing] |= np.uint16(Plane.NO_DATA)
    return replace(
        image,
        flux=flux,
        ivar=None if image.ivar is None else ivar,
        mask=mask,
        wcs=reference.wcs,
        pixel_scale_arcsec=reference.pixel_scale_arcsec,
    )


def _is_same(grid: Grid, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether the band's pixels are those of the reference under the same numbers."""
    return bool(np.nanmax(np.abs(grid.x - x), initial=0.0) < 0.5 and np.nanmax(np.abs(grid.y - y), initial=0.0) < 0.5)


def _planes(image: Image) -> Planes:
    """The band with inverse variance 0 wherever it is unusable, and 1 elsewhere if it has none."""
    usable = usable_pixels(image.flux, image.mask, image.ivar)
    given = np.broadcast_to(np.float32(1), image.flux.shape) if image.ivar is None else image.ivar
    ivar = given if usable.all() else np.where(usable, given, np.float32(0))
    mask = np.broadcast_to(np.uint16(0), image.flux.shape) if image.mask is None else image.mask
    return Planes(image.flux, ivar, mask)


def _strip(band: Planes, grid: Grid) -> Planes:
    """Blocks of the band, side by side."""
    if grid.matrix is not None:
        return resample(band, grid, _BLOCK)
    x0, y0 = corners(grid.x, _BLOCK), corners(grid.y, _BLOCK)
    return Planes(
        gather(band.flux, x0, y0, _BLOCK, np.nan),
        gather(band.ivar, x0, y0, _BLOCK, 0.0),
        gather(band.mask, x0, y0, _BLOCK, int(BEYOND)),
    )
