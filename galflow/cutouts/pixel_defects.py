"""Defects that a cutout's own pixels show where no mask tells of them: cosmic rays, lost areas, flat tops, doubles.

Every test asks for something that neither the sky nor a galaxy seen through the survey's PSF can do: a pixel sharper
than the PSF and seen in one band alone, one value in many pixels in spite of noise, noise that repeats itself some
pixels on; and what galflow.cutouts.sky_defects, sky_borders and band_shifts ask for. So nothing is said of defects
without such a trace: a saturated star whose top a pipeline filled in, or frames with noise of their own that were added
askew.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
from scipy import fft, ndimage

from galflow.cutouts.band_shifts import is_shifted
from galflow.cutouts.flags import Flag
from galflow.cutouts.sky_borders import find_borders
from galflow.cutouts.sky_defects import has_noise_step, is_below_sky
from galflow.surveys.reading.parts import sampled_rows
from galflow.surveys.reading.sky import Sky

_PIXELS_AT_ONCE = 1 << 20
"""Enough that the calls cost little beside the work, in a few megabytes."""
_RAY_SIGMA, _RAY_PIXELS = 10.0, 2
"""Least height of a cosmic ray's pixels above the sky, and the fewest that lie side by side."""
_LONE_RAY_SIGMA = 20.0
"""Least height of a ray of one pixel: no noise's, and all around it have less than the contrast below."""
_RAY_SHARPNESS = 0.6
"""A neighbour has less than this part of what the PSF would leave there."""
_RAY_CONTRAST = 0.3
"""Most of its height that may be the light of what it fell on: the cores of saturated stars are full of sharp steps."""
_RAY_ELSEWHERE = 0.15
"""Of its height: what another band may show at its place."""
_UNKNOWN_FWHM_PIXELS = 2.0
"""Where the survey gives no PSF: few ground-based surveys sample theirs more coarsely."""
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
_RING = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0))
_FLAT_SIGMA, _FLAT_PIXELS = 10.0, 6
"""Least height of a flat top above the sky, and its fewest pixels."""
_LINE_SHARE, _AREA_SHARE, _BLOCK = 0.75, 0.03, 5
"""Share of a column or row, and of the cutout in squares of this side, that holds one value."""
_COARSE_SHARE = 0.1
"""Where more pixels than that equal their neighbour, values are too coarsely rounded for constant ones to stand out."""
_STRIP, _INSIDE = 2, 4
"""Width of the strips along a cutout's sides, and how far inside those lie that they are compared with."""
_OUTSIDE_SIGMA, _OUTSIDE_FACTOR = 3.0, 1.3
"""How far light from beyond a side lifts its strip above the opposite one, and how many times it is that of inside."""
_DOUBLE_SIDE, _DOUBLE_CLIP = 32, 3.0
"""Pixels of the middle of a cutout that are laid over each other; what is brighter, in sigmas, is left out."""
_DOUBLE_NEAREST, _DOUBLE_SIGMA = 2.5, 8.0
"""Least distance of the second image in pixels, and least correlation with it in units of that of white noise, which is
1 / 32 for 32 pixels a side. Equal images have 0.5, so that cutouts of fewer than 20 pixels show none."""
_BANDS_TOGETHER, _DOUBLE_TOGETHER = 3, 0.8
"""So many bands' correlations are added; with less than this part of what one needs in their sum, none is doubled."""
_DOUBLE_FREQUENCY, _DOUBLE_POWER = 0.2, 0.3
"""Cycles per pixel below which light is a source's or the background's; least power above it, in that of white noise
in all pixels."""


