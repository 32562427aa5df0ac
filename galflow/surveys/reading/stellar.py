"""Which sources of a tile are as small as its stars: sizes by Gaussian-weighted moments, compared with the PSF.

Two sizes are measured, with a weight as wide as the PSF and one twice as wide, so that a galaxy with a point-like core
is no star. What a star has of them is measured on the survey's PSF image; else on the stars of the tile itself, which
stand together at the small end of the bright sources; else it is that of a Gaussian of the survey's FWHM. Where none
of them is there, nothing is said of any source. Sources that are too faint, masked as saturated, or miss a pixel
inside the window are no stars either, for nobody could tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from galflow.photometry import FWHM_PER_SIGMA
from galflow.surveys.base import UNUSABLE, Image, Plane
from galflow.surveys.reading.sky import Sky

STAR_REACH = 24
"""Pixels on each side of a source that are looked at, at most: four sigmas of a PSF with an FWHM of 14 pixels."""
LEAST_SNR = 20.0
"""Of the light under the weight; of fainter sources sizes tell nothing."""
_LOCUS_SNR, _LOCUS_WIDTH, _FEWEST = 40.0, 0.035, 6
"""Stars that show where all stars lie: their signal to noise, half the spread of their log size, and their number."""
_LOCUS_CONTRAST = 1.7
"""So many times as densely do they stand as sources half as wide again, at least."""
_TRUST = 0.25
"""How far, in log size, the tile's own stars may lie from the FWHM that the survey gives."""
_TOLERANCE, _TOLERANCE_WIDE, _NOISE = 0.06, 0.08, 1.2
"""In log size, of both weights; and what noise adds to it, in units of its inverse signal to noise."""
_NEAR_CEILING, _SATURATED_SNR = 0.3, 3000.0
"""Near the highest pixel of all, and so bright, a star may have lost its top: then the wide weight decides."""
_FLAT, _TOLERANCE_SATURATED = 0.8, 0.25
"""What that does to the log size by the narrow weight at most, and to that by the wide one."""
_FIRST_SIGMA = 1.7
"""Pixels; of the first weight where nothing is known of the PSF."""
_AT_ONCE = 4096
_ROUNDS = 4


@dataclass(frozen=True)
class StarSize:
    """What a star looks like: sigma in pixels by the narrow and by the wide weight, and the narrow weight's sigma."""

    narrow: float
    wide: float
    weight: float

    @property
    def fwhm_pixels(self) -> float:
        """Of the Gaussian of that size."""
        return FWHM_PER_SIGMA * self.narrow


@dataclass(frozen=True, eq=False)
class Sizes:
    """(n,) each, of sources; NaN where they could not be measured."""

    narrow: np.ndarray
    wide: np.ndarray
    snr: np.ndarray
    height: np.ndarray
    """Of the highest pixel near the middle, over that of all sources."""


def find_stars(image: Image, x: np.ndarray, y: np.ndarray, sky: Sky) -> tuple[np.ndarray, StarSize | None]:
    """(n,) bool: which sources at ``x``, ``y``, (n,) 0-based pixels, are stars; and what a star looks like there.

    None, and no star, where nobody can tell.
    """
    none = np.zeros(len(x), bool)
    if not (math.isfinite(sky.sigma) and sky.sigma > 0) or not len(x):
        return none, None
    given = _given(image)
    first = given or StarSize(_FIRST_SIGMA, _FIRST_SIGMA, _FIRST_SIGMA)
    sizes = measure_sizes(image, x, y, sky, first.weight)
    exact = image.psf is not None and image.psf.image is not None
    star = given if exact else _locus(sizes, first.weight, given)
    if star is None and given is not None:
        star = given
    if star is None:
        return none, None
    if abs(math.log(star.narrow / first.weight)) > 0.03 and not exact:
        # The weight was another size than the stars: once more with theirs.
        sizes = measure_sizes(image, x, y, sky, star.narrow)
        star = _locus(sizes, star.narrow, star) or star
    return is_star(sizes, star), star


def is_star(sizes: Sizes, star: StarSize) -> np.ndarray:
    """(n,) bool: as small as a star by both weights, as far as the noise lets it be known."""
    with np.errstate(invalid="ignore", divide="ignore"):
        noise = _NOISE / sizes.snr
        narrow, wide = np.log(sizes.narrow / star.narrow), np.log(sizes.wide / star.wide)
        small = (np.abs(narrow) < _TOLERANCE + noise) & (np.abs(wide) < _TOLERANCE_WIDE + 2.0 * noise)
        # A neighbour's light makes the wide size larger and leaves the narrow one.
        small |= (np.abs(narrow) < _TOLERANCE / 2) & (np.abs(wide) < 1.5 * _TOLERANCE_WIDE) & (sizes.snr > _LOCUS_SNR)
        saturated = (sizes.height > _NEAR_CEILING) & (sizes.snr > _SATURATED_SNR)
        flat = saturated & (narrow > -_TOLERANCE) & (narrow < _FLAT) & (np.abs(wide) < _TOLERANCE_SATURATED)
        return np.asarray((small & (sizes.snr >= LEAST_SNR)) | flat)


def _given(image: Image) -> StarSize | None:
    """By the survey's PSF."""
    psf = image.psf
    if psf is None:
        return None
    if psf.image is not None:
        weight = _FIRST_SIGMA
        for _ in range(_ROUNDS):
            narrow, _ = _moments(psf.image[None].astype(np.float64), weight)
            if not np.isfinite(narrow[0]):
                return None
            weight = float(narrow[0])
        wide, _ = _moments(psf.image[None].astype(np.float64), 2.0 * weight)
        return StarSize(weight, float(wide[0]), weight) if np.isfinite(wide[0]) else None
    if psf.fwhm_arcsec is None:
        return None
    sigma = psf.fwhm_arcsec / image.pixel_scale_arcsec / FWHM_PER_SIGMA
    return StarSize(sigma, sigma, sigma)


