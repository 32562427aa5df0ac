"""Defects of the sky around an object: lines and hollows far below it, and noise that changes within the cutout.

No light is negative: a dead column that holds noise, or a hollow where a pipeline subtracted too much, lies below the
sky as nothing else does. Noise is compared between squares of a cutout that no source lights: a border of chips, or a
patch that was filled in, changes it by a factor that the photon noise of faint light cannot. Slight faults are not
found: thresholds are such that the correlated noise of resampled images stays far above them.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from galflow.constants import SIGMA_PER_MAD

_SQUARE, _FEWEST = 8, 3
"""Least side of the squares in pixels, and the fewest squares a side that are compared."""
_RUN_SIGMA, _LINE_SIGMA, _HOLLOW_SIGMA = 3.0, 1.2, 1.5
"""How far below the sky a square's length of a line, a whole line and a whole square lie in the mean at the least."""
_PIXEL_SIGMA, _RINGING = 8.0, 5
"""How far below the sky a single pixel must lie, and how many times that the light around it may be. Beside brighter
light resampling leaves negative pixels."""
_BESIDE = 2
"""A whole line lies as far below those so many pixels beside it, too."""
_STEP_FACTOR, _SUSPECT_FACTOR = 2.2, 1.8
"""Least factor by which noise changes, and by which it does at a first look that counts every pixel."""
SMOOTHING = 5
"""Side of the square whose mean is taken from a pixel, so that noise is left."""
_LIT, _DARK = 1.5, 0.5
"""A pixel is lit where smoothed light exceeds so many of its square's sigmas; a square is dark below so many."""
_NEIGHBOURS_SIGMA = 1.1284
"""Mean absolute difference of two pixels of noise, in its sigmas."""


