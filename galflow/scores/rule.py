"""The rule by which a run ranks its objects: one score, or several joined, as galflow.scores.evidence chose it.

A rule takes robust sigmas, which every score has whatever its own unit, and gives one number, HIGHER = MORE ANOMALOUS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from galflow.errors import SpecError
from galflow.spec.repeats import first_training

FloatArray = npt.NDArray[np.float64]
Join = Literal["sum", "max"]


@dataclass(frozen=True)
class Term:
    """What one score contributes."""

    column: str
    """The score, as wgan_anomaly."""
    two_sided: bool = False
    """Whether values far below the reference's median count as much as values far above it: what is too simple (a lost
    area, a constant frame) may be an anomaly too."""
    weight: float = 1.0

    @property
    def name(self) -> str:
        """The score; between bars where its size counts alone."""
        return f"|{self.column}|" if self.two_sided else self.column


@dataclass(frozen=True)
class RankingRule:
    """One term: its sigmas as they are. Several: the weighted sum of their arcsinh, or the largest of them.

    The arcsinh keeps the order of each score and lets no single one decide by an outlier of a thousand sigmas.
    """

    terms: tuple[Term, ...]
    join: Join = "sum"

    def __post_init__(self) -> None:
        if not self.terms:
            raise SpecError("a ranking rule needs at least one score; give it a Term")

    @classmethod
    def of(cls, column: str) -> RankingRule:
        """Ranking by one score."""
        return cls((Term(column),))

    @classmethod
    def mean(cls, columns: Sequence[str], two_sided: bool = False) -> RankingRule:
        """Ranking by the mean of one score's trainings; by the score itself if there is one."""
        return cls(tuple(Term(column, two_sided, 1.0 / len(columns)) for column in columns))

    @property
    def columns(self) -> tuple[str, ...]:
        """The scores that it needs, each once."""
        return tuple(dict.fromkeys(term.column for term in self.terms))

    @property
    def name(self) -> str:
        """In words, as a reader sees it in tables."""
        if len(self.terms) == 1:
            return self.terms[0].name
        first, *others = (replace(term, column=first_training(term.column)) for term in self.terms)
        if self.join == "sum" and all(term == first for term in others):
            return f"{first.name}, mean of {len(self.terms)} trainings"
        if self.join == "max":
            return f"largest of {', '.join(t.name for t in self.terms)}"
        equal = len({term.weight for term in self.terms}) == 1
        parts = [t.name if equal else f"{t.weight:.2f} {t.name}" for t in self.terms]
        return f"{'mean' if equal else 'sum'} of {', '.join(parts)}"

    def values(self, sigma: Mapping[str, FloatArray]) -> FloatArray:
        """(n,) the number that ranks, of (n,) robust sigmas by score; NaN where one of them is."""
        found = [np.abs(sigma[t.column]) if t.two_sided else np.asarray(sigma[t.column]) for t in self.terms]
        if len(found) == 1:
            return found[0]
        if self.join == "max":
            return np.maximum.reduce(found)
        return np.sum([term.weight * np.arcsinh(part) for term, part in zip(self.terms, found, strict=True)], axis=0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"terms": [asdict(term) for term in self.terms], "join": self.join, "name": self.name}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RankingRule:
        """The inverse of ``to_json``."""
        return cls(tuple(Term(**term) for term in value["terms"]), value["join"])


def placed(objects: FloatArray, copies: FloatArray) -> FloatArray:
    """(m,) share of ``objects`` below each of ``copies``, ties half; what is not finite stands at the bottom."""
    sorted_objects = np.sort(np.nan_to_num(objects, nan=-np.inf))
    values = np.nan_to_num(copies, nan=-np.inf)
    below = np.searchsorted(sorted_objects, values, "left") + np.searchsorted(sorted_objects, values, "right")
    return np.asarray(below / (2.0 * len(sorted_objects)), dtype=np.float64)