def _locus(sizes: Sizes, weight: float, given: StarSize | None) -> StarSize | None:
    """Where the tile's stars stand together, near what the survey gives if it gives anything; None: nowhere clearly."""
    good = np.isfinite(sizes.narrow) & np.isfinite(sizes.wide) & (sizes.snr > _LOCUS_SNR)
    logs = np.sort(np.log(sizes.narrow[good]))
    if len(logs) < _FEWEST:
        return None

    def count(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.asarray(np.searchsorted(logs, high) - np.searchsorted(logs, low))

    width = _LOCUS_WIDTH
    inside = count(logs - width, logs + width)
    # Beyond the stars there is a valley, and then come the smallest galaxies.
    valley = 2 * count(logs + width, logs + 2 * width)
    # Stars are the smallest sources: what is smaller (cosmic rays, noise) is rare.
    smaller = count(np.full(len(logs), -np.inf), logs - 2 * width)
    clear = (inside >= _FEWEST) & (inside >= _LOCUS_CONTRAST * valley) & (smaller <= 0.5 * inside)
    if given is not None:
        clear &= np.abs(logs - math.log(given.narrow)) < _TRUST
    if not clear.any():
        return None
    best = int(np.flatnonzero(clear)[inside[clear].argmax()])
    middle = np.median(logs[np.abs(logs - logs[best]) <= width])
    members = good & (np.abs(np.log(np.where(good, sizes.narrow, 1.0)) - middle) <= width)
    return StarSize(float(np.median(sizes.narrow[members])), float(np.median(sizes.wide[members])), weight)


def measure_sizes(image: Image, x: np.ndarray, y: np.ndarray, sky: Sky, weight: float) -> Sizes:
    """Sizes of sources by Gaussian weights of sigma ``weight`` and twice that, in pixels."""
    reach = min(max(4, math.ceil(4.0 * weight)), STAR_REACH)
    side = 2 * reach + 1
    height, width = image.flux.shape
    found = [np.full(len(x), np.nan) for _ in range(4)]
    inside = np.isfinite(x) & np.isfinite(y)
    column, row = np.rint(np.where(inside, x, -1.0)), np.rint(np.where(inside, y, -1.0))
    inside &= (column >= reach) & (column < width - reach) & (row >= reach) & (row < height - reach)
    if not inside.any():
        return Sizes(*found)
    every = np.flatnonzero(inside)
    windows = np.lib.stride_tricks.sliding_window_view(image.flux, (side, side))
    masks = None if image.mask is None or image.mask.strides == (0, 0) else image.mask
    for start in range(0, len(every), _AT_ONCE):
        chosen = every[start : start + _AT_ONCE]
        i, j = row[chosen].astype(np.int64) - reach, column[chosen].astype(np.int64) - reach
        stamps = windows[i, j].astype(np.float64) - sky.level
        good = np.isfinite(stamps).all(axis=(1, 2))
        if masks is not None:
            planes = np.lib.stride_tricks.sliding_window_view(masks, (side, side))[i, j]
            good &= ~((planes & np.uint16(UNUSABLE | Plane.SATURATED)) != 0).any(axis=(1, 2))
        usable = stamps[good]
        narrow, signal = _moments(usable, weight)
        wide, _ = _moments(usable, 2.0 * weight)
        height = usable[:, reach - 1 : reach + 2, reach - 1 : reach + 2].max(axis=(1, 2), initial=0.0)
        for out, values in zip(found, (narrow, wide, signal / sky.sigma, height), strict=True):
            out[chosen[good]] = values
    found[3] /= max(float(np.fmax.reduce(found[3], initial=0.0)), 1e-30)
    return Sizes(*found)


def _moments(stamps: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """Sigma in pixels, (n,), of the sources in the middle of ``stamps``, (n, y, x), and their light under the weight.

    The light is in units that make it the signal to noise for noise of sigma 1. NaN where the centre wanders off, or
    the light is not concentrated. Of a Gaussian source the size is its own, whatever the weight's.
    """
    side = stamps.shape[-1]
    axis = np.arange(side) - side // 2
    cx, cy = np.zeros(len(stamps)), np.zeros(len(stamps))
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for last in range(_ROUNDS):
            wx, wy = (np.exp(-0.5 * ((axis - c[:, None]) / weight) ** 2) for c in (cx, cy))
            dx, dy = axis - cx[:, None], axis - cy[:, None]
            rows = np.einsum("nyx,nxk->nyk", stamps, np.stack([wx, wx * dx, wx * dx**2], axis=-1))
            total = np.einsum("ny,ny->n", rows[..., 0], wy)
            if last == _ROUNDS - 1:
                break
            cx = cx + np.clip(2.0 * np.einsum("ny,ny->n", rows[..., 1], wy) / total, -1.0, 1.0)
            cy = cy + np.clip(2.0 * np.einsum("ny,ny->n", rows[..., 0], wy * dy) / total, -1.0, 1.0)
        second = np.einsum("ny,ny->n", rows[..., 2], wy) + np.einsum("ny,ny->n", rows[..., 0], wy * dy**2)
        inverse = 2.0 * total / second - 1.0 / weight**2
        size = 1.0 / np.sqrt(inverse)
        signal = total / np.sqrt((wx**2).sum(1) * (wy**2).sum(1))
        good = np.isfinite(size) & (total > 0) & (np.hypot(cx, cy) < max(1.5, weight))
    return np.where(good, size, np.nan), np.where(good, signal, np.nan)
