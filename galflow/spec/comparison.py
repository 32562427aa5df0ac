"""How samples are matched or paired before they are compared, as a specification says it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field, model_validator

from galflow.spec.part import ColumnName, Part


class MatchSpec(Part):
    """One property of which both samples get equal counts in each cell: magnitude, half-light radius, Sersic index."""

    column: Annotated[str, Field(min_length=1, max_length=200)]
    """A column of numbers that the survey's and every sample's catalogue has, in one unit."""
    bins: Annotated[int, Field(ge=1, le=64)] = 8
    """So many bins, each with as many objects of both samples together; edges takes their place."""
    edges: tuple[float, ...] | None = None
    """Edges of the bins, two or more, increasing, in the column's unit; objects outside are left out and counted."""

    @model_validator(mode="after")
    def _edges_increase(self) -> MatchSpec:
        if self.edges is not None and (len(self.edges) < 2 or any(a >= b for a, b in pairwise(self.edges))):
            raise ValueError(f"edges of {self.column!r} must be two or more increasing numbers")
        return self


class PairSpec(Part):
    """Two comparison samples of the same galaxies, as with and without radiative transfer."""

    first: ColumnName
    """A sample's name."""
    second: ColumnName
    """Another sample's name; differences are of the first minus the second."""
    by: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(min_length=1, max_length=6)]
    """Columns that together name a galaxy (and its camera) alike in both samples, as [subhalo_id, camera]."""


def require_samples(pairs: Sequence[PairSpec], samples: Sequence[str]) -> None:
    """ValueError where a pair names no sample, or one sample twice."""
    for pair in pairs:
        for name in (pair.first, pair.second):
            if name not in samples:
                raise ValueError(
                    f"pairs: {name!r} is no comparison sample; expected one of {', '.join(samples) or 'none'}"
                )
        if pair.first == pair.second:
            raise ValueError(f"pairs: {pair.first!r} is paired with itself; name two samples")
