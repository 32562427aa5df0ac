"""Is a straight line through a map the trail of something that flew across? It is followed from end to end.

Lengths are in the map's own pixels; light in units of its noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

_PIECE = 6.0
"""Length of the pieces whose light is compared."""
_REACH = 8
"""How far to each side light is looked at."""
_STEP = 0.5
"""Of the profile across."""
_LIT = 0.3
"""A piece with more than this of the typical light belongs to the trail."""
_LEAST_LIT, _LEAST_EVEN, _LEAST_BALANCE = 0.8, 0.4, 0.5
"""Share of pieces that are lit; faintest third over brightest third; light above the brighter side over that above the
darker one."""
_FEWEST_PIECES = 5


@dataclass(frozen=True)
class Line:
    """A straight line from one edge of a square map to the other."""

    x0: float
    y0: float
    x1: float
    y1: float
    half_width: float
    """Of its light on either side of the middle."""
    significance: float = math.nan

    @property
    def direction(self) -> tuple[float, float]:
        """Unit vector (x, y) from its beginning to its end."""
        length = math.hypot(self.x1 - self.x0, self.y1 - self.y0)
        return (self.x1 - self.x0) / length, (self.y1 - self.y0) / length

    @property
    def axis_degrees(self) -> float:
        """Its angle to the nearer one of rows and columns, 0 to 45."""
        x, y = self.direction
        return math.degrees(math.atan2(min(abs(x), abs(y)), max(abs(x), abs(y))))


@dataclass(frozen=True)
class Ridge:
    """The part of a line that is a trail."""

    line: Line
    start: tuple[float, float]
    """(x, y)"""
    end: tuple[float, float]
    width: float
    """Full width at half maximum."""


def offsets(line: Line, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each of the map's pixels from the line's beginning, along it, and from the line, both (y, x)."""
    x, y = np.arange(shape[1]) - line.x0, np.arange(shape[0])[:, None] - line.y0
    dx, dy = line.direction
    return x * dx + y * dy, y * dx - x * dy


@dataclass(frozen=True, eq=False)
class _Pieces:
    """The light near a line, in pieces along it."""

    of_pixel: np.ndarray
    """(n,) which piece a pixel near the line lies in."""
    along: np.ndarray
    across: np.ndarray
    value: np.ndarray
    """(n,) of these pixels."""
    known: np.ndarray
    """(p,) whether a piece has pixels on the line and on both sides."""
    above_left: np.ndarray
    above_right: np.ndarray
    """(p,) light of the line above that of its sides."""

    @property
    def ridge(self) -> np.ndarray:
        """(p,) light above the mean of both sides, 0 where unknown."""
        return np.where(self.known, 0.5 * (self.above_left + self.above_right), 0.0)


def follow(light: np.ndarray, weight: np.ndarray, line: Line, least_length: float) -> Ridge | None:
    """The trail along ``line``, or None where its light is not a trail's.

    ``light`` and ``weight`` (0 or 1) are (y, x), the line is ``centred`` on its light; a trail is at least
    ``least_length`` pixels long.
    """
    pieces = _pieces(light, weight, line)
    ridge = pieces.ridge
    if pieces.known.sum() < _FEWEST_PIECES:
        return None
    brighter = ridge[pieces.known] >= np.median(ridge[pieces.known])
    typical = float(np.median(ridge[pieces.known][brighter]))
    start, stop = _best_run(np.where(pieces.known, ridge - 0.5 * typical, 0.0))
    run = pieces.known & (np.arange(len(ridge)) >= start) & (np.arange(len(ridge)) < stop)
    if (stop - start) * _PIECE < least_length or run.sum() < _FEWEST_PIECES or not _is_even(pieces, run):
        return None
    dx, dy = line.direction
    on_run = run[pieces.of_pixel]
    middle = pieces.along[on_run & (np.abs(pieces.across) <= line.half_width + 0.5)]
    begin, end = float(middle.min()) - 0.5, float(middle.max()) + 0.5
    return Ridge(
        line,
        (line.x0 + begin * dx, line.y0 + begin * dy),
        (line.x0 + end * dx, line.y0 + end * dy),
        _width(pieces.across[on_run], pieces.value[on_run]),
    )


