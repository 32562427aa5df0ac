"""Right ascension as an axis of a map: a circle, which is cut where it is not looked at rather than at 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

RA = "ra"
CIRCLE = 360.0
STEP = 0.1
"""Degrees: gaps between objects are told to this."""
LEAST_GAP = 10.0
"""Degrees without an object: where a narrower gap is the widest, objects lie all around."""


@dataclass(frozen=True)
class Cut:
    """Where right ascension is cut, so that it lies between the ends of what a map shows."""

    seam: float
    """What lies west of it is a turn farther east."""
    turns: float
    """Whole turns in degrees."""

    def of(self, degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Right ascensions by whole turns."""
        return np.where(degrees < self.seam, degrees + (self.turns + CIRCLE), degrees + self.turns)


def cut_of(name: str, low: float, high: float) -> Cut | None:
    """The cut of the column ``name``, of which ``low`` to ``high`` are looked at; None: it is no circle, or in one."""
    start = low if high - low < CIRCLE else (low + high - CIRCLE) / 2
    turns = math.floor(start / CIRCLE) * CIRCLE
    seam = start - turns
    inside = turns == 0 and (high <= CIRCLE or seam == 0)
    return None if name != RA or inside else Cut(seam, turns)


def along(values: npt.NDArray[Any], cut: Cut | None) -> npt.NDArray[np.float64]:
    """Values of a column as they lie along an axis."""
    plain = np.asarray(values, np.float64)
    return plain if cut is None else cut.of(plain)


def field_begins(bins: npt.NDArray[np.integer]) -> float:
    """Where, going east, the objects begin after the widest gap, in degrees; 0 if that gap holds 0.

    ``bins``: in which steps of right ascension, from 0, there are objects.
    """
    filled = np.unique(bins)
    steps = round(CIRCLE / STEP)
    if not len(filled):
        return 0.0
    gaps = np.diff(filled, append=filled[0] + steps)
    widest = int(np.argmax(gaps))
    first_after = filled[(widest + 1) % len(filled)]
    crosses = widest < len(filled) - 1 and gaps[widest] > max(LEAST_GAP / STEP, gaps[-1])
    return float(first_after * STEP) if crosses else 0.0
