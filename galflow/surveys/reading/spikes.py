"""Diffraction spikes and bleeds of bright stars, found in a tile's pixels where no mask tells of them.

Around each very bright peak light is compared, distance by distance, with the median over directions nearby. A spike
begins at its star, goes on outwards without a gap, and has a second arm on the other side; a star is one with two such
pairs at the angles of struts, or with one pair along rows or columns and a saturated middle, which is charge that
bleeds. A galaxy seen from its edge has one pair, a neighbour has one arm. Faint spikes, and those of all but the few
brightest stars of a tile, are not looked for. No mask is changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from galflow.constants import SIGMA_PER_MAD
from galflow.surveys.base import Image, Plane
from galflow.surveys.reading.trails import Trail

_BRIGHT_SIGMA = 1000.0
"""Least height of a peak above the sky."""
_MOST_STARS, _BLOCK = 30, 16
"""So many of the brightest peaks are looked at; peaks of one square of that side are one."""
_ANGLES, _LONGEST, _BROAD, _STEP = 180, 200, 15, 3
"""Directions of the full circle; pixels that an arm is followed; directions of which the median is taken off; pixels
along an arm that are averaged."""
_BEGIN_FWHM, _PIECE_FWHM = 3.0, 3.0
"""Where arms begin, and how long the pieces are that must be lit, one after the other."""
_LIT, _LIT_EACH, _EVERYWHERE, _CLIPPED = 0.8, 0.35, 0.85, 3.0
"""Mean excess of two opposite lit pieces, and of each, in robust standard deviations over directions; the share of
its distances that have any; the most that one distance counts."""
_FEWEST_PIECES, _LAST_BEGIN = 3, 2
"""Pieces that a spike has at least; and before which one it begins."""
_AXIS, _ASKEW, _CROSSES = 1, 4, (_ANGLES // 4, _ANGLES // 6, _ANGLES // 3)
"""Directions from an axis that a bleed may lie; and between two pairs, within so many: struts stand at 90 or 60
degrees."""
_FLAT = 0.9
"""Pixels above that part of a peak are its top; so many of them are a saturated one."""
_FLAT_PIXELS = 12


def find_spikes(image: Image, level: float, sigma: float, fwhm_pixels: float) -> tuple[Trail, ...]:
    """The arms of all spikes, from the middle of their stars outwards; nothing where the noise is not known.

    ``level`` and ``sigma`` are those of its sky (galflow.surveys.reading.sky); ``fwhm_pixels`` the PSF's.
    """
    if min(image.flux.shape) < 4 * _BLOCK or not (math.isfinite(sigma) and sigma > 0):
        return ()
    found: list[Trail] = []
    for x, y, saturated in _bright_peaks(image, level, sigma):
        found += _arms(image, (x, y), level, fwhm_pixels, saturated=saturated)
    return tuple(found)


def _bright_peaks(image: Image, level: float, sigma: float) -> list[tuple[float, float, bool]]:
    """(x, y, whether it is saturated) of the brightest peaks, brightest first, no two within two squares."""
    rows, columns = (n // _BLOCK for n in image.flux.shape)
    blocks = image.flux[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    with np.errstate(invalid="ignore"):
        highest = np.fmax.reduce(np.fmax.reduce(blocks, axis=3), axis=1)
        candidates = np.argwhere(highest > level + _BRIGHT_SIGMA * sigma)
    order = np.argsort(-highest[tuple(candidates.T)], kind="stable")
    taken = np.zeros((rows + 4, columns + 4), bool)
    peaks: list[tuple[float, float, bool]] = []
    for row, column in candidates[order]:
        if taken[row : row + 5, column : column + 5].any():
            continue
        taken[row + 2, column + 2] = True
        peaks.append(_middle(image, int(row) * _BLOCK, int(column) * _BLOCK, float(highest[row, column]), level))
        if len(peaks) == _MOST_STARS:
            break
    return peaks


def _middle(image: Image, row: int, column: int, highest: float, level: float) -> tuple[float, float, bool]:
    """Centroid of a peak's top in and around its square, and whether the top is flat or masked as saturated."""
    y0, x0 = max(0, row - _BLOCK), max(0, column - _BLOCK)
    window = np.s_[y0 : row + 2 * _BLOCK, x0 : column + 2 * _BLOCK]
    with np.errstate(invalid="ignore"):
        top = image.flux[window] - level > _FLAT * (highest - level)
    y, x = np.nonzero(top)
    masked = image.mask is not None and bool((image.mask[window] & np.uint16(Plane.SATURATED)).any())
    return float(x.mean() + x0), float(y.mean() + y0), masked or len(x) >= _FLAT_PIXELS


