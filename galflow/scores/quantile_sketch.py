"""A quantile sketch that merges exactly: the distribution of a run's scores in some thousand counts.

It refuses to merge sketches of different accuracies, and to give quantiles of nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.errors import SpecError
from galflow.scores.distributions import Aggregate, FloatArray, IntArray, split_finite

_KEY_ZERO = 1 << 40
"""Larger than any bucket index of a float64 down to an accuracy of 1e-8, so that keys order as values do."""


@dataclass(frozen=True, eq=False)
class QuantileSketch(Aggregate):
    """Quantiles to a declared relative accuracy from counts in logarithmic buckets (DDSketch, Masson+19).

    Bucket i holds gamma^(i-1) < x <= gamma^i with gamma = (1 + a) / (1 - a); negative values mirror it, zero has its
    own. Nothing is ever collapsed, so merging is exact; a sketch of scores has some thousand buckets.
    """

    accuracy: float
    keys: IntArray
    """(m,) increasing: _KEY_ZERO + i for positive, 0 for zero, -(_KEY_ZERO + i) for negative values."""
    counts: IntArray
    minimum: float = math.inf
    maximum: float = -math.inf
    non_finite: int = 0

    @classmethod
    def empty(cls, accuracy: float = 0.01) -> QuantileSketch:
        """No values; quantiles will be within ``accuracy`` * |value|."""
        if not 1e-6 <= accuracy < 1:
            raise SpecError(
                f"sketch accuracy is {accuracy}; give a relative accuracy from 1e-6 to below 1, such as 0.01"
            )
        return cls(accuracy, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))

    @property
    def count(self) -> int:
        """Finite values added."""
        return int(self.counts.sum())

    @property
    def _log_gamma(self) -> float:
        return math.log1p(self.accuracy) - math.log1p(-self.accuracy)

    def add(self, values: npt.ArrayLike) -> QuantileSketch:
        """With ``values`` (any shape) added."""
        finite, bad = split_finite(values)
        size = np.abs(finite)
        index = np.ceil(np.log(np.where(size > 0, size, 1.0)) / self._log_gamma).astype(np.int64)
        keys = np.sign(finite).astype(np.int64) * (_KEY_ZERO + index)
        unique, counts = np.unique(keys, return_counts=True)
        low, high = float(np.min(finite, initial=math.inf)), float(np.max(finite, initial=-math.inf))
        return self.merge(QuantileSketch(self.accuracy, unique, counts.astype(np.int64), low, high, bad))

    def merge(self, other: QuantileSketch) -> QuantileSketch:
        """Sums per bucket; the accuracies must be equal."""
        if self.accuracy != other.accuracy:
            raise SpecError(
                f"sketches of accuracy {self.accuracy} and {other.accuracy} do not merge; declare one accuracy per run"
            )
        keys, place = np.unique(np.concatenate([self.keys, other.keys]), return_inverse=True)
        counts = np.zeros(keys.size, dtype=np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        low, high = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        return QuantileSketch(self.accuracy, keys, counts, low, high, self.non_finite + other.non_finite)

    def quantiles(self, q: Sequence[float] | FloatArray) -> FloatArray:
        """Estimates of the values at ranks floor(q (n - 1)), each within the accuracy; q = 0 and 1 are exact."""
        at = np.asarray(q, dtype=np.float64)
        if not self.count or not np.all((at >= 0) & (at <= 1)):
            raise SpecError(
                f"quantiles {q!r} of {self.count} values do not exist; give 0 <= q <= 1 of at least one value"
            )
        bucket = np.searchsorted(np.cumsum(self.counts), np.floor(at * (self.count - 1)), side="right")
        key = self.keys[bucket]
        middle = math.log(2.0 / (1.0 + math.exp(self._log_gamma)))
        size = np.exp((np.abs(key) - _KEY_ZERO) * self._log_gamma + middle)
        estimate = np.clip(np.where(key == 0, 0.0, np.sign(key) * size), self.minimum, self.maximum)
        return np.where(at == 0, self.minimum, np.where(at == 1, self.maximum, estimate))

    def to_json(self) -> dict[str, Any]:
        """Buckets as lists; the extremes of no values are null."""
        low, high = (self.minimum, self.maximum) if self.counts.size else (None, None)
        out: dict[str, Any] = {"accuracy": self.accuracy, "keys": self.keys.tolist(), "counts": self.counts.tolist()}
        return out | {"minimum": low, "maximum": high, "non_finite": self.non_finite}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> QuantileSketch:
        """The inverse of ``to_json``."""
        keys, counts = (np.asarray(value[name], dtype=np.int64) for name in ("keys", "counts"))
        low = math.inf if value["minimum"] is None else value["minimum"]
        high = -math.inf if value["maximum"] is None else value["maximum"]
        return cls(value["accuracy"], keys, counts, low, high, value["non_finite"])
