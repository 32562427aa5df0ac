"""Bands that show an object's light some pixels beside where the others show it: frames registered askew.

Two neighbours of different colours look like that, too, but each band then has light of its own shape. So a band counts
as shifted only where, moved back, its light is that of the others almost exactly; and only where that is several pixels
away and seen clearly. An object whose bands show the same light in different places is one, too: one that moved.
"""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

_SIDE, _REACH = 32, 6
"""Pixels of the middle of a cutout that are compared, and the farthest shift that is looked for."""
_LIT_SIGMA, _CLEAR_SIGMA = 3.0, 10.0
"""Smoothed light below the one is none; a band whose brightest pixel lies below the other says nothing."""
_LEAST_PIXELS, _LEAST_CORRELATION, _LEAST_GAIN = 2.0, 0.93, 0.1
"""Of the shift; of the moved band's light with the others'; and how much more that is than of the unmoved band's."""
_FIRST_LOOK_PIXELS = 0.7
"""Least distance of a band's centre of light from the others', for a closer look."""


def is_shifted(light: np.ndarray) -> np.ndarray:
    """Which cutouts, (band, n, y, x) in sigmas above the sky, have a band whose light lies beside the others'. (n,).

    NaN: not known, taken for dark.
    """
    bands, number, *sides = light.shape
    found = np.zeros(number, bool)
    if bands < 2 or not number or min(sides) < 2 * (_REACH + 2):
        return found
    height, width = (min(side, _SIDE) for side in sides)
    top, left = (sides[0] - height) // 2, (sides[1] - width) // 2
    middle = light[:, :, top : top + height, left : left + width]
    # Most objects are too faint in all bands but one.
    bright = np.fmax.reduce(middle.reshape(bands, number, -1), axis=2, initial=0) > _CLEAR_SIGMA
    suspect = np.flatnonzero(bright.sum(axis=0) > 1)
    if len(suspect):
        suspect = suspect[_centres_apart(middle[:, suspect], bright[:, suspect])]
    if len(suspect):
        lit = ndimage.uniform_filter(np.nan_to_num(middle[:, suspect]), (0, 0, 3, 3))
        clear = lit.max(axis=(2, 3)) > _CLEAR_SIGMA
        lit = np.maximum(np.arcsinh(lit / _LIT_SIGMA) - np.arcsinh(1.0), 0) * clear[..., None, None]
        found[suspect] = _moved_back(lit) & (clear.sum(axis=0) > 1)
    return found


def _centres_apart(light: np.ndarray, bright: np.ndarray) -> np.ndarray:
    """(n,) whether the centres of light of the ``bright`` bands, (band, n), lie apart, noise not allowed for."""
    lit = np.where(light > _LIT_SIGMA, np.minimum(light, _CLEAR_SIGMA), np.float32(0))
    across, down = lit.sum(axis=2), lit.sum(axis=3)
    total = np.maximum(down.sum(axis=2), np.float32(1e-9))
    centres = [along @ np.arange(along.shape[2], dtype=np.float32) / total for along in (across, down)]
    spans = [np.where(bright, c, -np.inf).max(axis=0) - np.where(bright, c, np.inf).min(axis=0) for c in centres]
    return np.asarray(np.hypot(*spans) > _FIRST_LOOK_PIXELS)


def _moved_back(lit: np.ndarray) -> np.ndarray:
    """(n,) whether some band's light, (band, n, y, x), equals the others' sum once it is moved by some pixels."""
    shape = tuple(side + _REACH for side in lit.shape[2:])
    spectrum, total = fft.rfft2(lit, s=shape), lit.sum(axis=0)
    lags = np.arange(-_REACH, _REACH + 1)
    away = np.hypot(lags[:, None], lags[None, :])
    found = np.zeros(lit.shape[1], bool)
    whole = spectrum.sum(axis=0)
    for band, own in zip(lit, spectrum, strict=True):
        others = total - band
        both = fft.irfft2(own * (whole - own).conj(), s=shape)[:, lags[:, None], lags[None, :]]
        norm = np.sqrt(np.square(band).sum(axis=(1, 2)) * np.square(others).sum(axis=(1, 2)))
        both /= np.maximum(norm, 1e-9)[:, None, None]
        flat = both.reshape(len(both), -1)
        best, unmoved = flat.max(axis=1), both[:, _REACH, _REACH]
        far = away.ravel()[flat.argmax(axis=1)] >= _LEAST_PIXELS
        found |= far & (best > _LEAST_CORRELATION) & (best - unmoved > _LEAST_GAIN)
    return found
