"""The empty sky of an image: its level, its noise, and the inverse variance where a survey gives none.

Statistics come from a sample of small blocks spread over the image (at most ``SAMPLE_PIXELS``), so that they cost a
few per cent of reading it. Sources are masked by their smoothed light before the noise is taken. The noise is that of
single pixels: correlations between neighbours (resampled images) are not modelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import sep
from scipy import ndimage

from galflow.errors import DataError, SpecError
from galflow.surveys.base import UNUSABLE, Image, Plane

SAMPLE_PIXELS = 1 << 16
"""The quartiles of 2^16 normal pixels give sigma to 0.5 %, their median to 0.005 sigma."""
MIN_PIXELS = 32
QUARTILES_TO_SIGMA = 0.743641
"""Sigma of a normal distribution clipped at 3 sigma, in units of the distance between its quartiles (twice its MAD)."""
_FEW = 2048
_BLOCK = 16
_CLIP_SIGMA = 3.0
_SOURCE_SIGMA = 4.0

Background = Literal["none", "constant", "mesh"]


@dataclass(frozen=True)
class Sky:
    """Level and noise of one pixel of empty sky, in the unit of the image."""

    level: float
    sigma: float


def measure_sky(flux: np.ndarray, mask: np.ndarray | None = None) -> Sky:
    """Level and noise of the source-free pixels of ``flux``, (y, x).

    ``mask``, (y, x) of ``Plane`` bits: pixels that are UNUSABLE are left out, as are non-finite ones. First a clipped
    median and quartiles (robust like a MAD); then pixels under smoothed light above 4 of its sigmas, and their
    neighbours, are taken for sources and left out, and both are taken again.

    Raises DataError if fewer than 32 pixels are usable, or if all of them have the same value.
    """
    blocks, usable = _sample(flux, mask)
    if usable.sum() < _FEW < flux.size:
        # Little of the image is data (a sliver at a survey's edge): look at all of it, for a sample would miss it.
        blocks = flux.astype(np.float32).reshape(1, flux.shape[0], 1, flux.shape[1])
        usable = _usable(blocks, None if mask is None else mask.reshape(blocks.shape))
    count = int(usable.sum())
    if count < MIN_PIXELS:
        raise DataError(
            f"the sky cannot be measured: {count} usable finite pixels in an image of {flux.shape[0]} x "
            f"{flux.shape[1]}, expected at least {MIN_PIXELS}; the image is empty or masked"
        )
    free = usable & ~_sources(blocks, usable, _clipped(_thinned(blocks[usable])))
    # An image that a galaxy fills keeps too few free pixels for a second look; the clipped values are then the best.
    sky = _clipped(blocks[free if free.sum() >= max(MIN_PIXELS, 0.05 * count) else usable])
    if not sky.sigma > 0:
        raise DataError(
            f"the sky cannot be measured: its pixels all have the value {sky.level:g}; expected noise. "
            "If this value stands for missing pixels, declare it so that they are masked"
        )
    return sky


def _sample(flux: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(p, h, q, w) float32 pixels of p x q blocks spread evenly over the image, and which of them are usable."""
    height, width = flux.shape
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
    return blocks, _usable(blocks, None if mask is None else blocks_of(mask))


def _clipped(values: np.ndarray) -> Sky:
    """Median, and sigma from the quartiles, of ``values``, (n,), clipped at 3 sigma until it settles.

    The values are sorted once; each round of clipping then only moves the two ends.
    """
    ordered = np.sort(values)
    low, high = 0, len(ordered)
    level, sigma = 0.0, 0.0
    for _ in range(20):
        lower, middle, upper = (float(ordered[low + int(q * (high - 1 - low))]) for q in (0.25, 0.5, 0.75))
        level, sigma = middle, (upper - lower) * QUARTILES_TO_SIGMA
        if sigma == 0.0:
            # Coarsely quantised pixels (8-bit pictures): more than half share a value, but the rest still scatter.
            sigma = float(np.std(ordered[low:high], dtype=np.float64))
        ends = np.array([level - _CLIP_SIGMA * sigma, level + _CLIP_SIGMA * sigma], dtype=np.float32)
        start = max(low, int(np.searchsorted(ordered, ends[0], side="left")))
        stop = min(high, int(np.searchsorted(ordered, ends[1], side="right")))
        if (start, stop) == (low, high):
            break
        low, high = start, stop
    return Sky(level, sigma)


def _thinned(values: np.ndarray) -> np.ndarray:
    """At most 2^14 or so of the values: enough to find sources by."""
    return values[:: max(1, len(values) >> 14)]


