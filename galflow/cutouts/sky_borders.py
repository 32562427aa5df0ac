"""Straight borders through a cutout beyond which the sky is another: where chips or frames end in a coadd.

They follow rows and columns. The sky's level, and the size of its noise, are compared between two strips, one on either
side of each row and column, so that hundreds of pixels tell of a step that is half of one pixel's noise, or of noise
that grows by half. Lit pixels take no part. A sky that rises slowly, and the light of a large galaxy, change all along
and are no border.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from galflow.constants import SIGMA_PER_MAD
from galflow.cutouts.sky_defects import SMOOTHING, smoothed

_STRIP = 6
"""Width of the strips in pixels."""
_LEAST_SIDE = 40
"""Smaller cutouts are not looked at: their few squares do not tell how means scatter."""
_LEAST_KNOWN = 0.4
"""Share of a strip's pixels that are known and unlit, at the least."""
_LEAST_UNLIT = 0.6
"""Share of a cutout's pixels: beside a galaxy that fills it no level of the sky is known."""
_SIGNIFICANCE, _SUSPECT = 6.5, (4.0, 3.5)
"""Least step in units of the scatter that noise gives it, and the least, of level and of noise, at a first look that
counts lit pixels, too."""
_SHARPNESS = 2.0
"""A border's step is so many times those one strip away from it."""
_PARTS, _LEAST_PART = 3, 0.45
"""A border goes all along: in each of three parts of its length the step is at least this share of the mean one."""
_LIT, _PASSES = (1.6, 1.0), 2
"""In sigmas of the noise, above what that is lit, where the level and where the noise is asked for: the sky beyond a
border is not to be taken for light, nor a galaxy's slope for noise. And how often that is found anew."""
_TINY = float(np.finfo(np.float32).tiny)
_CLIP, _SAMPLED = 1.0, 3
"""At the first look light counts as at most so many sigmas. Every third pixel of every third row tells of level and
noise."""


class Borders(NamedTuple):
    """Of cutouts, (n,) bool each."""

    level: np.ndarray
    """Whether the sky's level changes beyond a row or column."""
    noise: np.ndarray
    """Whether its noise does."""


def find_borders(light: np.ndarray) -> Borders:
    """Which cutouts, (n, y, x) in one unit, have a row or column beyond which the sky is another.

    NaN: not known.
    """
    found = Borders(np.zeros(len(light), bool), np.zeros(len(light), bool))
    if not len(light) or min(light.shape[1:]) < _LEAST_SIDE:
        return found
    suspect = np.flatnonzero((_first_look(light) > _SUSPECT[0]) | (_first_look(np.abs(np.diff(light))) > _SUSPECT[1]))
    if not len(suspect):
        return found
    some = light[suspect]
    smooth = smoothed(some)
    for flags, values, lit in zip(found, (some, np.abs(some - smooth)), _LIT, strict=True):
        unlit = _unlit(some, smooth, lit)
        dark = unlit.mean(axis=(1, 2)) > _LEAST_UNLIT
        if dark.any():
            noise = _noise_of_means(values[dark], unlit[dark])
            flags[suspect[dark]] = _significance(values[dark], unlit[dark], noise, _PARTS) > _SIGNIFICANCE
    return found


def _first_look(values: np.ndarray) -> np.ndarray:
    """(n,) most significant step of (n, y, x), lit pixels and all."""
    sampled = values[:, ::_SAMPLED, ::_SAMPLED].reshape(len(values), -1)
    level = _median(sampled)[:, None, None]
    scatter = SIGMA_PER_MAD * _median(np.abs(sampled - level[:, 0]))
    reach = _CLIP * scatter[:, None, None]
    return _significance(np.clip(values, level - reach, level + reach), np.isfinite(values), scatter)


def _median(values: np.ndarray) -> np.ndarray:
    """(n,) of (n, k) without NaN; 0 where all are."""
    known = np.isfinite(values).any(axis=1)
    return np.asarray(np.nanmedian(np.where(known[:, None], values, 0), axis=1))


