"""PSFs that differ over an image, out of FITS files: a map of FWHM, a stamp for each cell, stamps at grid positions.

Stamps lie in a cube (n, y, x) or (rows, columns, y, x), or side by side in one image. Their positions come from a
table, or divide the image evenly, from its first pixel on, a row after the other.
"""

from __future__ import annotations

import math

import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import FwhmMap, Psf, PsfField
from galflow.surveys.reading.fits_io import Extension, read_array
from galflow.surveys.reading.fits_options import PsfOptions
from galflow.surveys.reading.fits_planes import psf_image
from galflow.surveys.reading.stamp_psf import framed
from galflow.surveys.reading.table_fits import read_fits_table
from galflow.surveys.reading.table_units import numbers


def varying_psf(
    options: PsfOptions, uri: str, extension: Extension, shape: tuple[int, int], scale_arcsec: float
) -> Psf | None:
    """The PSF of an image of ``shape`` (y, x) as its file says; None where a map knows it nowhere."""
    stored = read_array(uri, extension)
    if options.varies == "map":
        if stored.ndim != 2:
            raise DataError(f"{uri}: a map of FWHM has two axes; it has shape {stored.shape}")
        unit = scale_arcsec if options.fwhm_unit == "pixel" else 1.0
        sizes = FwhmMap(np.asarray(stored, np.float32) * np.float32(unit), shape)
        return None if sizes.median is None else Psf(fwhm_arcsec=sizes.median, fwhm_map=sizes)
    stamps, columns = _stamps(stored, options.stamp_pixels, uri)
    if options.positions is None:
        x, y = _even(len(stamps), columns, shape, uri)
    else:
        x, y = _positions(options, uri)
    linear = options.varies == "grid" and options.interpolation == "linear"
    seen = np.array([np.isfinite(stamp).any() and np.nansum(stamp) > 0 for stamp in stamps], bool)
    if len(x) != len(stamps):
        raise DataError(f"{uri} holds {len(stamps)} PSF stamps and {len(x)} positions; expected one for each stamp")
    if not seen.any():
        raise DataError(f"{uri} holds no PSF: the pixels of all {len(stamps)} stamps sum to zero or less")
    # A stamp of zeros is of a cell without data: its nearest neighbour's PSF holds there.
    apart = (x[:, None] - x[seen]) ** 2 + (y[:, None] - y[seen]) ** 2
    images = [psf_image(stamps[number], uri) for number in np.flatnonzero(seen)[apart.argmin(axis=1)]]
    side = max(max(image.shape) for image in images)
    field = PsfField(x, y, np.stack([framed(image, side) for image in images]), linear)
    return Psf(image=field.mean, field=field)


def _stamps(stored: np.ndarray, side: int | None, uri: str) -> tuple[np.ndarray, int | None]:
    """(n, y, x) stamps, and in how many columns they lie where the file's axes say it."""
    if stored.ndim == 4:
        return stored.reshape(-1, *stored.shape[2:]), stored.shape[1]
    if stored.ndim == 3:
        return stored, None
    if stored.ndim != 2 or side is None or any(n % side for n in stored.shape):
        raise DataError(
            f"{uri} has shape {stored.shape}; expected a cube of PSF stamps, or an image of stamps of "
            f"psf.stamp_pixels = {side} pixels a side"
        )
    rows, columns = stored.shape[0] // side, stored.shape[1] // side
    apart = stored.reshape(rows, side, columns, side).swapaxes(1, 2)
    return apart.reshape(-1, side, side), columns


def _even(count: int, columns: int | None, shape: tuple[int, int], uri: str) -> tuple[np.ndarray, np.ndarray]:
    """Middles of cells that divide an image of ``shape`` evenly."""
    columns = columns or math.isqrt(count)
    if count % columns or (columns == math.isqrt(count) and columns * columns != count and count > 1):
        raise DataError(
            f"{uri} holds {count} PSF stamps without rows and columns; give psf.positions, or a cube (rows, columns, "
            "y, x)"
        )
    rows = count // columns
    y, x = np.divmod(np.arange(count), columns)
    return (x + 0.5) * shape[1] / columns - 0.5, (y + 0.5) * shape[0] / rows - 0.5


def _positions(options: PsfOptions, uri: str) -> tuple[np.ndarray, np.ndarray]:
    """0-based pixels of the stamps, of a table of the file."""
    table = read_fits_table(uri, options.positions)
    found = []
    for name in options.position_columns:
        if name not in table.column_names:
            raise DataError(
                f"{uri}: its table {options.positions!r} has no column {name!r}; it has "
                f"{', '.join(table.column_names)}. Change psf.position_columns"
            )
        values, _ = numbers(table[name], name, uri)
        found.append(values - options.pixel_origin)
    return found[0], found[1]
