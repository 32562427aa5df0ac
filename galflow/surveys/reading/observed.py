"""Which pixels of an image were observed, as far as numbers, masks and weights say, and a sample of them."""

from __future__ import annotations

import math

import numpy as np

from galflow.surveys.base import UNUSABLE

SAMPLE_PIXELS = 1 << 16
"""The quartiles of 2^16 normal pixels give sigma to 0.5 %, their median to 0.005 sigma."""
WEIGHT_RANGE = 1e-10
"""An inverse variance this small beside the largest, or beside the sky's, stands for a pixel without exposure (a sigma
of 1e16): no survey's noise spans a factor of 10^5."""
_BLOCK = 16


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


def sample(flux: np.ndarray, mask: np.ndarray | None, ivar: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(p, h, q, w) float32 pixels of p x q blocks spread evenly over the image, and which of them are usable."""
    height, width = flux.shape
    if not flux.size:
        return whole(flux, mask, ivar)
    if flux.size <= SAMPLE_PIXELS or min(height, width) < 2 * _BLOCK:
        step_y, step_x, block_y, block_x = height, width, height, width
    else:
        step = max(_BLOCK, math.ceil(_BLOCK * math.sqrt(flux.size / SAMPLE_PIXELS)))
        step_y, step_x = min(step, height), min(step, width)
        block_y, block_x = _BLOCK, _BLOCK

    def blocks_of(plane: np.ndarray) -> np.ndarray:
        rows, columns = height // step_y, width // step_x
        cut = plane[: rows * step_y, : columns * step_x].reshape(rows, step_y, columns, step_x)
        return cut[:, :block_y, :, :block_x]

    blocks = blocks_of(flux).astype(np.float32)
    usable = _usable(
        blocks,
        None if mask is None else blocks_of(mask),
        None if ivar is None else blocks_of(ivar),
        0.0 if ivar is None else largest_weight(ivar),
    )
    return blocks, usable
