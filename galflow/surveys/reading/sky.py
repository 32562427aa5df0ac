"""The empty sky of an image: its level, its noise, and the inverse variance where a survey gives none.

Statistics come from a sample of small blocks spread over the image (galflow.surveys.reading.observed), so that they
cost a few per cent of reading it. Pixels without exposure are left out (galflow.surveys.reading.unexposed), sources are
masked by their smoothed light before the noise is taken. The noise is that of single pixels: correlations between
neighbours (resampled images) are not modelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from galflow.errors import DataError
from galflow.surveys.base import UNUSABLE, Image, Plane
from galflow.surveys.reading.observed import WEIGHT_RANGE, largest_weight, sample, usable_pixels, whole
from galflow.surveys.reading.parts import Part, WholeNeeded
from galflow.surveys.reading.unexposed import equal_areas, is_quantised, is_smooth, most_common, unexposed_values

MIN_PIXELS = 32
QUARTILES_TO_SIGMA = 0.743641
"""Sigma of a normal distribution clipped at 3 sigma, in units of the distance between its quartiles (twice its MAD)."""
NOMINAL_NOISE = 1e-3
"""Sigma of an image without noise, in units of its brightest pixel: what is fainter plays no part in a score."""
_FEW = 2048
_CLIP_SIGMA = 3.0
_SOURCE_SIGMA = 4.0
_IVAR_RANGE = (1e-37, 1e37)
"""What float32 holds."""


@dataclass(frozen=True)
class Sky:
    """Level and noise of one pixel of empty sky, in the unit of the image."""

    level: float
    sigma: float


@dataclass(frozen=True)
class SkyLook:
    """What a look at an image's pixels tells of its sky."""

    level: float
    """0 without usable pixels."""
    sigma: float
    """NaN where no noise can be measured."""
    problem: str | None = None
    """Why there is no sigma."""
    nominal_sigma: float = math.nan
    """A stand-in for it where the image is known to have no noise, though it has light: a simulation."""
    unexposed: tuple[float, ...] = ()
    """Values that stand for pixels without exposure."""


def measure_sky(flux: np.ndarray, mask: np.ndarray | None = None, ivar: np.ndarray | None = None) -> Sky:
    """Level and noise of the source-free observed pixels of ``flux``, (y, x).

    ``mask``, (y, x) of ``Plane`` bits: pixels that are UNUSABLE are left out, as are non-finite ones, those of
    ``ivar``, (y, x), 0 or no number, and those without exposure that share one value
    (galflow.surveys.reading.unexposed). First a clipped median and quartiles (robust like a MAD); then again without
    pixels under smoothed light above 4 of its sigmas, and their neighbours, which are taken for sources.

    Raises DataError if fewer than 32 pixels are usable, if all of them have the same value, or if they are smooth.
    """
    look = look_at_sky(flux, mask, ivar)
    if look.problem is not None:
        raise DataError(f"the sky cannot be measured: {look.problem}")
    return Sky(look.level, look.sigma)


def look_at_sky(
    flux: np.ndarray,
    mask: np.ndarray | None = None,
    ivar: np.ndarray | None = None,
    *,
    smoothed: bool = False,
    part: Part | None = None,
) -> SkyLook:
    """As ``measure_sky``, with a reason instead of an error, and what else was seen.

    ``smoothed``: the pixels are known to have noise, however smooth they are. ``part``: the planes are (1, M), of its
    pixels; WholeNeeded where more would be looked at.
    """
    (blocks, usable), size = sample(flux, mask, ivar, part), flux.size if part is None else math.prod(part.shape)
    if usable.sum() < _FEW < size:
        # Little of the image is data (a sliver at a survey's edge): look at all of it, for a sample would miss it.
        _require_whole(part, "little of it is data, so that a sample misses it")
        blocks, usable = whole(flux, mask, ivar)
    unexposed = unexposed_values(blocks, usable)
    if unexposed:
        usable &= ~np.isin(blocks, np.array(unexposed, dtype=np.float32))
        if usable.sum() < _FEW < size:
            _require_whole(part, "little of it is exposed, so that a sample misses it")
            blocks, usable = whole(flux, mask, ivar)
            usable &= ~np.isin(blocks, np.array(unexposed, dtype=np.float32))
    count = int(usable.sum())
    if count < MIN_PIXELS:
        level = float(np.median(blocks[usable])) if count else 0.0
        problem = (
            f"{count} usable finite pixels in an image of {flux.shape[0]} x {flux.shape[1]}, expected at least "
            f"{MIN_PIXELS}; the image is empty or masked"
        )
        return SkyLook(level, math.nan, problem, unexposed=unexposed)
    smooth = not smoothed and is_smooth(blocks, usable & (blocks != most_common(blocks, usable)))
    free = usable & ~_sources(blocks, usable, _clipped(_thinned(blocks[usable])))
    # An image that a galaxy fills keeps too few free pixels for a second look; the clipped values are then the best.
    sky = _clipped(blocks[free if free.sum() >= max(MIN_PIXELS, 0.05 * count) else usable])
    if sky.sigma > 0 and not smooth:
        return SkyLook(sky.level, sky.sigma, unexposed=unexposed)
    _require_whole(part, "its sample shows no noise")
    return _noise_free(flux, mask, ivar, sky.level, unexposed)