def _pieces(light: np.ndarray, weight: np.ndarray, line: Line) -> _Pieces:
    along, across = offsets(line, light.shape)
    near = (np.abs(across) <= _REACH) & (weight > 0)
    along, across, value = along[near], across[near], light[near]
    number = np.floor(along / _PIECE).astype(np.int64)
    number -= int(number.min(initial=0))
    count = int(number.max(initial=-1)) + 1
    sides = np.abs(across) >= line.half_width + 2.0
    means, fewest = [], np.full(count, np.inf)
    for part in (np.abs(across) <= line.half_width + 0.5, sides & (across < 0), sides & (across > 0)):
        pixels = np.bincount(number[part], minlength=count)
        means.append(np.bincount(number[part], value[part], minlength=count) / np.maximum(pixels, 1))
        fewest = np.minimum(fewest, pixels)
    middle, left, right = means
    return _Pieces(number, along, across, value, fewest >= 0.5 * _PIECE, middle - left, middle - right)


def _is_even(pieces: _Pieces, run: np.ndarray) -> bool:
    """Whether the run of pieces, (p,) bool, is lit throughout, evenly, and as bright above either side."""
    ridge = pieces.ridge[run]
    thirds = [float(np.median(third)) for third in np.array_split(ridge, 3)]
    less, more = sorted((float(np.mean(pieces.above_left[run])), float(np.mean(pieces.above_right[run]))))
    return (
        float(np.mean(ridge > _LIT * np.median(ridge))) >= _LEAST_LIT
        and min(thirds) >= _LEAST_EVEN * max(thirds)
        and less >= _LEAST_BALANCE * more
    )


def centred(light: np.ndarray, weight: np.ndarray, line: Line) -> Line:
    """The line moved onto the light near it."""
    return _through_centroids(light, weight, _through_centroids(light, weight, line))


def _through_centroids(light: np.ndarray, weight: np.ndarray, line: Line) -> Line:
    """A straight line through the centroids of the light near ``line``, piece by piece."""
    along, across = offsets(line, light.shape)
    near = (np.abs(across) <= line.half_width + 2.0) & (weight > 0)
    along, across = along[near], across[near]
    bright = np.maximum(light[near], 0.0)
    if bright.sum() <= 0:
        return line
    number = np.floor(along / _PIECE).astype(np.int64)
    number -= int(number.min())
    total = np.bincount(number, bright)
    used = total > 0
    place = np.bincount(number, bright * across)[used] / total[used]
    middle = np.bincount(number, along)[used] / np.bincount(number)[used]
    if len(middle) < _FEWEST_PIECES:
        return line
    weight_of = np.sqrt(np.minimum(total[used], np.median(total[used])))
    slope, shift = (float(value) for value in np.polyfit(middle, place, 1, w=weight_of))
    dx, dy = line.direction
    length = math.hypot(line.x1 - line.x0, line.y1 - line.y0)
    # A place at distance u across lies at (-dy, dx) * u from the line.
    end = shift + slope * length
    return replace(line, x0=line.x0 - dy * shift, y0=line.y0 + dx * shift, x1=line.x1 - dy * end, y1=line.y1 + dx * end)


def _best_run(gain: np.ndarray) -> tuple[int, int]:
    """Where the sum of ``gain``, (p,), over neighbours is largest: first and last + 1."""
    best, start, total, run = 0.0, 0, 0.0, (0, 0)
    for i, value in enumerate(gain):
        if total <= 0:
            start, total = i, 0.0
        total += float(value)
        if total > best:
            best, run = total, (start, i + 1)
    return run


def _width(across: np.ndarray, value: np.ndarray) -> float:
    """Full width at half maximum of the light across a line, its median along it taken in steps of half a pixel."""
    step = np.rint(across / _STEP).astype(np.int64)
    places = np.arange(step.min(), step.max() + 1)
    profile = np.array([np.median(value[step == place]) if (step == place).any() else 0.0 for place in places])
    distance = places * _STEP
    profile = profile - np.median(profile[np.abs(distance) > 0.5 * _REACH])
    inner = np.abs(distance) <= 0.5 * _REACH
    half = 0.5 * profile[inner].max()
    return float(_STEP * np.count_nonzero(profile[inner] > half))
