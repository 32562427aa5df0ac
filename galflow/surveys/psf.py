"""Estimates a PSF where a survey brings none, from the most compact bright sources of a tile.

The estimate is one FWHM for the whole tile: enough to make a simulated galaxy as blurred as its neighbours, not enough
to measure shapes. It refuses to guess from fewer than ``FEWEST_SOURCES`` sources.
"""

from __future__ import annotations

import math

import galsim
import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import UNUSABLE, Image, Plane
from galflow.surveys.sky import measure_sky

FEWEST_SOURCES = 5
MOST_SOURCES = 200
_HALF_SIDE = 10
_FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
_COMPACT_QUANTILE = 0.05
"""Stars are the smallest sources there are; the very smallest are cosmic rays and noise."""


def estimate_fwhm_pix(image: Image, x: np.ndarray, y: np.ndarray) -> float:
    """The PSF's FWHM in pixels, from sources at ``x``, ``y`` (n,) 0-based pixels.

    The brightest unsaturated sources, by their central pixel, get Gaussian-weighted adaptive moments (Hirata & Seljak
    03, MNRAS 343, 459, as GalSim measures them); the FWHM is that of the Gaussian at the fifth percentile of their
    sizes, where stars lie. Galaxies alone make it too large, by half
    in a simulation without stars. Raises DataError where fewer than 5 can be measured.
    """
    height, width = image.flux.shape
    column, row = np.rint(np.asarray(x)).astype(int), np.rint(np.asarray(y)).astype(int)
    reach = _HALF_SIDE
    inside = (column >= reach) & (column < width - reach) & (row >= reach) & (row < height - reach)
    column, row = column[inside], row[inside]
    window = np.arange(-reach, reach + 1)
    stamps = image.flux[row[:, None, None] + window[:, None], column[:, None, None] + window]
    good = np.isfinite(stamps).all(axis=(1, 2))
    if image.mask is not None:
        unusable = np.uint16(UNUSABLE | Plane.SATURATED)
        planes = image.mask[row[:, None, None] + window[:, None], column[:, None, None] + window]
        good &= ((planes & unusable) == 0).all(axis=(1, 2))
    stamps = stamps[good]
    peak = stamps[:, reach, reach]
    highest = float(np.nanmax(image.flux)) if np.isfinite(image.flux).any() else math.nan
    # Unmarked saturation shows as the image's own ceiling.
    bright = (peak > 10.0 * measure_sky(image.flux, image.mask).sigma) & (peak < 0.9 * highest)
    order = np.argsort(-np.where(bright, peak, -np.inf))[: min(MOST_SOURCES, int(bright.sum()))]
    sigmas = np.array([_moment_sigma(stamps[i]) for i in order])
    sigmas = sigmas[np.isfinite(sigmas)]
    if len(sigmas) < FEWEST_SOURCES:
        raise DataError(
            f"the PSF cannot be estimated: {len(sigmas)} of {len(inside)} sources are bright, unsaturated and "
            f"measurable, expected at least {FEWEST_SOURCES}; give the survey a PSF or its FWHM"
        )
    return _FWHM_PER_SIGMA * float(np.quantile(sigmas, _COMPACT_QUANTILE))


def _moment_sigma(stamp: np.ndarray) -> float:
    """The adaptive-moments size in pixels of the source in the middle of ``stamp``; NaN where the fit fails."""
    measured = galsim.hsm.FindAdaptiveMom(galsim.Image(stamp.astype(np.float64), scale=1.0), strict=False)
    wandered = math.hypot(measured.moments_centroid.x - 11.0, measured.moments_centroid.y - 11.0) > 2.0
    return math.nan if measured.error_message or wandered else float(measured.moments_sigma)