def _require_whole(part: Part | None, reason: str) -> None:
    if part is not None:
        raise WholeNeeded(reason)


def _noise_free(
    flux: np.ndarray, mask: np.ndarray | None, ivar: np.ndarray | None, level: float, unexposed: tuple[float, ...]
) -> SkyLook:
    """What is to be said of an image whose sky does not scatter: a simulation, or one value everywhere."""
    usable = usable_pixels(flux, mask, ivar)
    with np.errstate(over="ignore", invalid="ignore"):
        brightest = float(np.max(np.abs(flux - np.float32(level)), initial=0.0, where=usable))
    if not brightest > 0:
        problem = (
            f"its pixels all have the value {level:g}; expected noise. If this value stands for missing pixels, "
            "declare it so that they are masked"
        )
        return SkyLook(level, math.nan, problem, unexposed=unexposed)
    problem = (
        "no noise is measurable: the pixels are smooth, or their sky has one value; expected a survey's noise. "
        "For a simulation without noise declare stretch.sky_sigma"
    )
    return SkyLook(level, math.nan, problem, NOMINAL_NOISE * brightest, unexposed)


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
        nearest = 0.0
        if sigma == 0.0:
            # More than half of the pixels share a value. Coarsely quantised ones (8-bit pictures, few photons) scatter
            # over the values next to it; else the one value is a sky without noise.
            rest = ordered[low:high][ordered[low:high] != np.float32(level)]
            if not len(rest) or not is_quantised(ordered[low:high]):
                break
            sigma = float(np.std(ordered[low:high], dtype=np.float64))
            nearest = float(np.abs(rest - np.float32(level)).min())
        reach = max(_CLIP_SIGMA * sigma, nearest)
        ends = np.array([level - reach, level + reach], dtype=np.float32)
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


def holes_of(look: SkyLook) -> tuple[float, ...]:
    """The values without exposure that are no ceiling (an undeclared saturation has one value too)."""
    return tuple(value for value in look.unexposed if not value > look.level + 2.0 * look.sigma)


@dataclass(frozen=True, eq=False)
class CompleteImage:
    """An image with inverse variance and mask filled in."""

    image: Image
    sigma: float
    """Its sky sigma in its unit; NaN where no noise can be measured."""
    level: float = 0.0
    """Of its sky, in its unit."""
    doubt: str | None = None
    """What a person should know of it, though its pixels are known."""
    lost: str | None = None
    """Why none of its pixels is known."""


def with_ivar(image: Image) -> tuple[Image, float]:
    """``complete_image`` without its remarks, and its sky sigma."""
    complete = complete_image(image)
    return complete.image, complete.sigma