def _arms(image: Image, centre: tuple[float, float], level: float, fwhm: float, *, saturated: bool) -> list[Trail]:
    """The arms of one star's spikes, if it has any."""
    piece, begin = max(2, round(_PIECE_FWHM * fwhm / _STEP)), max(6.0, _BEGIN_FWHM * fwhm)
    pairs = _pairs(_excess(image, centre, level, begin), piece)
    between = {abs(a.direction - b.direction) for a in pairs for b in pairs}
    apart = any(abs(angle - wanted) <= _ASKEW for angle in between for wanted in _CROSSES)
    quarter = _ANGLES // 4
    along = [p for p in pairs if min(p.direction % quarter, -p.direction % quarter) <= _AXIS]
    found = []
    for pair in pairs if apart else along if saturated else ():
        reach = begin + _STEP * piece * pair.end
        for turn in (0, _ANGLES // 2):
            angle = 2 * math.pi * (pair.direction + turn) / _ANGLES
            end = centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle)
            found.append(Trail(*centre, *end, max(1.0, fwhm), pair.light))
    return found


def _excess(image: Image, centre: tuple[float, float], level: float, begin: float) -> np.ndarray:
    """(distance, direction) light above that of directions nearby, in robust standard deviations over directions."""
    radius = begin + np.arange(_LONGEST // _STEP * _STEP)
    angle = 2 * math.pi * np.arange(_ANGLES) / _ANGLES
    x = np.rint(centre[0] + radius[:, None] * np.cos(angle)).astype(np.int64)
    y = np.rint(centre[1] + radius[:, None] * np.sin(angle)).astype(np.int64)
    inside = (x >= 0) & (y >= 0) & (x < image.flux.shape[1]) & (y < image.flux.shape[0])
    light = np.where(inside, image.flux[np.where(inside, y, 0), np.where(inside, x, 0)] - level, np.nan)
    light = light.reshape(-1, _STEP, _ANGLES).mean(axis=1)
    known = np.isfinite(light)
    light = np.where(known, light, 0.0)
    # What outshines the star's own halo is another source.
    other = light > np.median(light[0]) + np.ptp(light[0])
    # Halos and neighbours are broader than an arm.
    wrapped = np.pad(light, ((0, 0), (_BROAD // 2, _BROAD // 2)), mode="wrap")
    light = light - np.median(np.lib.stride_tricks.sliding_window_view(wrapped, _BROAD, axis=1), axis=2)
    scatter = SIGMA_PER_MAD * np.median(np.abs(light), axis=1, keepdims=True)
    scaled = np.where(known, light / np.where(scatter > 0, scatter, np.inf), 0.0)
    return np.where(other, -_CLIPPED, np.clip(scaled, -_CLIPPED, _CLIPPED))


@dataclass(frozen=True)
class _Pair:
    """Two arms on opposite sides of a star."""

    direction: int
    """Of the first half circle."""
    end: int
    """In pieces."""
    light: float


def _pairs(excess: np.ndarray, piece: int) -> list[_Pair]:
    """The pairs of arms in (distance, direction) excess, of pieces of so many distances."""
    pieces = len(excess) // piece
    parts = excess[: pieces * piece].reshape(pieces, piece, _ANGLES)
    one, other = (parts[..., half].mean(axis=1) for half in (slice(None, _ANGLES // 2), slice(_ANGLES // 2, None)))
    both, fainter = (one + other) / 2, np.minimum(one, other)
    # A chain of sources has light here and there, a spike all along.
    everywhere = (parts[..., : _ANGLES // 2] + parts[..., _ANGLES // 2 :] > 0).mean(axis=1) >= _EVERYWHERE
    lit = (both > _LIT) & (fainter > _LIT_EACH) & everywhere
    best, run, end = np.zeros((3, both.shape[1]))
    light, count = np.zeros((2, both.shape[1]))
    for number in range(pieces):
        light = np.where(lit[number], light + both[number], 0.0)
        count = np.where(lit[number], count + 1, 0.0)
        # Close to the star its halo may hide where a run begins; what begins farther out is not the star's.
        light = np.where(number - count < _LAST_BEGIN, light, 0.0)
        better = light > best
        best, run, end = np.where(better, (light, count, np.full_like(light, number + 1)), (best, run, end))
    beside = np.max([np.roll(best, shift) for shift in (-3, -2, -1, 1, 2, 3)], axis=0)
    chosen = np.flatnonzero((run >= _FEWEST_PIECES) & (best >= beside))
    return [_Pair(int(i), int(end[i]), float(best[i])) for i in chosen]
