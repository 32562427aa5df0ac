"""The variance of an SDSS frame, which the file does not hold, from its calibration vector and its sky.

As the data model of frames says (data.sdss.org, BOSS_PHOTOOBJ, frame): dn = image / calib + sky, the variance of dn is
dn / gain + dark variance, and calib makes it nanomaggies again. Gain and dark variance are those of the camera's
column, the filter and the run. A part of a frame is told by CRPIX, which is (1025, 745) in a whole one.
"""

from __future__ import annotations

import numpy as np
from astropy.io import fits
from scipy import ndimage

from galflow.errors import DataError
from galflow.surveys.reading.fits_io import read_table_hdu, read_vector
from galflow.surveys.reading.fits_planes import header_number

_FILTERS = "ugriz"
GAIN = {
    1: (1.62, 3.32, 4.71, 5.165, 4.745),
    2: (1.825, 3.855, 4.6, 6.565, 5.155),
    3: (1.59, 3.845, 4.72, 4.86, 4.885),
    4: (1.6, 3.995, 4.76, 4.885, 4.775),
    5: (1.47, 4.05, 4.725, 4.64, 3.48),
    6: (2.17, 4.035, 4.895, 4.76, 4.69),
}
"""Electrons a count, camera's column -> u g r i z."""
DARK_VARIANCE = {
    1: (9.61, 15.6025, 1.8225, 7.84, 0.81),
    2: (12.6025, 1.44, 1.0, 6.25, 1.0),
    3: (8.7025, 1.3225, 1.3225, 4.6225, 1.0),
    4: (12.6025, 1.96, 1.3225, 7.5625, 12.6025),
    5: (9.3025, 1.1025, 0.81, 7.84, 2.1025),
    6: (7.0225, 1.8225, 0.9025, 5.0625, 1.21),
}
"""Counts^2, in the same order."""
_EARLY_GAIN = {(2, "u"): (1100, 1.595)}
"""(column, filter) -> (runs before this one had, that)."""
_EARLY_DARK = {(2, "i"): (1500, 5.76), (4, "i"): (1500, 6.25), (4, "z"): (1500, 9.61), (5, "z"): (1500, 1.8225)}
_REFERENCE = (1025, 745)
"""CRPIX1 and CRPIX2 of every whole frame."""


def noise_of_ccd(header: fits.Header, uri: str) -> tuple[float, float]:
    """Gain and dark variance of the CCD and run that a header names."""
    run, column = (int(header_number(header, card, uri)) for card in ("RUN", "CAMCOL"))
    band = str(header.get("FILTER", "")).strip()
    if column not in GAIN or band not in _FILTERS or len(band) != 1:
        raise DataError(
            f"{uri}: its header gives CAMCOL = {column}, FILTER = {band!r}; expected a column 1-6 and one of u g r i z"
        )
    number = _FILTERS.index(band)
    gain, dark = GAIN[column][number], DARK_VARIANCE[column][number]
    for early, is_gain in ((_EARLY_GAIN, True), (_EARLY_DARK, False)):
        last, value = early.get((column, band), (0, 0.0))
        if run < last:
            gain, dark = (value, dark) if is_gain else (gain, value)
    return gain, dark


def corner_in_frame(header: fits.Header, uri: str) -> tuple[int, int]:
    """(y, x) of an image's first pixel in the whole frame."""
    x0, y0 = (
        round(whole - header_number(header, card, uri))
        for whole, card in zip(_REFERENCE, ("CRPIX1", "CRPIX2"), strict=True)
    )
    return y0, x0


def variance_nanomaggies(image: np.ndarray, header: fits.Header, uri: str) -> np.ndarray:
    """(y, x) float64 variance of ``image`` (y, x), both in nanomaggies; what the file holds besides is read here."""
    gain, dark = noise_of_ccd(header, uri)
    calibration = read_vector(uri, 1)
    y0, x0 = corner_in_frame(header, uri)
    with read_table_hdu(uri, 2) as hdu:
        try:
            sky, x, y = (np.asarray(hdu.data[name][0], np.float64) for name in ("ALLSKY", "XINTERP", "YINTERP"))
        except (KeyError, IndexError) as error:
            raise DataError(f"{uri}: extension 2 is no sky of an SDSS frame ({error})") from error
    height, width = image.shape
    if sky.ndim != 2 or x0 < 0 or y0 < 0 or x0 + width > min(len(calibration), len(x)) or y0 + height > len(y):
        raise DataError(
            f"{uri}: an image of {width} x {height} pixels from ({x0}, {y0}) is no part of a frame whose calibration "
            f"has {len(calibration)} columns and whose sky {len(x)} x {len(y)} pixels"
        )
    calibration, x, y = calibration[x0 : x0 + width], x[x0 : x0 + width], y[y0 : y0 + height]
    grid = np.meshgrid(y, x, indexing="ij")
    counts = image / calibration + ndimage.map_coordinates(sky, grid, order=1, mode="nearest")
    return np.asarray((np.maximum(counts, 0) / gain + dark) * calibration**2)