def _unlit(light: np.ndarray, smooth: np.ndarray, limit: float) -> np.ndarray:
    """Which pixels, (n, y, x), are known and not near light of ``limit`` sigmas."""
    known = np.isfinite(light)
    unlit = known
    for _ in range(_PASSES):
        values = np.where(unlit, light, np.nan)[:, ::_SAMPLED, ::_SAMPLED].reshape(len(light), -1)
        level = _median(values)
        noise = SIGMA_PER_MAD * _median(np.abs(values - level[:, None]))
        lit = smooth > (level + limit * noise)[:, None, None]
        unlit = known & ~ndimage.maximum_filter(lit, size=(1, SMOOTHING, SMOOTHING))
    return unlit


def _noise_of_means(light: np.ndarray, unlit: np.ndarray) -> np.ndarray:
    """(n,) the noise that one pixel would need for means of squares to scatter as they do, were it independent.

    That of pixels themselves is less where resampling has made neighbours alike.
    """
    down, across = (side // _STRIP for side in light.shape[1:])
    shape = (len(light), down, _STRIP, across, _STRIP)

    def squares(values: np.ndarray) -> np.ndarray:
        return np.asarray(values[:, : down * _STRIP, : across * _STRIP].reshape(shape).sum(axis=(2, 4)))

    counts = squares(unlit)
    weight = np.where(counts >= _LEAST_KNOWN * _STRIP**2, 1 / np.maximum(counts, 1), np.nan)
    mean = squares(np.where(unlit, light, 0)) * weight
    apart = [
        np.abs(np.diff(mean, axis=axis))
        / np.sqrt(np.take(weight, range(1, n), axis) + np.take(weight, range(n - 1), axis))
        for axis, n in ((1, down), (2, across))
    ]
    return SIGMA_PER_MAD * _median(np.hstack([part.reshape(len(light), -1) for part in apart]))


def _significance(light: np.ndarray, which: np.ndarray, noise: np.ndarray, parts: int = 1) -> np.ndarray:
    """(n,) most significant step between strips beside a row or column, of the pixels ``which``; 0: too few.

    Of a row or column in several ``parts``, each must show it.
    """
    found = np.zeros(len(light))
    counted = np.where(which, light, 0)
    for axis in (1, 2):
        length = light.shape[3 - axis] // parts * parts
        sums, counts = (_strips(_along(values, axis, length, parts)) for values in (counted, which))
        mean = np.where(counts >= _LEAST_KNOWN * _STRIP * length / parts, sums / np.maximum(counts, 1), np.nan)
        steps = mean[..., _STRIP:] - mean[..., :-_STRIP]
        told = np.isfinite(steps)
        share = told / np.maximum(told.sum(axis=1, keepdims=True), 1)
        step = np.where(told, steps * share, 0).sum(axis=1)
        whole = (~told | (steps * np.sign(step)[:, None] > _LEAST_PART * np.abs(step)[:, None])).all(axis=1)
        whole &= told.sum(axis=1) > parts // 2
        step = np.abs(step)
        scatter = 1 / np.maximum(counts, 1)
        scatter = ((scatter[..., _STRIP:] + scatter[..., :-_STRIP]) * share**2).sum(axis=1)
        error = np.fmax(noise[:, None] * np.sqrt(scatter), _TINY)
        away = np.nan_to_num(np.pad(step, ((0, 0), (_STRIP, _STRIP))))
        beside = np.maximum(away[:, : step.shape[1]], away[:, 2 * _STRIP :])
        found = np.maximum(found, np.where(whole & (step > _SHARPNESS * beside), step / error, 0).max(axis=1))
    return found


def _along(values: np.ndarray, axis: int, length: int, parts: int) -> np.ndarray:
    """(n, parts, m) sums along rows (axis 1) or columns (axis 2) of (n, y, x), part by part."""
    lines = values if axis == 2 else values.transpose(0, 2, 1)
    return np.asarray(lines[:, :length].reshape(len(lines), parts, length // parts, -1).sum(axis=2))


def _strips(values: np.ndarray) -> np.ndarray:
    """(n, parts, m - _STRIP + 1) sums of _STRIP neighbouring values of (n, parts, m)."""
    sums = np.pad(values.cumsum(axis=2), ((0, 0), (0, 0), (1, 0)))
    return np.asarray(sums[..., _STRIP:] - sums[..., :-_STRIP])
