"""Distributions of scores that merge: every part of a run adds its values, and parts combine in any order or grouping.

Counts and histograms merge exactly. All are small, frozen values. This file refuses to mix what is not
finite in with numbers: such values are counted apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from galflow.errors import SpecError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def split_finite(values: npt.ArrayLike) -> tuple[FloatArray, int]:
    """The finite values, flat, and how many were not."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    finite = np.isfinite(flat)
    return flat[finite], int(flat.size - np.count_nonzero(finite))


class Aggregate(ABC):
    """A small summary of many values. Two are equal when they would be written the same."""

    @abstractmethod
    def merge(self, other: Self) -> Self:
        """The summary of both sets of values."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values that JSON keeps exactly; each class has ``from_json`` as the inverse."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Aggregate) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # holds arrays


@dataclass(frozen=True, eq=False)
class Counts(Aggregate):
    """How often each name occurred (outcomes, flags)."""

    by_name: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> Counts:
        """Nothing counted."""
        return cls({})

    def add(self, names: Iterable[str]) -> Counts:
        """With each of ``names`` counted once more."""
        unique, count = np.unique(np.asarray(list(names), dtype=str), return_counts=True)
        return self.merge(Counts(dict(zip(unique.tolist(), count.tolist(), strict=True))))

    def merge(self, other: Counts) -> Counts:
        """Sums per name, names sorted."""
        names = sorted({*self.by_name, *other.by_name})
        return Counts({name: self.by_name.get(name, 0) + other.by_name.get(name, 0) for name in names})

    def to_json(self) -> dict[str, Any]:
        """``{"by_name": {name: count}}``."""
        return {"by_name": dict(self.by_name)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Counts:
        """The inverse of ``to_json``."""
        return cls({str(name): int(count) for name, count in value["by_name"].items()})


@dataclass(frozen=True, eq=False)
class Histogram(Aggregate):
    """Counts between fixed edges: bins [edge, next edge), the last one closed, as numpy's."""

    edges: FloatArray
    counts: IntArray
    """(len(edges) + 1,): below the first edge, each bin, above the last edge."""
    non_finite: int = 0

    @classmethod
    def empty(cls, edges: npt.ArrayLike) -> Histogram:
        """No values, between ``edges`` (at least two, finite, increasing)."""
        values = np.asarray(edges, dtype=np.float64)
        if values.ndim != 1 or values.size < 2 or not np.all(np.isfinite(values)) or np.any(np.diff(values) <= 0):
            raise SpecError(f"histogram edges {edges!r} are unusable; give two or more finite, increasing numbers")
        return cls(values, np.zeros(values.size + 1, dtype=np.int64))

    @property
    def bins(self) -> IntArray:
        """(len(edges) - 1,) counts within the edges."""
        return self.counts[1:-1]

    @property
    def underflow(self) -> int:
        """Values below the first edge."""
        return int(self.counts[0])

    @property
    def overflow(self) -> int:
        """Values above the last edge."""
        return int(self.counts[-1])

    def add(self, values: npt.ArrayLike) -> Histogram:
        """With ``values`` (any shape) added."""
        finite, bad = split_finite(values)
        place = np.searchsorted(self.edges, finite, side="right")
        place[finite == self.edges[-1]] = self.edges.size - 1
        counts = self.counts + np.bincount(place, minlength=self.counts.size)
        return Histogram(self.edges, counts, self.non_finite + bad)

    def merge(self, other: Histogram) -> Histogram:
        """Sums per bin; the edges must be equal."""
        if not np.array_equal(self.edges, other.edges):
            raise SpecError(
                f"histograms with {self.edges.size} edges from {self.edges[0]} to {self.edges[-1]} and with "
                f"{other.edges.size} from {other.edges[0]} to {other.edges[-1]} do not merge; fix the edges per run"
            )
        return Histogram(self.edges, self.counts + other.counts, self.non_finite + other.non_finite)

    def to_json(self) -> dict[str, Any]:
        """Edges and counts as lists."""
        return {"edges": self.edges.tolist(), "counts": self.counts.tolist(), "non_finite": self.non_finite}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Histogram:
        """The inverse of ``to_json``."""
        counts = np.asarray(value["counts"], dtype=np.int64)
        return cls(np.asarray(value["edges"], dtype=np.float64), counts, value["non_finite"])
