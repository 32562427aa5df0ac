"""Which pixels of an image were observed, as far as numbers, masks and weights say, and a sample of them."""

from __future__ import annotations

import math

import numpy as np

from galflow.surveys.base import UNUSABLE
from galflow.surveys.reading.parts import Part, block_pixels, blocks

WEIGHT_RANGE = 1e-10
"""An inverse variance this small beside the largest, or beside the sky's, stands for a pixel without exposure (a sigma
of 1e16): no survey's noise spans a factor of 10^5."""


def usable_pixels(flux: np.ndarray, mask: np.ndarray | None, ivar: np.ndarray | None) -> np.ndarray:
    """Which pixels are finite, not UNUSABLE and have a weight, (y, x) bool."""
    return _usable(flux, mask, ivar, 0.0 if ivar is None else largest_weight(ivar))


def _usable(flux: np.ndarray, mask: np.ndarray | None, ivar: np.ndarray | None, largest: float) -> np.ndarray:
    usable = np.isfinite(flux)
    if mask is not None:
        usable &= (mask & np.uint16(UNUSABLE)) == 0
    if ivar is not None:
        usable &= weighted(ivar, largest)
    return usable


def weighted(ivar: np.ndarray, largest: float) -> np.ndarray:
    """Where an inverse variance is that of a measurement, any shape, bool; ``largest``: see ``largest_weight``."""
    with np.errstate(invalid="ignore"):
        return (ivar > WEIGHT_RANGE * largest) & np.isfinite(ivar)


def largest_weight(ivar: np.ndarray) -> float:
    """The largest finite inverse variance of about 2^18 pixels of ``ivar``, (y, x); 0 without any."""
    step = max(1, math.isqrt(ivar.size >> 18))
    sample = ivar[::step, ::step]
    return float(np.max(sample, initial=0.0, where=np.isfinite(sample)))


def whole(flux: np.ndarray, mask: np.ndarray | None, ivar: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """All pixels as one block, (1, y, 1, x), and which of them are usable."""
    shape = (1, flux.shape[0], 1, flux.shape[1])
    return flux.astype(np.float32).reshape(shape), usable_pixels(flux, mask, ivar).reshape(shape)


def sample(
    flux: np.ndarray, mask: np.ndarray | None, ivar: np.ndarray | None, part: Part | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(p, h, q, w) float32 pixels of p x q blocks spread evenly over the image, and which of them are usable.

    Of a ``part`` of the image, whose planes are (1, M), the blocks are the same; the largest weight is the part's own.
    """
    if not flux.size:
        return whole(flux, mask, ivar)

    def blocks_of(plane: np.ndarray) -> np.ndarray:
        if part is None:
            return blocks(plane)
        return part.values_at(plane, block_pixels(part.shape))

    usable = _usable(
        (sampled := blocks_of(flux).astype(np.float32)),
        None if mask is None else blocks_of(mask),
        None if ivar is None else blocks_of(ivar),
        0.0 if ivar is None else largest_weight(ivar),
    )
    return sampled, usable