def _sources(blocks: np.ndarray, usable: np.ndarray, sky: Sky) -> np.ndarray:
    """Which pixels lie under or within two pixels of smoothed (3 x 3) light above 4 sigma of the smoothed sky."""
    filled = np.where(usable, blocks - np.float32(sky.level), np.float32(0))
    np.minimum(filled, np.float32(50 * sky.sigma), out=filled)  # keeps the running sums exact beside bright stars
    smooth = ndimage.uniform_filter(filled, size=(1, 3, 1, 3), mode="nearest")
    smooth_sky = _clipped(_thinned(smooth[usable]))
    bright = smooth > smooth_sky.level + _SOURCE_SIGMA * smooth_sky.sigma
    return ndimage.uniform_filter(bright.astype(np.float32), size=(1, 5, 1, 5), mode="nearest") > 0.02


def subtract_background(
    flux: np.ndarray, mask: np.ndarray | None, method: Background, mesh_pixels: int = 128
) -> np.ndarray:
    """``flux``, (y, x) float32, without its background.

    "none": unchanged. "constant": less the sky level of the image. "mesh": less a bicubic spline through the clipped
    backgrounds of cells of ``mesh_pixels`` (Bertin & Arnouts 96, A&AS 117, 393; as sep computes it). An image with no
    usable pixel at all comes back unchanged: it has no background to speak of.
    """
    if method == "none":
        return flux
    if method == "constant":
        return flux - np.float32(sky_level(flux, mask))
    if method == "mesh":
        if mesh_pixels < 8:
            raise SpecError(f"background mesh is {mesh_pixels} pixels; it must be 8 or more, larger than any galaxy")
        usable = _usable(flux, mask)
        if not usable.any():
            return flux
        filled = np.ascontiguousarray(np.where(usable, flux, 0), dtype=np.float32)
        background = sep.Background(filled, mask=~usable, bw=mesh_pixels, bh=mesh_pixels)
        return flux - background.back(dtype=np.float32)
    raise SpecError(f"background method {method!r} is unknown; expected none, constant or mesh")


def _usable(flux: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Which pixels are finite and not UNUSABLE; any shape."""
    usable = np.isfinite(flux)
    if mask is not None:
        usable &= (mask & np.uint16(UNUSABLE)) == 0
    return usable


def sky_level(flux: np.ndarray, mask: np.ndarray | None) -> float:
    """The sky level; the median of all usable pixels where they are too few or too equal for a sky; 0 without any."""
    try:
        return measure_sky(flux, mask).level
    except DataError:
        usable = _usable(flux, mask)
        return float(np.median(flux[usable])) if usable.any() else 0.0


def with_ivar(image: Image) -> tuple[Image, float]:
    """The image with inverse variance and mask filled in, and its sky sigma in the image's unit.

    Where the survey gave none, the inverse variance is 1 / sigma^2 of the measured sky, everywhere: the photon noise
    of bright sources is not in it. Where it gave one it is kept, negative or non-finite values as 0. Pixels that are
    UNUSABLE or not finite have inverse variance 0; the latter have NO_DATA in the mask and NaN as flux. Where no sky
    can be measured (an empty tile) sigma is NaN and an inverse variance that the survey did not give is 0.
    A plane that has one value everywhere may be a read-only view of that one value (strides 0), which costs no memory.
    """
    flux = image.flux
    complete = all_finite(flux)
    if image.mask is None and complete:
        mask = np.broadcast_to(np.uint16(0), flux.shape)
    elif image.mask is None:
        mask = np.zeros(flux.shape, np.uint16)
    else:
        mask = image.mask.astype(np.uint16, copy=not complete)
    if not complete:
        finite = np.isfinite(flux)
        mask[~finite] |= np.uint16(Plane.NO_DATA)
        flux = np.where(finite, flux, np.float32(np.nan))
    try:
        sigma = measure_sky(flux, image.mask).sigma
    except DataError:
        sigma = math.nan
    given = image.ivar
    if given is None:
        given = np.broadcast_to(np.float32(sigma**-2 if math.isfinite(sigma) else 0.0), flux.shape)
    ivar = given.astype(np.float32, copy=False)
    known = _known(ivar, mask)
    if known is not None:
        ivar = np.where(known, ivar, np.float32(0))
    return replace(image, flux=flux, ivar=ivar, mask=mask), sigma


def _known(ivar: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Where ``ivar`` is a positive finite number and ``mask`` not UNUSABLE, (y, x) bool; None: everywhere.

    A plane of one value (strides 0) is looked at once.
    """
    known: np.ndarray | None = None
    if ivar.strides != (0, 0):
        known = ivar > 0
        if not all_finite(ivar):
            known &= np.isfinite(ivar)
    if mask.strides != (0, 0):
        usable = (mask & np.uint16(UNUSABLE)) == 0
        known = usable if known is None else known & usable
    return None if known is None or known.all() else known


def all_finite(flux: np.ndarray) -> bool:
    """Whether every pixel is finite. A finite sum proves it at half the cost; one that overflows proves nothing."""
    with np.errstate(invalid="ignore", over="ignore"):
        return math.isfinite(float(flux.sum())) or bool(np.isfinite(flux).all())
