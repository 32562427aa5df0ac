"""Fractions of objects with their intervals: how much of a sample is inconsistent, how many planted ones are found.

Plain numpy on scores where HIGHER = MORE ANOMALOUS. This file refuses scores that are not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.errors import SpecError
from galflow.scores.calibration import Reference, finite_scores


def error_of_mean(values: Sequence[float], confidence: float) -> float:
    """Half the width of the interval of the mean of a few values, by Student's t; 0 of a single one."""
    if len(values) < 2:
        return 0.0
    from scipy.stats import t

    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return float(t.ppf(0.5 + confidence / 2, len(values) - 1)) * error


@dataclass(frozen=True)
class Fraction:
    """A fraction of n objects with its 95% Wilson interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, count: int, n: int) -> Fraction:
        """``count`` of ``n`` objects, with the 95% score interval of Wilson (1927, JASA 22, 209)."""
        if not 0 <= count <= n or n < 1:
            raise SpecError(f"{count} of {n} is no fraction; give 0 <= count <= n with at least one object")
        from scipy.stats import binomtest

        interval = binomtest(count, n).proportion_ci(0.95, method="wilson")
        # At count = 0 or n one end is exactly 0 or 1; rounding must not push it past the value.
        return cls(count / n, min(float(interval.low), count / n), max(float(interval.high), count / n), n)

    @classmethod
    def over_trainings(cls, found: Sequence[Fraction]) -> Fraction:
        """The mean of several trainings' fractions of the same objects, with their scatter in the interval."""
        value = float(np.mean([one.value for one in found]))
        scatter = error_of_mean([one.value for one in found], 0.95)
        below, above = (
            float(np.mean(ends)) for ends in ([f.value - f.low for f in found], [f.high - f.value for f in found])
        )
        low, high = value - math.hypot(below, scatter), value + math.hypot(above, scatter)
        return cls(value, max(0.0, low), min(1.0, high), found[0].n)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def inconsistent_fraction(scores: npt.ArrayLike, reference: Reference, level: float) -> Fraction:
    """ "Percentage of inconsistent images" (as a fraction): scores above the (1 - level) quantile of the reference.

    The quantile is the smallest reference score with at least 1 - level of the reference at or below it, so at most
    ``level`` of the reference itself is inconsistent (Margalef-Bentabol+20, MNRAS 496, 2346).
    """
    values = finite_scores(scores, "scores")
    return Fraction.of(int(np.count_nonzero(values > inconsistent_above(reference, level))), values.size)


def inconsistent_above(reference: Reference, level: float) -> float:
    """The quantile of ``inconsistent_fraction``, for whoever counts scores part by part."""
    if not 0 < level < 1:
        raise SpecError(f"level is {level}; it must lie between 0 and 1, such as 0.05")
    return float(np.quantile(reference.scores, 1.0 - level, method="inverted_cdf"))


def recall_in_top(scores: npt.ArrayLike, is_planted: npt.ArrayLike, fraction: float = 0.05) -> Fraction:
    """How many of the planted objects are among the top ``fraction`` of all objects by score.

    The top holds k = floor(fraction * n) objects. Ties are counted against the method: an object is in the top only if
    it would be there however ties were broken, that is if at most k objects score as high as it or higher.
    """
    values, planted = finite_scores(scores, "scores"), np.asarray(is_planted)
    if planted.dtype != np.bool_ or planted.shape != values.shape:
        raise SpecError(f"is_planted is {planted.dtype} {planted.shape}; expected bool of shape {values.shape}")
    k = math.floor(fraction * values.size + 1e-9)  # 0.29 * 100 is 28.999999999999996
    if not 0 < fraction <= 1 or k < 1 or not planted.any():
        raise SpecError(
            f"the top {fraction} of {values.size} objects with {int(planted.sum())} planted cannot be examined; "
            "give a fraction in (0, 1] that holds at least one object, and at least one planted object"
        )
    as_high = values.size - np.searchsorted(np.sort(values), values, side="left")
    return Fraction.of(int(np.count_nonzero(planted & (as_high <= k))), int(planted.sum()))
