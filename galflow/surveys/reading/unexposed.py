"""Pixels that hold a number but no exposure (zeros of a tile's empty part), told from pixels that happen to be equal.

A float image of noise never gives one value to one pixel in 200, so a value that does is suspect. It stands for missing
pixels if it is out of place, that is

- it lies more than 2 sigma off the level of the others, or has others on both sides, and is several times as frequent
  as its neighbours in value: quantised pixels (8-bit pictures, integers) share their values evenly; where the noise
  spans fewer than four values nothing can be told, and nothing is taken for missing;
- the others scatter from pixel to pixel. In a simulation without noise the value is its sky, known to be exactly that.
  White noise has a local minimum in 1 of 9 pixels, noise smoothed with an FWHM of 4 pixels in 1 of 70, a smooth image
  one for a few sources.

A value that all others exceed, beginning right above it, is a floor (an image clipped at zero, a simulation's light
without a sky), not a hole. This file looks at pixels only: what masks and weights say is the caller's.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LEAST_SHARE = 0.005
"""Fewer equal pixels than this share move level and sigma by less than the errors of their sample."""
LEAST_AREA = 16
"""Equal pixels joined by their sides make an area without exposure from this number; single ones may be chance."""
_FEWEST = 16
_MOST_VALUES = 3
_OUT_OF_PLACE_SIGMA = 2.0
_EXCESS = 3.0
_VALUES_IN_NOISE = 4
_SMOOTH_MINIMA = 0.005
_FEWEST_NEIGHBOURHOODS = 50
_STRIP_PIXELS = 1 << 22
_ROUNDING = 8 * float(np.finfo(np.float32).eps)


def unexposed_values(blocks: np.ndarray, usable: np.ndarray) -> tuple[float, ...]:
    """Values, at most three, that stand for pixels without exposure.

    ``blocks``, (p, h, q, w) float32: p x q blocks of neighbouring pixels; ``usable``: which of them are data as far as
    masks and weights know.
    """
    found: list[float] = []
    while len(found) < _MOST_VALUES:
        values, counts = np.unique(blocks[usable], return_counts=True)
        most = _conspicuous(counts)
        if most is None:
            break
        value = values[most]
        rest = usable & (blocks != value)
        if not _is_out_of_place(values, counts, most) or is_smooth(blocks, rest):
            break
        found.append(float(value))
        usable = rest
    return tuple(found)


def most_common(blocks: np.ndarray, usable: np.ndarray) -> float:
    """The value that a conspicuous share of the usable pixels has, be it a hole, a floor or a sky; NaN: none."""
    values, counts = np.unique(blocks[usable], return_counts=True)
    most = _conspicuous(counts)
    return float("nan") if most is None else float(values[most])


def _conspicuous(counts: np.ndarray) -> int | None:
    """Index of the largest of ``counts`` if it is as much as ``LEAST_SHARE`` of all."""
    if not len(counts) or counts.max() < max(_FEWEST, LEAST_SHARE * counts.sum()):
        return None
    return int(np.argmax(counts))


def _is_out_of_place(values: np.ndarray, counts: np.ndarray, most: int) -> bool:
    """Whether the value at index ``most`` of the sorted distinct ``values`` is none that the others lead to."""
    value, count = float(values[most]), int(counts[most])
    others, repeats = np.delete(values, most).astype(np.float64), np.delete(counts, most)
    if len(others) < _VALUES_IN_NOISE:
        return False
    level, sigma = _centre(others, repeats)
    if abs(value - level) > _OUT_OF_PLACE_SIGMA * sigma:
        near = np.abs(others - level) <= sigma
    else:
        below = repeats[others < value].sum() / repeats.sum()
        if min(below, 1.0 - below) < LEAST_SHARE:
            return False
        near = np.abs(others - value) <= 0.5 * sigma
    return int(near.sum()) >= _VALUES_IN_NOISE and count > _EXCESS * float(repeats[near].mean())


def _centre(values: np.ndarray, repeats: np.ndarray) -> tuple[float, float]:
    """Median and sigma (from quartiles) of sorted values that repeat, clipped at 3 sigma."""
    level, sigma = 0.0, 0.0
    for _ in range(10):
        total = np.cumsum(repeats)
        lower, level, upper = (float(values[np.searchsorted(total, q * total[-1])]) for q in (0.25, 0.5, 0.75))
        sigma = max(
            (upper - lower) / 1.349, float(np.min(np.diff(values), initial=np.inf)) / 2 if len(values) > 1 else 0
        )
        near = np.abs(values - level) <= 3.0 * sigma
        if near.all() or not near.any():
            break
        values, repeats = values[near], repeats[near]
    return level, sigma


def is_smooth(blocks: np.ndarray, usable: np.ndarray) -> bool:
    """Whether the usable pixels of ``blocks``, (p, h, q, w), show no noise: next to none is lower than all 8 around it.

    Only pixels whose 8 neighbours are usable are looked at; False where there are fewer than 50, and where pixels are
    whole multiples of a step (quantised pictures have plateaus of equal pixels).
    """
    seen = ndimage.minimum_filter(usable, size=(1, 3, 1, 3), mode="constant", cval=False)
    count = int(seen.sum())
    if count < _FEWEST_NEIGHBOURHOODS or is_quantised(blocks[usable]):
        return False
    filled = np.where(usable, blocks, np.float32(0))
    around = np.ones((1, 3, 1, 3), dtype=bool)
    around[0, 1, 0, 1] = False
    lowest = ndimage.minimum_filter(filled, footprint=around, mode="nearest")
    minima = seen & (filled < lowest - np.float32(_ROUNDING) * np.abs(filled))
    return int(minima.sum()) < _SMOOTH_MINIMA * count


def is_quantised(values: np.ndarray) -> bool:
    """Whether all of ``values``, (n,), are whole multiples of one step apart, to within rounding."""
    distinct = np.unique(values).astype(np.float64)
    if len(distinct) < 2:
        return True
    step = float(np.diff(distinct).min())
    multiples = (distinct - distinct[0]) / step
    return bool(multiples[-1] < 1e5 and np.abs(multiples - np.round(multiples)).max() < 0.05)


def equal_areas(flux: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
    """(y, x) bool: areas of at least ``LEAST_AREA`` pixels that share one of ``values``, joined by their sides.

    Worked through in strips whose margin is as high as the least area is large: the result is that of the whole image.
    """
    height, width = flux.shape
    found = np.zeros(flux.shape, dtype=bool)
    rows = max(LEAST_AREA, _STRIP_PIXELS // max(1, width))
    for start in range(0, height, rows):
        top, stop = max(0, start - LEAST_AREA), min(height, start + rows + LEAST_AREA)
        strip = flux[top:stop].astype(np.float32, copy=False)
        for value in values:
            equal = strip == np.float32(value)
            if equal.any():
                labels, _ = ndimage.label(equal)
                large = np.bincount(labels.ravel()) >= LEAST_AREA
                large[0] = False
                found[start : start + rows] |= large[labels][start - top : start - top + rows]
    return found
