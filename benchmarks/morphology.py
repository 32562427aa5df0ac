"""Flux, half-light radius and ellipticity measured on images, the same way for true galaxies and for a model's.

Meant for noise-free images of one galaxy near the centre: nothing is deblended and no sky is taken off. All images of a
set are measured at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WEIGHT_SIGMA_PIX = 3.0
"""Gaussian weight of the second moments: without one they would be those of the faintest pixels."""
_RECENTRINGS = 3


@dataclass(frozen=True, eq=False)
class Morphology:
    """One number an image, each (n,)."""

    flux: np.ndarray
    """Sum of all pixels, in their unit."""
    half_light_radius: np.ndarray
    """Radius in pixels of the circle around the centroid that holds half of the flux."""
    ellipticity: np.ndarray
    """|Q_xx - Q_yy + 2 i Q_xy| / (Q_xx + Q_yy) of second moments Q under the Gaussian weight: 0 is round."""


def measure(images: np.ndarray) -> Morphology:
    """``images`` (n, y, x), noise-free, of positive flux."""
    pixels = np.asarray(images, dtype=np.float64)
    flux = pixels.sum((1, 2))
    dy, dx, weight = _centred(pixels)
    return Morphology(flux, _half_light_radius(pixels, np.hypot(dy, dx), flux), _ellipticity(dy, dx, weight))


def _centred(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets (n, y, x) of each pixel from the weighted centroid, and pixels times the weight around it."""
    height, width = pixels.shape[1:]
    y, x = (a[None].astype(np.float64) for a in np.mgrid[:height, :width])
    centre = np.tile([(height - 1) / 2, (width - 1) / 2], (len(pixels), 1))
    for turn in range(_RECENTRINGS + 1):
        dy, dx = y - centre[:, 0, None, None], x - centre[:, 1, None, None]
        weighted = pixels * np.exp(-0.5 * (dy**2 + dx**2) / WEIGHT_SIGMA_PIX**2)
        if turn < _RECENTRINGS:
            # A Gaussian weight halves the step towards a Gaussian source as wide as itself: step twice as far.
            total = weighted.sum((1, 2))
            centre += 2 * np.stack([(weighted * dy).sum((1, 2)) / total, (weighted * dx).sum((1, 2)) / total], axis=1)
    return dy, dx, weighted


def _half_light_radius(pixels: np.ndarray, radius: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """(n,) where the growth curve, linear between pixels in order of radius, reaches half of ``flux``."""
    flat = radius.reshape(len(pixels), -1)
    order = np.argsort(flat, axis=1, kind="stable")
    sorted_radius = np.take_along_axis(flat, order, axis=1)
    grown = np.cumsum(np.take_along_axis(pixels.reshape(flat.shape), order, axis=1), axis=1)
    # Half of a pixel's own flux lies within its radius, on average.
    grown -= 0.5 * np.take_along_axis(pixels.reshape(flat.shape), order, axis=1)
    after = np.clip((grown < 0.5 * flux[:, None]).sum(1), 1, flat.shape[1] - 1)
    rows = np.arange(len(pixels))
    low, high = grown[rows, after - 1], grown[rows, after]
    share = np.clip((0.5 * flux - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    return sorted_radius[rows, after - 1] + share * (sorted_radius[rows, after] - sorted_radius[rows, after - 1])


def _ellipticity(dy: np.ndarray, dx: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    q_yy, q_xx, q_xy = ((weighted * a * b).sum((1, 2)) for a, b in ((dy, dy), (dx, dx), (dx, dy)))
    return np.hypot(q_xx - q_yy, 2 * q_xy) / (q_xx + q_yy)
