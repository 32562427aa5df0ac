"""What goes with an image: its unit, inverse variance, mask planes, PSF and WCS, from companion files and headers."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from galflow.errors import DataError
from galflow.photometry import njy_per_count
from galflow.surveys.base import Plane, Psf
from galflow.surveys.reading.fits_io import Extension
from galflow.surveys.reading.fits_options import MOST_ZERO_POINT, FitsTilesOptions, NominalWcs
from galflow.surveys.reading.fits_parts import pixels_of
from galflow.surveys.reading.fits_units import flux_unit, is_magnitude, njy_per_unit
from galflow.surveys.reading.parts import Part
from galflow.surveys.reading.sky import measure_sky


def read_companion(
    uri: str, extension: Extension, shape: tuple[int, int], part: Part | None = None
) -> tuple[np.ndarray, fits.Header]:
    """Pixels and header of a companion image, refused if its shape (y, x) is not that of the image it goes with."""
    pixels, header = pixels_of(uri, extension, part)
    if part is None and pixels.shape != shape:
        raise DataError(f"{uri} has shape {pixels.shape} (y, x), its image {shape}; they must be equal")
    return pixels, header


NO_SIGMA = 1e15
"""A standard deviation as large as this stands for no data (1e16 in Euclid's stamps), whatever the unit."""
NO_WEIGHT = 1e-20
"""So does an inverse variance smaller than this part of the typical one (1e-33 beside 1)."""


def relative_ivar(pixels: np.ndarray, kind: Literal["ivar", "variance", "sigma", "weight"]) -> np.ndarray:
    """(y, x) float32 inverse variance in the stored unit, up to a factor for a weight; 0 where a pixel has no data.

    No data are values that are not positive and finite, and those that stand for none.
    """
    values: np.ndarray[Any, np.dtype[np.floating[Any]]]
    values = np.array(pixels, dtype=np.float64 if pixels.dtype.itemsize > 4 else np.float32)
    good = np.isfinite(values) & (values > 0)
    if kind in ("sigma", "variance"):
        good &= values < (NO_SIGMA if kind == "sigma" else NO_SIGMA**2)
    values[~good] = 1
    if kind == "sigma":
        values *= values
    if kind in ("sigma", "variance"):
        np.reciprocal(values, out=values)
    if good.any():
        typical = float(np.median(values[good][:: max(1, int(good.sum()) >> 20)]))
        good &= values > NO_WEIGHT * typical
        if kind == "weight":
            values /= values.dtype.type(typical)
    values[~good] = 0
    return values.astype(np.float32, copy=False)


def inverse_variance(
    relative: np.ndarray,
    kind: Literal["ivar", "variance", "sigma", "weight"],
    unit_per_count: float,
    flux: np.ndarray,
    mask: np.ndarray | None,
) -> np.ndarray:
    """(y, x) float32 inverse variance in the unit of ``flux``, from ``relative_ivar``.

    ``unit_per_count``: the factor that took the stored pixels to ``flux``. A relative weight w (SWarp's) is scaled so
    that flux * sqrt(ivar) has unit sky noise.
    """
    if kind != "weight":
        return relative * np.float32(unit_per_count**-2)
    masked = np.where(relative > 0, np.uint16(0), np.uint16(Plane.NO_DATA)) | (0 if mask is None else mask)
    try:
        scale = measure_sky(flux * np.sqrt(relative), masked).sigma ** -2
    except DataError:
        scale = 0.0  # an empty tile: nothing in it is known
    return relative * np.float32(scale)


def psf_image(pixels: np.ndarray, uri: str) -> np.ndarray:
    """A PSF of sum 1 and odd sides, float32.

    An even side gets a row or column of zeros on the side that brings its brightest pixel nearer to the centre.
    """
    image = np.where(np.isfinite(pixels), pixels, 0).astype(np.float64)
    total = image.sum()
    if not total > 0:
        raise DataError(f"{uri} cannot be a PSF: its pixels sum to {total:g}; expected a positive sum")
    peak = np.unravel_index(np.argmax(image), image.shape)
    pad = [(0, 0) if n % 2 else ((0, 1) if p >= n // 2 else (1, 0)) for n, p in zip(image.shape, peak, strict=True)]
    return np.pad(image / total, pad).astype(np.float32)


def make_psf(image: np.ndarray | None, fwhm_arcsec: float | None, uri: str) -> Psf:
    """The PSF of an image of it, a FWHM, or both."""
    if fwhm_arcsec is not None and not (np.isfinite(fwhm_arcsec) and fwhm_arcsec > 0):
        raise DataError(f"{uri}: the PSF's FWHM is {fwhm_arcsec!r} arcsec; expected a positive number")
    return Psf(image=image, fwhm_arcsec=fwhm_arcsec)


def header_number(header: fits.Header, keyword: str, uri: str) -> float:
    """The finite number that a header gives for ``keyword``; DataError where it gives none."""
    value = header.get(keyword)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):  # said below, as it stands in the header
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{uri}: its header gives {keyword} = {value!r}; expected a number, or name another keyword")
    return float(value)


def zero_point_of(options: FitsTilesOptions, band: str, header: fits.Header, uri: str) -> float | None:
    """AB magnitude of one stored count, as declared or from the header; None where neither is."""
    declared: Any = options.zero_point
    if isinstance(declared, dict):
        return float(declared[band])
    if options.zero_point_keyword is None:
        return None if declared is None else float(declared)
    point = header_number(header, options.zero_point_keyword, uri)
    if not LEAST_HEADER_ZERO_POINT <= point <= MOST_ZERO_POINT:
        raise DataError(
            f"{uri}: its header gives {options.zero_point_keyword} = {point:g}, which is no AB magnitude of one count; "
            f"expected {LEAST_HEADER_ZERO_POINT:g} to {MOST_ZERO_POINT:g}. Name another keyword, or declare zero_point"
        )
    return point


LEAST_HEADER_ZERO_POINT = -10.0
"""Of a zero point that a header gives: below it are -99 and the like; a true one may be declared in the options."""


def unit_per_count(
    options: FitsTilesOptions, band: str, header: fits.Header, uri: str, scale_arcsec: float | None = None
) -> float:
    """nJy in one stored count, or 1 where no zero point is declared and flux stays in counts."""
    text = str(header.get("BUNIT", "")).strip()
    if is_magnitude(text):
        raise DataError(f"{uri}: its pixels are magnitudes (BUNIT = {text!r}); expected counts or a flux density")
    if options.unit == "bunit":
        return njy_per_unit(text, scale_arcsec, uri)
    point = zero_point_of(options, band, header, uri)
    if point is None:
        return 1.0
    if "unit" not in options.model_fields_set:
        _require_agreement(point, text, scale_arcsec, uri)
    return njy_per_count(point)


def _require_agreement(point: float, text: str, scale_arcsec: float | None, uri: str) -> None:
    """A zero point and a BUNIT that is a flux density must mean the same."""
    if not flux_unit(text):
        return
    by_unit, by_point = njy_per_unit(text, scale_arcsec, uri), njy_per_count(point)
    if abs(by_unit / by_point - 1) > _AGREEMENT:
        raise DataError(
            f"{uri}: BUNIT = {text!r} makes one stored unit {by_unit:.4g} nJy, the zero point {point:g} makes it "
            f"{by_point:.4g} nJy; leave one out (unit: bunit takes BUNIT), or declare unit: count if BUNIT is wrong"
        )


_AGREEMENT = 0.1
"""Zero points are rounded and calibrated anew by some per cent; another unit is another power of ten."""


def scaled(stored: np.ndarray, factor: float) -> np.ndarray:
    """Stored pixels times ``factor`` as native float32, (y, x), in the memory of ``stored`` where its type allows."""
    if stored.dtype.kind == "f" and stored.dtype.itemsize == 4 and stored.flags.writeable and stored.flags.c_contiguous:
        flux = stored if stored.dtype.isnative else stored.byteswap(inplace=True).view(np.float32)
        if factor != 1.0:
            flux *= np.float32(factor)
        return flux
    flux = np.empty(stored.shape, dtype=np.float32)
    np.multiply(stored, factor, out=flux, casting="unsafe")
    return flux


def saturation_level(options: FitsTilesOptions, band: str, header: fits.Header, uri: str) -> float | None:
    """The stored value from which pixels are saturated, as declared or from the header."""
    level: Any = options.saturation_level
    if isinstance(level, dict):
        return float(level[band])
    if level is None and options.saturation_keyword is not None:
        return header_number(header, options.saturation_keyword, uri)
    return None if level is None else float(level)


def nominal_wcs(nominal: NominalWcs, shape: tuple[int, int]) -> WCS:
    """The declared WCS: north up, east left, the declared position at the centre of an image of ``shape`` (y, x)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [nominal.ra_deg, nominal.dec_deg]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-nominal.pixel_scale_arcsec / 3600, nominal.pixel_scale_arcsec / 3600]
    wcs.wcs.set()
    return wcs
