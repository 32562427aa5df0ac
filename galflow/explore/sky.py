"""Right ascension as an axis of a map: a circle, which is cut where it is not looked at rather than at 0."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

RA = "ra"
CIRCLE = 360.0
STEP = 0.1
"""Degrees: gaps between objects are told to this."""


LEAST_GAP = 10.0
"""Degrees without an object: where a narrower gap is the widest, objects lie all around."""


class Axis(NamedTuple):
    """A value of each row, in SQL, with what stands in it."""

    sql: str
    parameters: dict[str, float]


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


def turned(axis: str, name: str, sql: str, low: float, high: float) -> Axis:
    """The column ``name``, of which a map shows ``low`` to ``high``: right ascension by whole turns, to lie in there.

    ``axis``: x or y, for the names of parameters.
    """
    start = low if high - low < CIRCLE else (low + high - CIRCLE) / 2
    turns = math.floor(start / CIRCLE) * CIRCLE
    seam = start - turns
    if name != RA or (turns == 0 and (high <= CIRCLE or seam == 0)):
        return Axis(sql, {})
    moved = f"({sql} + ${axis}_turns + CASE WHEN {sql} < ${axis}_seam THEN {CIRCLE} ELSE 0.0 END)"
    return Axis(moved, {f"{axis}_turns": turns, f"{axis}_seam": seam})