class PixelDefects:
    """Looks for defects in the cutouts of one tile. Threads may share it."""

    def __init__(self, skies: Sequence[Sky], fwhm_pixels: Sequence[float], coarse: Sequence[bool]) -> None:
        """One value a band. A band whose sky has no noise to compare with (sigma NaN or 0) is not looked at.

        ``fwhm_pixels``: of the PSF, NaN where unknown. ``coarse``: see ``is_coarse``.
        """
        sigma = np.array([sky.sigma for sky in skies], np.float64)
        self._bands = np.flatnonzero(np.isfinite(sigma) & (sigma > 0))
        self._scale = (1.0 / sigma[self._bands]).astype(np.float32)
        self._level = np.array([sky.level for sky in skies], np.float32)[self._bands] * self._scale
        width = np.array(fwhm_pixels, np.float64)[self._bands]
        width = np.maximum(np.where(np.isfinite(width), width, _UNKNOWN_FWHM_PIXELS), 1.0)
        # What the PSF leaves of its middle at a distance of one pixel.
        self._ratio = _RAY_SHARPNESS * np.exp(-4.0 * math.log(2.0) / width**2)
        self._coarse = np.array(coarse, bool)[self._bands]

    def flags(self, flux: np.ndarray, observed: np.ndarray | None = None) -> np.ndarray:
        """The flags of cutouts, (N, band, y, x), as (N,) int64.

        ``observed``, bool of the same shape: which pixels are data; None: all.
        """
        flags = np.zeros(len(flux), np.int64)
        if not len(self._bands) or min(flux.shape[2:]) < 2 * _BLOCK:
            return flags
        step = max(1, _PIXELS_AT_ONCE // flux[:1].size) if len(flux) else 1
        for start in range(0, len(flux), step):
            rows = slice(start, start + step)
            light = np.empty((len(self._bands), *flux[rows, 0].shape), np.float32)
            for plane, band, level, scale in zip(light, self._bands, self._level, self._scale, strict=True):
                np.multiply(flux[rows, band], scale, out=plane)
                plane -= level
                if observed is not None:
                    plane[~observed[rows, band]] = np.nan
            flags[rows] = self._of_light(light)
        return flags

    def _of_light(self, light: np.ndarray) -> np.ndarray:
        """Flags of a few cutouts, (band, n, y, x) in sigmas above the sky, NaN where nothing is known; (n,) int64."""
        flags = np.zeros(light.shape[1], np.int64)
        for band, coarse in enumerate(self._coarse):
            if not coarse:
                flat, constant = has_flat_top(light[band]), has_constant(light[band])
                flags[flat] |= int(Flag.SATURATED)
                flags[constant] |= int(Flag.CONSTANT)
                # A bleeding column and the rim of a lost area are sharp, too.
                ray = has_cosmic_ray(light, band, float(self._ratio[band])) & ~flat & ~constant
                flags[ray] |= int(Flag.COSMIC_RAY)
                # An area of one value has no noise: it is known by its own name.
                borders, known = find_borders(light[band]), ~constant & ~flat
                flags[(has_noise_step(light[band]) | borders.noise) & known] |= int(Flag.NOISE_STEP)
                flags[borders.level & known] |= int(Flag.LEVEL_STEP)
            flags[is_below_sky(light[band])] |= int(Flag.BELOW_SKY)
        flags[is_doubled(light)] |= int(Flag.DOUBLED)
        flags[is_shifted(light)] |= int(Flag.SHIFTED)
        flags[has_light_from_outside(light)] |= int(Flag.BRIGHT_NEIGHBOUR)
        return flags


def is_coarse(plane: np.ndarray) -> bool:
    """Whether so many pixels of an image, (y, x), equal their neighbours that constant ones do not stand out."""
    rows = plane[sampled_rows(len(plane))]
    equal = int(np.count_nonzero(rows[:, 1:] == rows[:, :-1]))
    known = int(np.count_nonzero(np.isfinite(rows[:, 1:])))
    return equal > _COARSE_SHARE * max(1, known)


def has_cosmic_ray(light: np.ndarray, band: int, ratio: float) -> np.ndarray:
    """Which cutouts have pixels in this band, side by side, that are sharper than the PSF and in no other band. (n,).

    ``light``: (band, n, y, x) in sigmas. A pixel is sharp where in some direction both neighbours have less than
    ``ratio`` of its height (for a diagonal its square) above the light that it fell on, the noise allowed for.
    """
    number, side_y, side_x = light.shape[1:]
    found, plane = np.zeros(number, bool), light[band].reshape(-1)
    at = np.flatnonzero(plane[:-side_x] > _RAY_SIGMA)
    # Most bright pixels have bright neighbours, and need no closer look.
    most = _RAY_CONTRAST * plane[at]
    at = at[np.sum([plane[at + step] < most for step in (-side_x, -1, 1, side_x)], axis=0) >= 2]
    y, x = at // side_x % side_y, at % side_x
    at = at[(y >= 3) & (y < side_y - 3) & (x >= 3) & (x < side_x - 3)]
    at = _sharp(plane, at, side_x, ratio)
    if not len(at):
        return found
    ring = np.array([dy * side_x + dx for dy, dx in _RING])[:, None]
    height = plane[at]
    alone = np.median(plane[at + ring], axis=0) < _RAY_CONTRAST * height
    for other in range(len(light)):
        if other != band:
            elsewhere = light[other].reshape(-1)
            seen = elsewhere[at] - np.mean(elsewhere[at + 2 * ring], axis=0)
            alone &= ~(seen > np.maximum(_RAY_ELSEWHERE * height, 4.0))
    at = at[alone]
    beside = np.isin(at + ring, at).sum(axis=0) >= _RAY_PIXELS - 1
    lone = (plane[at] > _LONE_RAY_SIGMA) & (plane[at + ring].max(axis=0) < _RAY_CONTRAST * plane[at])
    found[at[beside | lone] // (side_y * side_x)] = True
    return found


def _sharp(plane: np.ndarray, at: np.ndarray, side_x: int, ratio: float) -> np.ndarray:
    """Those of the pixels ``at``, (k,), of flattened cutouts that are sharper than the PSF in some direction."""
    height = plane[at]
    sharp = np.zeros(len(at), bool)
    for dy, dx in _DIRECTIONS:
        step = dy * side_x + dx
        part = ratio if dy * dx == 0 else ratio**2
        left, right = plane[at - step], plane[at + step]
        low, high = np.minimum(left, right), np.maximum(left, right)
        needed = high - part * height + 1.5 * math.sqrt(1.0 + part**2)
        # The light underneath is at most that of the fainter neighbour: few pixels need a second look.
        maybe = np.flatnonzero((1.0 - part) * low > needed)
        if len(maybe):
            beyond = np.minimum(plane[at[maybe] - 3 * step], plane[at[maybe] + 3 * step])
            under = np.minimum(low[maybe], np.maximum(beyond, 0.0))
            sharp[maybe[(1.0 - part) * under > needed[maybe]]] = True
    return at[sharp]


def has_flat_top(light: np.ndarray) -> np.ndarray:
    """Which cutouts, (n, y, x) in sigmas, have many pixels of one value, their highest, far above the sky. (n,)."""
    found = np.zeros(len(light), bool)
    highest = light.max(axis=(1, 2))
    partial = np.flatnonzero(np.isnan(highest))
    highest[partial] = np.fmax.reduce(light[partial], axis=(1, 2), initial=-np.inf)
    bright = np.flatnonzero(highest > _FLAT_SIGMA)
    for i in bright:
        found[i] = np.count_nonzero(light[i] == highest[i]) >= _FLAT_PIXELS
    return found


def has_constant(light: np.ndarray) -> np.ndarray:
    """Which cutouts, (n, y, x) in sigmas, have a column, a row or an area of one value that is no flat top. (n,) bool.

    A few pairs of neighbouring rows and columns are looked at first: noise makes next to no pixels of them equal.
    """
    found = np.zeros(len(light), bool)
    first = slice(_BLOCK, -1, 2 * _BLOCK), slice(_BLOCK + 1, None, 2 * _BLOCK)
    suspect = np.any(light[:, first[0]] == light[:, first[1]], axis=(1, 2))
    suspect |= np.any(light[:, :, first[0]] == light[:, :, first[1]], axis=(1, 2))
    for i in np.flatnonzero(suspect):
        plane = light[i]
        low, high = (f(plane, size=_BLOCK, mode="nearest") for f in (ndimage.minimum_filter, ndimage.maximum_filter))
        area = np.mean((low == high) & (plane < _FLAT_SIGMA))
        found[i] = area > _AREA_SHARE or any(_has_dead_line(turned) for turned in (plane, plane.T))
    return found


def _has_dead_line(plane: np.ndarray) -> bool:
    """Whether a column of ``plane``, (y, x), holds one value, no flat top's, in most of its neighbouring pixels."""
    equal = (plane[1:] == plane[:-1]) & (plane[1:] < _FLAT_SIGMA)
    return bool((equal.mean(axis=0) > _LINE_SHARE).any())


def has_light_from_outside(light: np.ndarray) -> np.ndarray:
    """Which cutouts, (band, n, y, x) in sigmas, light enters whose source lies beyond: it rises to a side. (n,)."""

    def along_sides(start: int) -> np.ndarray:
        """(4, n): median along each side, bands' mean, of the strip that begins ``start`` pixels inside."""
        near, far = slice(start, start + _STRIP), slice(-start - _STRIP, -start or None)
        strips = light[:, :, near], light[:, :, far], light[..., near], light[..., far]
        # A comparison with NaN is false: of a side that is partly missing nothing is said.
        return np.stack([np.median(strip.mean(axis=0).reshape(light.shape[1], -1), axis=1) for strip in strips])

    outer, inner = along_sides(0), along_sides(_INSIDE)
    rises = (outer - outer[[1, 0, 3, 2]] > _OUTSIDE_SIGMA) & (outer > _OUTSIDE_FACTOR * inner)
    return np.asarray(rises.any(axis=0))


def is_doubled(light: np.ndarray) -> np.ndarray:
    """Which cutouts, (band, n, y, x) in sigmas, hold the same pixels twice in a band, some pixels apart. (n,) bool.

    By the autocorrelation of the faint pixels' fine structure, which is the noise's: of two equal images on each other
    it is 0.5 at their distance, of a galaxy beside its like it is 0. A few bands' sum is looked at before each of them.
    """
    height, width = (min(length, _DOUBLE_SIDE) for length in light.shape[2:])
    top, left = (light.shape[2] - height) // 2, (light.shape[3] - width) // 2
    faint = light[:, :, top : top + height, left : left + width].copy()
    # A comparison with NaN is false, too.
    faint[~(np.abs(faint) < _DOUBLE_CLIP)] = 0.0
    transform = fft.rfft2(faint)
    frequencies, apart = _fine_structure(height, width)
    power = transform.real**2 + transform.imag**2
    total = (power.reshape(*power.shape[:2], -1) @ frequencies.ravel()) / (height * width)
    power *= (frequencies > 0) / np.maximum(total, _DOUBLE_POWER * height * width)[..., None, None]

    def highest(power: np.ndarray) -> np.ndarray:
        lags = fft.irfft2(power, s=(height, width))[:, : height // 2 + 1]
        lags *= apart
        return np.asarray(lags.max(axis=(1, 2)))

    found = np.zeros(light.shape[1], bool)
    least = _DOUBLE_SIGMA / math.sqrt(height * width)
    for start in range(0, len(light), _BANDS_TOGETHER):
        bands = power[start : start + _BANDS_TOGETHER]
        suspect = np.flatnonzero(highest(bands.sum(axis=0)) > _DOUBLE_TOGETHER * least)
        for band in bands if len(suspect) else ():
            found[suspect] |= highest(band[suspect]) > least
    return found


@functools.cache
def _fine_structure(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each frequency of the noise stands in a real transform, (y, x), and which lags are apart, (y, x).

    An autocorrelation is even, so that half of the lags are all.
    """
    across = fft.rfftfreq(width)
    times = np.where((across == 0) | (across == 0.5), 1.0, 2.0)
    frequency = np.hypot(fft.fftfreq(height)[:, None], across)
    y, x = np.arange(height // 2 + 1)[:, None], np.arange(width)
    apart = np.hypot(y, np.minimum(x, width - x)) >= _DOUBLE_NEAREST
    return np.where(frequency > _DOUBLE_FREQUENCY, times, 0.0).astype(np.float32), apart.astype(np.float32)