def complete_image(image: Image, part: Part | None = None) -> CompleteImage:
    """The image with inverse variance and mask filled in, and its sky sigma.

    Where the survey gave none, the inverse variance is 1 / sigma^2 of the measured sky, everywhere: the photon noise
    of bright sources is not in it. Where it gave one it is kept, values that stand for no exposure as 0 (negative,
    non-finite, or 10^10 times smaller than the others or than the sky's). Pixels that are UNUSABLE or not finite have
    inverse variance 0; the latter have NO_DATA in the mask and NaN as flux. Without an inverse variance of the survey,
    areas without exposure (galflow.surveys.reading.unexposed) have NO_DATA and inverse variance 0 too, and keep their
    flux.

    Where no noise can be measured sigma is NaN. If the image has light it is a simulation without noise: its pixels are
    known, and its inverse variance is nominal, 1 / (1e-3 of the brightest pixel)^2. If all pixels have one value, or
    fewer than 32 are usable, an inverse variance that the survey did not give is 0.
    A plane that has one value everywhere may be a read-only view of it (strides 0), which costs no memory. ``part``:
    as for ``look_at_sky``.
    """
    look = look_at_sky(image.flux, image.mask, image.ivar, part=part)
    unexposed = None
    if image.ivar is None and (holes := holes_of(look)):  # else the survey's weights say what was exposed
        _require_whole(part, "areas without exposure are told by their extent")
        unexposed = equal_areas(image.flux, holes)
    flux, mask = _masked(image, unexposed)
    doubt = None
    floor = 0.0
    if image.ivar is not None:
        given = image.ivar.astype(np.float32, copy=False)
        floor = WEIGHT_RANGE * max(largest_weight(given), look.sigma**-2 if math.isfinite(look.sigma) else 0.0)
    else:
        sigma = look.sigma if math.isfinite(look.sigma) else look.nominal_sigma
        value = sigma**-2 if math.isfinite(sigma) else 0.0
        if value and not _IVAR_RANGE[0] <= value <= _IVAR_RANGE[1]:
            doubt = f"its noise of {sigma:.3g} is no number of usual size; give its pixels in another unit"
            value = min(max(value, _IVAR_RANGE[0]), _IVAR_RANGE[1])
        elif value and math.isnan(look.sigma):
            doubt = (
                f"{look.problem}; its inverse variance is nominal, 1 / ({NOMINAL_NOISE:g} of the brightest pixel)^2 "
                f"= 1 / ({sigma:.4g})^2"
            )
        given = np.broadcast_to(np.float32(value), flux.shape)
    known = _known(given, mask, floor)
    ivar = given if known is None else np.where(known, given, np.float32(0))
    lost = None
    if not (given[0, 0] > 0 if known is None and given.size else known is not None and known.any()):
        _require_whole(part, "none of the pixels that cutouts need has a weight")
        lost = look.problem or "none of its pixels has a weight"
    return CompleteImage(replace(image, flux=flux, ivar=ivar, mask=mask), look.sigma, look.level, doubt, lost)


def _masked(image: Image, unexposed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The flux with NaN wherever it is not finite, and the mask with NO_DATA there and where nothing was exposed."""
    flux = image.flux
    complete = all_finite(flux)
    untouched = complete and unexposed is None
    if image.mask is None and untouched:
        return flux, np.broadcast_to(np.uint16(0), flux.shape)
    mask = np.zeros(flux.shape, np.uint16) if image.mask is None else image.mask.astype(np.uint16, copy=not untouched)
    if unexposed is not None:
        mask[unexposed] |= np.uint16(Plane.NO_DATA)
    if not complete:
        finite = np.isfinite(flux)
        mask[~finite] |= np.uint16(Plane.NO_DATA)
        flux = np.where(finite, flux, np.float32(np.nan))
    return flux, mask


def _known(ivar: np.ndarray, mask: np.ndarray, floor: float) -> np.ndarray | None:
    """Where ``ivar`` is a finite number above ``floor`` and ``mask`` not UNUSABLE, (y, x) bool; None: everywhere.

    A plane of one value (strides 0) is looked at once.
    """
    known: np.ndarray | None = None
    if ivar.strides != (0, 0):
        known = ivar > floor
        if not all_finite(ivar):
            known &= np.isfinite(ivar)
    elif ivar.size and not floor < ivar[0, 0] < np.inf:
        known = np.zeros(ivar.shape, bool) if ivar[0, 0] != 0 else None
    if mask.strides != (0, 0):
        usable = (mask & np.uint16(UNUSABLE)) == 0
        known = usable if known is None else known & usable
    return None if known is None or known.all() else known


def all_finite(flux: np.ndarray) -> bool:
    """Whether every pixel is finite. A finite sum proves it at half the cost; one that overflows proves nothing."""
    with np.errstate(invalid="ignore", over="ignore"):
        return math.isfinite(float(flux.sum())) or bool(np.isfinite(flux).all())
