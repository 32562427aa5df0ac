"""A noise-free image as a telescope sees it: on its pixels, through its PSF, with the noise of its sky and photons.

Steps after RealSim (Bottrell+19, MNRAS 490, 5390). PSFs are effective ones, the pixel's own response part of them, so
light is convolved with the PSF on fine pixels and read off at the centres of the survey's; only without a PSF is it
shared out over these by area. Both ways conserve flux. It knows no file, no redshift and no survey.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from galflow.errors import DataError
from galflow.surveys.base import Psf
from galflow.surveys.drawing import galaxies

FINE_PER_FWHM = 10.0
"""Fine pixels in a PSF's FWHM, at least: their own width then widens it by 0.2 %."""
REACH_FWHM = 8.0
"""How far a PSF of which only the FWHM is known is drawn: beyond lies 4e-5 of a Moffat's light."""
MOST_FINE_PIXELS = 8192
"""Side of the fine image; more is a PSF that no survey's pixels were made for."""


def rebin(light: np.ndarray, step: float, size: int, centre: int | None = None) -> np.ndarray:
    """(..., size, size) pixels ``step`` times as wide as those of ``light`` (..., y, x).

    Each pixel's flux goes to the pixels that it overlaps, in proportion to the area: exactly conserved where the result
    covers the image. The image's centre comes to lie on the middle of pixel ``centre``, by default ``size // 2``, which
    is where cutouts have their object.
    """
    middle = size // 2 if centre is None else centre
    shares = [_shares(side, step, size, middle) for side in light.shape[-2:]]
    return np.asarray(shares[0] @ light @ shares[1].T)


def _shares(given: int, step: float, wanted: int, centre: int) -> np.ndarray:
    """(wanted, given): the share of each given pixel in each wanted one, along an axis."""
    edges = np.arange(given + 1) - given / 2
    low = ((np.arange(wanted) - centre - 0.5) * step)[:, None]
    overlap = np.minimum(low + step, edges[1:]) - np.maximum(low, edges[:-1])
    return np.asarray(np.clip(overlap, 0.0, None))


@dataclass(frozen=True, eq=False)
class FinePsf:
    """A PSF on fine pixels, an odd number of them in each of the survey's."""

    pixel_scale_arcsec: float
    """Of the survey."""
    parts: int
    """Fine pixels along a pixel of the survey."""
    kernel: np.ndarray
    """(2 half + 1, 2 half + 1) sum 1."""

    @classmethod
    def of(cls, psf: Psf, pixel_scale_arcsec: float) -> FinePsf:
        """``psf`` on pixels a tenth of its FWHM wide or less; a PSF image is one in the survey's pixels.

        DataError for one that is absurdly sharp or wide beside these.
        """
        profile = galaxies.psf_profile(psf, pixel_scale_arcsec)
        fwhm = psf.fwhm_arcsec or float(profile.calculateFWHM())
        parts = 2 * max(0, math.ceil((pixel_scale_arcsec * FINE_PER_FWHM / fwhm - 1) / 2)) + 1
        fine = pixel_scale_arcsec / parts
        reach = REACH_FWHM * fwhm if psf.image is None else max(psf.image.shape) / 2 * pixel_scale_arcsec
        half = math.ceil(reach / fine)
        if max(parts, half) > MOST_FINE_PIXELS // 4:
            raise DataError(
                f"a PSF of FWHM {fwhm:.3g} arcsec on pixels of {pixel_scale_arcsec:g} arcsec needs {parts} fine "
                f"pixels in each, and {2 * half + 1} a side; expected a PSF of about the pixels' size. Correct it"
            )
        return cls(pixel_scale_arcsec, parts, galaxies.psf_image(profile, fine, 2 * half + 1))


def through_psf(light: np.ndarray, scale_arcsec: float, psf: FinePsf, size: int) -> np.ndarray:
    """(size, size) flux in the survey's pixels of ``light`` (y, x), flux in pixels of ``scale_arcsec``, through a PSF.

    Light from outside the square shines in as far as the PSF reaches. DataError where that is too much to hold.
    """
    half = psf.kernel.shape[0] // 2
    side = size * psf.parts + 2 * half
    if side > MOST_FINE_PIXELS:
        raise DataError(
            f"a stamp of {size} pixels through this PSF needs {side} fine pixels a side, expected at most "
            f"{MOST_FINE_PIXELS}; lower stamp_size"
        )
    centre = half + size // 2 * psf.parts + psf.parts // 2
    fine = rebin(light, psf.pixel_scale_arcsec / psf.parts / scale_arcsec, side, centre)
    spread = fftconvolve(fine, psf.kernel, mode="valid")
    middles = slice(psf.parts // 2, None, psf.parts)
    return np.asarray(spread[middles, middles]) * psf.parts**2


def photon_noise(
    flux: np.ndarray, electrons_per_njy: float | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The galaxy's own photon noise in nJy, and its variance in nJy^2, each as ``flux`` (nJy); 0 without a gain."""
    if electrons_per_njy is None:
        return np.zeros_like(flux), np.zeros_like(flux)
    electrons = np.clip(flux, 0.0, None) * electrons_per_njy
    return rng.poisson(electrons) / electrons_per_njy - electrons / electrons_per_njy, electrons / electrons_per_njy**2


def half_light_radius_pix(flux: np.ndarray) -> float:
    """Radius in pixels, about the centre of light, that holds half of the flux of a noise-free (y, x); NaN if dark."""
    total = float(flux.sum())
    if not total > 0:
        return math.nan
    y, x = np.indices(flux.shape, dtype=np.float64)
    radius = np.hypot(y - float((y * flux).sum()) / total, x - float((x * flux).sum()) / total).ravel()
    order = np.argsort(radius)
    return float(radius[order][np.searchsorted(np.cumsum(flux.ravel()[order]), total / 2)])
