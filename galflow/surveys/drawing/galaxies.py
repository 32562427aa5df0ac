"""Draws galaxies and PSFs with GalSim, for the surveys that simulate.

PSFs are effective ones: the pixel's own response is part of them, as it is of any PSF measured on an image, so nothing
here convolves with the pixel a second time. This file refuses to know about noise, tiles or catalogues.
"""

from __future__ import annotations

import galsim
import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import Psf

MOFFAT_BETA = 3.5
"""Wings of a PSF of which only the FWHM is known: between Kolmogorov turbulence (4.765) and coadds (2.5 to 3)."""

_HALF_LIGHT_OF_EXPONENTIAL = 1.6783469900166605
"""Half-light radius of an exponential disc in scale lengths."""
_CLUMPS, _WINDING = 24, 2.5

SERSIC_RANGE = (0.3, 6.2)
"""Indices that GalSim can draw (Rowe+15, A&C 10, 121)."""


def psf_profile(psf: Psf, pixel_scale_arcsec: float) -> galsim.GSObject:
    """The PSF to convolve with, flux 1: its image if it has one, else a Moffat profile of its FWHM."""
    if psf.image is not None:
        image = np.asarray(psf.image, dtype=np.float64)
        total = float(image.sum())
        if not (np.isfinite(image).all() and total > 0):
            raise DataError(
                f"the PSF image of shape {image.shape} sums to {total:g}; expected finite pixels with a positive sum"
            )
        # Not normalised by GalSim's own flux keyword alone: a measured PSF's sum may be far from 1.
        return galsim.InterpolatedImage(galsim.Image(image / total, scale=pixel_scale_arcsec), flux=1.0)
    return galsim.Moffat(beta=MOFFAT_BETA, fwhm=psf.fwhm_arcsec)


def psf_image(profile: galsim.GSObject, pixel_scale_arcsec: float, size: int) -> np.ndarray:
    """(size, size) float64 picture of a PSF, ``size`` odd, centred, sum 1."""
    image = profile.drawImage(nx=size, ny=size, scale=pixel_scale_arcsec, method="no_pixel").array.astype(np.float64)
    return image / image.sum()


def sersic(index: float, half_light_radius_arcsec: float, axis_ratio: float, angle_deg: float) -> galsim.GSObject:
    """A Sersic galaxy of flux 1. ``half_light_radius_arcsec`` along the geometric mean of the axes, ``angle_deg`` from
    the x axis towards y. The index is rounded to 0.1, for GalSim tabulates each new index anew.
    """
    rounded = float(np.clip(round(index, 1), *SERSIC_RANGE))
    galaxy = galsim.Sersic(n=rounded, half_light_radius=half_light_radius_arcsec)
    return galaxy.shear(q=axis_ratio, beta=angle_deg * galsim.degrees)


def spiral_arms(
    half_light_radius_arcsec: float, axis_ratio: float, angle_deg: float, rng: np.random.Generator
) -> galsim.GSObject:
    """Clumps along two logarithmic spirals, flux 1 together, with an exponential disc's distribution of radii.

    They have the half-light radius, axis ratio and angle of ``sersic(1, ...)`` on average: what a smooth profile of the
    same magnitude, size and index does not have is their structure. Radii follow the light of an exponential disc (a
    Gamma distribution of shape 2), clumps are Gaussians of a tenth of its half-light radius.
    """
    scale = half_light_radius_arcsec / _HALF_LIGHT_OF_EXPONENTIAL
    radius = np.clip(rng.gamma(2.0, scale, _CLUMPS), 0.1 * scale, 6.0 * scale)
    arm = np.arange(_CLUMPS) % 2 * np.pi
    winding = rng.choice([-1.0, 1.0]) * _WINDING * np.log(radius / scale)
    around = arm + winding + rng.normal(0.0, 0.2, _CLUMPS) + rng.uniform(0, np.pi)
    brightness = rng.gamma(2.0, size=_CLUMPS)
    clump = galsim.Gaussian(sigma=0.1 * half_light_radius_arcsec)
    clumps = [
        clump.withFlux(float(flux)).shift(float(r * np.cos(at)), float(r * np.sin(at)))
        for flux, r, at in zip(brightness / brightness.sum(), radius, around, strict=True)
    ]
    return galsim.Sum(clumps).shear(q=axis_ratio, beta=angle_deg * galsim.degrees)


def draw(
    galaxy: galsim.GSObject, psf: galsim.GSObject, *, size: int, pixel_scale_arcsec: float, dy: float, dx: float
) -> np.ndarray:
    """(size, size) float64 picture of a galaxy through a PSF, centred ``(dy, dx)`` pixels off pixel ``size // 2``."""
    to_pixel = size // 2 - (size - 1) / 2  # GalSim counts from the true centre, half a pixel off where the side is even
    return (
        galsim.Convolve(galaxy, psf)
        .drawImage(
            nx=size,
            ny=size,
            scale=pixel_scale_arcsec,
            offset=(dx + to_pixel, dy + to_pixel),
            method="no_pixel",
            dtype=np.float64,
        )
        .array
    )


def add_stamp(canvas: np.ndarray, stamp: np.ndarray, y: int, x: int) -> None:
    """Add ``stamp`` (..., h, w) to ``canvas`` (..., y, x) in place, its pixel (h // 2, w // 2) on (y, x); what falls
    outside is dropped.
    """
    top, left = y - stamp.shape[-2] // 2, x - stamp.shape[-1] // 2
    y0, y1 = max(top, 0), min(top + stamp.shape[-2], canvas.shape[-2])
    x0, x1 = max(left, 0), min(left + stamp.shape[-1], canvas.shape[-1])
    if y0 < y1 and x0 < x1:
        canvas[..., y0:y1, x0:x1] += stamp[..., y0 - top : y1 - top, x0 - left : x1 - left]