def square_grid(side: int) -> tuple[int, int]:
    """How many squares lie along so many pixels, and their length; (0, 0) where too few do to be compared."""
    count = side // _SQUARE
    return (count, side // count) if count >= _FEWEST else (0, 0)


def is_below_sky(light: np.ndarray) -> np.ndarray:
    """Which cutouts, (n, y, x) in sigmas above the sky, have a pixel, a line or an area far below it. (n,) bool.

    The sky is the cutout's own median where that lies lower, and a sigma its own noise where that is higher, all the
    more where resampling has made neighbouring pixels alike. NaN: not known.
    """
    if not len(light):
        return np.zeros(0, bool)
    found = (_margin_below(light) < 0) | (_lowest(light) < -_PIXEL_SIGMA)
    suspect = np.flatnonzero(found)
    if len(suspect):
        some = light[suspect]
        level = np.fmin(np.nanmedian(some, axis=(1, 2), keepdims=True), 0)
        noise, alike = _noise_and_likeness(some)
        some = (some - level) / (np.fmax(noise, 1) * alike)[:, None, None]
        found[suspect] = (_margin_below(some) < 0) | _has_low_pixel(some)
    return found


def _noise_and_likeness(light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) noise of cutouts, and how many times that it is of what neighbouring pixels differ by, 1 at the least.

    Where resampling has made neighbours alike, noise does not average out in runs and squares.
    """
    noise = SIGMA_PER_MAD * np.nanmedian(np.abs(_noise(light)), axis=(1, 2))
    apart = SIGMA_PER_MAD / np.sqrt(2) * np.nanmedian(np.abs(np.diff(light, axis=2)), axis=(1, 2))
    return noise, np.fmax(noise / np.fmax(apart, 1e-6), 1)


def _has_low_pixel(light: np.ndarray) -> np.ndarray:
    """(n,) whether one pixel lies far below the sky, away from bright light."""
    around = ndimage.maximum_filter(np.where(np.isfinite(light), light, 0), size=(1, 7, 7), mode="nearest")
    with np.errstate(invalid="ignore"):
        return np.asarray(((light < -_PIXEL_SIGMA) & (around < -_RINGING * light)).any(axis=(1, 2)))


def _margin_below(light: np.ndarray) -> np.ndarray:
    """(n,) how much deeper the lowest line or square would have to lie to be none of the sky's; negative: it does."""
    (down, height), (across, width) = (square_grid(side) for side in light.shape[1:])
    if not down or not across:
        return np.full(len(light), np.inf)
    cut = light[:, : down * height, : across * width]
    columns = cut.reshape(len(light), down, height, -1).mean(axis=2)
    rows = cut.reshape(len(light), -1, across, width).mean(axis=3)
    hollows = rows.reshape(len(light), down, height, across).mean(axis=2)
    lowest = [_lowest(columns) + _RUN_SIGMA, _lowest(rows) + _RUN_SIGMA, _lowest(hollows) + _HOLLOW_SIGMA]
    for means in (columns.mean(axis=1), rows.mean(axis=2)):
        middle = means[:, _BESIDE:-_BESIDE]
        contrast = middle - np.fmin(means[:, : -2 * _BESIDE], means[:, 2 * _BESIDE :])
        lowest.append(_lowest(np.fmax(middle, contrast)) + _LINE_SIGMA)
    return np.asarray(np.min(lowest, axis=0))


def _lowest(values: np.ndarray) -> np.ndarray:
    """(n,) of (n, ...), without NaN."""
    return np.asarray(np.fmin.reduce(values.reshape(len(values), -1), axis=1, initial=np.inf))


def has_noise_step(light: np.ndarray) -> np.ndarray:
    """Which cutouts, (n, y, x) in sigmas above the sky, have noise that changes by a large factor. (n,) bool.

    NaN: not known.
    """
    found = np.zeros(len(light), bool)
    (down, height), (across, width) = (square_grid(side) for side in light.shape[1:])
    if not len(light) or not down or not across:
        return found
    cut = light[:, : down * height, : across * width]
    apart = np.empty_like(cut)
    np.abs(np.diff(cut, axis=2), out=apart[:, :, :-1])
    apart[:, :, -1] = apart[:, :, -2]
    shape = (len(cut), down, height, across, width)
    noise, level = (values.reshape(shape).mean(axis=(2, 4)) for values in (apart, cut))
    noise /= _NEIGHBOURS_SIGMA
    dark = np.abs(level) < _DARK * noise
    highest = np.where(dark, noise, -np.inf).max(axis=(1, 2))
    lowest = np.where(dark, noise, np.inf).min(axis=(1, 2))
    suspect = np.flatnonzero(highest > _SUSPECT_FACTOR * lowest)
    if len(suspect):
        found[suspect] = _noise_factor(cut[suspect], shape[1:]) > _STEP_FACTOR
    return found


def smoothed(light: np.ndarray) -> np.ndarray:
    """(n, y, x) the mean of the known pixels in the square of SMOOTHING a side around each pixel."""
    known = np.isfinite(light)
    box = (1, SMOOTHING, SMOOTHING)
    smooth = ndimage.uniform_filter(np.where(known, light, 0), size=box, mode="mirror")
    if not known.all():
        share = ndimage.uniform_filter(known.astype(light.dtype), size=box, mode="mirror")
        smooth /= np.maximum(share, 1 / SMOOTHING**2)
    return np.asarray(smooth)


def _noise(light: np.ndarray) -> np.ndarray:
    """(n, y, x) without the light around each pixel; NaN stays."""
    return np.asarray(light - smoothed(light))


def _noise_factor(light: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """(n,) highest noise of the unlit parts of cutouts, (n, y, x), over the lowest; 1 where too few are unlit.

    ``shape``: squares down, their height, squares across, their width. Noise is the median of a square's unlit pixels,
    averaged over two by two squares.
    """
    down, height, across, width = shape

    def squared(values: np.ndarray) -> np.ndarray:
        parts = values.reshape(len(values), *shape).transpose(0, 1, 3, 2, 4)
        return np.asarray(parts.reshape(len(values), down, across, -1))

    rest = _noise(light)
    deviation = squared(np.abs(rest))
    of_square = SIGMA_PER_MAD * np.nanmedian(np.where(np.isnan(deviation), np.inf, deviation), axis=3)
    limit = _LIT * np.repeat(np.repeat(of_square, height, axis=1), width, axis=2)
    lit = ndimage.maximum_filter(light - rest > limit, size=(1, 3, 3))
    unlit = np.where(squared(lit), np.nan, deviation)
    enough = np.isfinite(unlit).sum(axis=3) >= unlit.shape[3] // 2
    unlit[~enough] = 0
    noise = np.where(enough, np.nanmedian(unlit, axis=3), np.nan)
    four = np.stack([noise[:, :-1, :-1], noise[:, 1:, :-1], noise[:, :-1, 1:], noise[:, 1:, 1:]])
    known = np.isfinite(four)
    mean = np.where(known, four, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    usable = known.sum(axis=0) >= 3
    highest = np.where(usable, mean, 0).max(axis=(1, 2))
    lowest = np.where(usable, mean, np.inf).min(axis=(1, 2))
    return np.where(highest > 0, highest / np.maximum(lowest, 1e-6), 1.0)
