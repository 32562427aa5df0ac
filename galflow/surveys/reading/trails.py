"""Straight trails of satellites and aeroplanes across a whole image, found in its pixels where no mask tells of them.

The image is averaged into bins (galflow.surveys.reading.binned_map), sources clipped. All straight lines through the
bins are summed at once (galflow.surveys.reading.radon), each is compared with those on either side of it, and one that
stands out further than chance allows among all of them is followed along its length
(galflow.surveys.reading.ridge): a trail is narrow, as bright at its end as at its beginning, and as dark on one side as
on the other. An edge has one dark side, a galaxy and a star's spike are short or fade. A line within a degree of the
rows or columns is taken for the detector's (a gap, a dead or hot column, charge that bleeds), even where it is the
trail of a geostationary satellite. Trails shorter than a quarter of the image are not looked for. No mask is changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from galflow.constants import SIGMA_PER_MAD
from galflow.surveys.base import Image
from galflow.surveys.reading.binned_map import BinnedMap, bin_image
from galflow.surveys.reading.radon import line_sums
from galflow.surveys.reading.ridge import Line, centred, follow

SMALLEST_SIDE = 128
"""Pixels; in a smaller image no line is long enough to be told from a chain of sources."""
AXIS_DEGREES = 1.0
"""Lines this close to rows or columns are the detector's."""
_CHANCE = 1e-3
"""Of a line that noise makes somewhere in an image."""
_MOST_ROUNDS = 8
"""Lines taken out one after another, trails or not."""
_HALF_WIDTHS = (0, 1)
"""Bins on each side of a line's middle that belong to it."""
_MOST_OF_DETECTOR = 16
"""Lines along rows and columns that are taken out at once."""
_LEAST_LENGTH = 0.25
"""Of the image's shorter side."""


@dataclass(frozen=True)
class Trail:
    """A straight segment in 0-based pixels, with its width."""

    x0: float
    y0: float
    x1: float
    y1: float
    width_pixels: float
    """Full width at half maximum, at least one pixel."""
    significance: float
    """Robust standard deviations above all lines of the image."""


def find_trails(image: Image, level: float, sigma: float) -> tuple[Trail, ...]:
    """The trails of one image, brightest first; nothing where its noise is not known or it is too small.

    ``level`` and ``sigma`` are those of its sky (galflow.surveys.reading.sky).
    """
    if min(image.flux.shape) < SMALLEST_SIDE or not (math.isfinite(sigma) and sigma > 0):
        return ()
    binned = bin_image(image, level, sigma)
    trails: list[Trail] = []
    for _ in range(_MOST_ROUNDS):
        lines = _outstanding(binned)
        if not lines:
            break
        line = centred(binned.light, binned.weight, lines[0])
        if line.axis_degrees >= AXIS_DEGREES:
            lines = [line]
            ridge = follow(binned.light, binned.weight, line, _LEAST_LENGTH * min(binned.light.shape))
            if ridge is not None:
                start, end = binned.pixel(*ridge.start), binned.pixel(*ridge.end)
                trails.append(Trail(*start, *end, max(1.0, ridge.width * binned.side), line.significance))
        for each in lines:
            binned.forget(each)
    return tuple(sorted(trails, key=lambda trail: -trail.significance))


def _outstanding(binned: BinnedMap) -> list[Line]:
    """The line that stands out most of all, if any does; where it is the detector's, all of these that stand out."""
    size = binned.size
    planes = np.zeros((2, size, size), np.float32)
    planes[:, : binned.light.shape[0], : binned.light.shape[1]] = binned.light, binned.weight
    turned = np.stack([_turned(planes, quarter) for quarter in range(4)])
    sums = line_sums(turned.reshape(8, size, size)).reshape(4, 2, size, -1)
    best: list[Line] = []
    for half_width in _HALF_WIDTHS:
        excess = _excess(sums, half_width, _LEAST_LENGTH * min(binned.light.shape))
        if excess is None:
            continue
        lines = _highest(excess, half_width, size)
        if lines and (not best or lines[0].significance > best[0].significance):
            best = lines
    return best


def _turned(planes: np.ndarray, quarter: int) -> np.ndarray:
    """The map as ``line_sums`` sees each quarter of all directions."""
    planes = planes.transpose(0, 2, 1) if quarter >= 2 else planes
    return planes[..., ::-1] if quarter % 2 else planes


def _line(quarter: int, shift: int, column: int, size: int) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 in the map of a line of ``line_sums``."""
    ends = [(float(column), 0.0), (float(column + shift), float(size - 1))]
    if quarter % 2:
        ends = [(size - 1 - across, down) for across, down in ends]
    if quarter >= 2:
        ends = [(down, across) for across, down in ends]
    return (*ends[0], *ends[1])


def _excess(sums: np.ndarray, half_width: int, least: float) -> np.ndarray | None:
    """How far each line stands out from those at its sides, in robust standard deviations; -inf where it is too short.

    ``sums``: (4, 2, N, C) of light and weight.
    """
    light, weight = sums[:, 0], sums[:, 1]
    if half_width:
        # A broad line is seen in every other direction, too.
        light, weight = (s[:, ::2, 2:] + s[:, ::2, 1:-1] + s[:, ::2, :-2] for s in (light, weight))
    apart = 2 * half_width + 2
    mean = light / np.maximum(weight, 1.0)
    middle = slice(apart, -apart)
    sides, either = np.maximum(mean[..., : -2 * apart], mean[..., 2 * apart :]), weight[..., middle]
    for side in (slice(None, -2 * apart), slice(2 * apart, None)):
        either = np.minimum(either, weight[..., side])
    excess = (mean[..., middle] - sides) * np.sqrt(either)
    long = either >= least * (2 * half_width + 1)
    values = excess[long][::17]
    if len(values) < 100:
        return None
    centre = np.median(values)
    scatter = SIGMA_PER_MAD * np.median(np.abs(values - centre))
    if not scatter > 0:
        return None
    return np.where(long, (excess - centre) / scatter, -np.inf)


def _highest(excess: np.ndarray, half_width: int, size: int) -> list[Line]:
    """The most outstanding line above what chance allows; if it is the detector's, all of the detector's."""
    threshold = -NormalDist().inv_cdf(_CHANCE / excess.size)
    lines: list[Line] = []
    least_column = 3 * half_width + 2 - (size - 1)
    near_axis = int(math.tan(math.radians(AXIS_DEGREES)) * (size - 1)) + 1
    step = 2 if half_width else 1
    while len(lines) < _MOST_OF_DETECTOR:
        quarter, shift, column = (int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))
        if not excess[quarter, shift, column] > threshold:
            break
        ends = _line(quarter, shift * step, column + least_column, size)
        line = Line(*ends, half_width, float(excess[quarter, shift, column]))
        if line.axis_degrees >= AXIS_DEGREES:
            return lines or [line]
        lines.append(line)
        excess = excess[:, :near_axis]
        excess[quarter, :, max(0, column - 3) : column + 4] = -np.inf
    return lines
