"""Estimates a PSF where a survey brings none, from the most compact bright sources of a tile.

The estimate is one FWHM for the whole tile: enough to make a simulated galaxy as blurred as its neighbours, not enough
to measure shapes. It refuses to guess from fewer than ``FEWEST_SOURCES`` sources.
"""

from __future__ import annotations

import math

import galsim
import numpy as np

from galflow.errors import DataError
from galflow.photometry import FWHM_PER_SIGMA
from galflow.surveys.base import UNUSABLE, Image, Plane
from galflow.surveys.reading.observed import largest_weight, weighted
from galflow.surveys.reading.sky import look_at_sky

FEWEST_SOURCES = 5
MOST_SOURCES = 200
_HALF_SIDE = 10
_COMPACT_QUANTILE = 0.05
"""Stars are the smallest sources there are; the very smallest are cosmic rays and noise."""


def estimate_fwhm_pix(image: Image, x: np.ndarray, y: np.ndarray) -> float:
    """The PSF's FWHM in pixels, from sources at ``x``, ``y`` (n,) 0-based pixels.

    The brightest unsaturated sources, by their central pixel, get Gaussian-weighted adaptive moments (Hirata & Seljak
    03, MNRAS 343, 459, as GalSim measures them); the FWHM is that of the Gaussian at the fifth percentile of their
    sizes, where stars lie. Galaxies alone make it too large, by half in a simulation without stars. Sources without a
    position or with an unobserved pixel nearby take no part. Raises DataError where fewer than 5 can be measured.
    """
    look = look_at_sky(image.flux, image.mask, image.ivar)
    sigma = look.sigma if look.sigma > 0 else look.nominal_sigma
    if not sigma > 0:
        raise DataError(f"the PSF cannot be estimated, for its sky cannot be measured: {look.problem}")
    stamps = _brightest_stamps(image, np.asarray(x, np.float64), np.asarray(y, np.float64), 10.0 * sigma)
    sigmas = np.array([_moment_sigma(stamp) for stamp in stamps])
    sigmas = sigmas[np.isfinite(sigmas)]
    if len(sigmas) < FEWEST_SOURCES:
        raise DataError(
            f"the PSF cannot be estimated: {len(sigmas)} of {len(x)} sources are bright, unsaturated and "
            f"measurable, expected at least {FEWEST_SOURCES}; give the survey a PSF or its FWHM"
        )
    return FWHM_PER_SIGMA * float(np.quantile(sigmas, _COMPACT_QUANTILE))


def _brightest_stamps(image: Image, x: np.ndarray, y: np.ndarray, threshold: float) -> np.ndarray:
    """(n, 21, 21) squares of observed pixels around the brightest sources of more than ``threshold``, n at most 200."""
    height, width = image.flux.shape
    reach = _HALF_SIDE
    inside = np.isfinite(x) & np.isfinite(y)
    column, row = np.rint(np.where(inside, x, -1.0)), np.rint(np.where(inside, y, -1.0))
    inside &= (column >= reach) & (column < width - reach) & (row >= reach) & (row < height - reach)
    column, row = column[inside].astype(np.int64), row[inside].astype(np.int64)
    peak = image.flux[row, column]
    highest = float(np.max(image.flux, initial=-np.inf, where=np.isfinite(image.flux)))
    # Unmarked saturation shows as the image's own ceiling.
    bright = (peak > threshold) & (peak < 0.9 * highest)
    order = np.flatnonzero(bright)[np.argsort(-peak[bright], kind="stable")]
    largest = 0.0 if image.ivar is None else largest_weight(image.ivar)
    window = np.arange(-reach, reach + 1)
    kept: list[np.ndarray] = []
    for i in order:
        square = np.ix_(row[i] + window, column[i] + window)
        good = np.isfinite(image.flux[square]).all()
        if image.mask is not None:
            good &= not (image.mask[square] & np.uint16(UNUSABLE | Plane.SATURATED)).any()
        if image.ivar is not None:
            good &= weighted(image.ivar[square], largest).all()
        if good:
            kept.append(image.flux[square])
            if len(kept) == MOST_SOURCES:
                break
    return np.array(kept).reshape(-1, 2 * reach + 1, 2 * reach + 1)


def _moment_sigma(stamp: np.ndarray) -> float:
    """The adaptive-moments size in pixels of the source in the middle of ``stamp``; NaN where the fit fails."""
    try:
        measured = galsim.hsm.FindAdaptiveMom(galsim.Image(stamp.astype(np.float64), scale=1.0), strict=False)
    except (galsim.GalSimError, ValueError, ArithmeticError):
        return math.nan
    wandered = math.hypot(measured.moments_centroid.x - 11.0, measured.moments_centroid.y - 11.0) > 2.0
    return math.nan if measured.error_message or wandered else float(measured.moments_sigma)
