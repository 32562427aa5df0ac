"""Ranking anew by what people labelled, and which object to show next.

A logistic regression on what the run knows of each object, with little freedom (tens of labels, tens of numbers), tells
how probable it is that people call the object interesting. The first ``FIRST`` objects shown, and all as long as there
is not both an interesting one and another, are in turn what the run ranks first and an even draw of all: a ranking that
finds little must not be all that is learnt from. Then come, in turn, two of the most promising (the most probable) and
the most uncertain one (nearest to one half): the first find, the last teaches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from galflow.constants import SIGMA_PER_MAD
from galflow.errors import SpecError

FIRST = 10
"""Labels before what is shown next depends on them."""
FREEDOM = 0.02
"""Inverse strength of the penalty on the weights (scikit-learn's C), of features in robust standard deviations."""
FARTHEST = 5.0
"""Robust standard deviations at which a feature is cut off."""
PROMISING, UNCERTAIN, RANKED, DRAWN = "promising", "uncertain", "ranked", "drawn"
BEGINNING, MIXED = (RANKED, DRAWN), (PROMISING, PROMISING, UNCERTAIN)
"""What is shown in turn: first, and then."""
_SEED = 0


@dataclass(frozen=True, eq=False)
class FeatureScale:
    """Median and robust standard deviation of each feature among all candidates."""

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> FeatureScale:
        """(N, F), NaN where unknown. A feature that never varies, or is never known, counts for nothing."""
        known = np.isfinite(features)
        some = known.any(0)
        values = np.where(known, features, np.nan)[:, some].astype(np.float64)
        centre, scale = np.zeros(features.shape[1]), np.full(features.shape[1], np.inf)
        if some.any() and len(values):
            centre[some] = np.nanmedian(values, 0)
            robust = SIGMA_PER_MAD * np.nanmedian(np.abs(values - centre[some]), 0)
            spread = np.where(robust > 0, robust, np.nanstd(values, 0))
            scale[some] = np.where(spread > 0, spread, np.inf)
        return cls(centre, scale)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(N, F) in robust standard deviations within +-FARTHEST; 0 where unknown."""
        scaled = (features - self.centre) / self.scale
        return np.clip(np.nan_to_num(scaled, nan=0.0), -FARTHEST, FARTHEST)


def probabilities(
    scaled: np.ndarray, labelled: np.ndarray, interesting: np.ndarray, freedom: float = FREEDOM
) -> np.ndarray | None:
    """(N,) probability that each object is interesting, from rows ``labelled`` and whether each of them is; both (n,).

    None as long as all labelled ones are alike.
    """
    if len(np.unique(interesting)) < 2 or not scaled.shape[1]:
        return None
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=freedom, class_weight="balanced", max_iter=1000)
    model.fit(scaled[labelled], interesting)
    return np.asarray(model.predict_proba(scaled)[:, 1])


@dataclass(frozen=True, eq=False)
class Reranked:
    """Candidates, what is said of some of them, and what follows for the others."""

    scaled: np.ndarray
    """(N, F) features of the candidates, from ``FeatureScale``; in the order in which the run ranks them."""
    labels: Mapping[int, bool]
    """Row -> whether people call it interesting, in the order in which they did; disputed ones are left out."""
    freedom: float = FREEDOM

    @cached_property
    def probability(self) -> np.ndarray | None:
        """(N,); None: the labels do not tell yet."""
        rows = np.fromiter(self.labels, np.int64, len(self.labels))
        return probabilities(self.scaled, rows, np.fromiter(self.labels.values(), bool, len(self.labels)), self.freedom)

    @property
    def order(self) -> np.ndarray:
        """Rows, the most interesting first: those called so, then all unlabelled by probability, then the others.

        Where the labels do not tell yet the unlabelled stay in the run's order.
        """
        value = np.zeros(len(self.scaled)) if self.probability is None else self.probability.copy()
        for row, interesting in self.labels.items():
            value[row] = 2.0 if interesting else -1.0
        return np.argsort(-value, kind="stable")

    def next_rows(self, n: int, hidden: np.ndarray, shown: int, rule: tuple[str, ...] = MIXED) -> list[int]:
        """``n`` rows to show next, none that is ``hidden`` (N,) bool; ``shown`` so many were labelled before.

        ``rule``: kinds of choice, in turn, after the beginning.
        """
        if unknown := sorted(set(rule) - {PROMISING, UNCERTAIN, RANKED, DRAWN}):
            raise SpecError(
                f"{unknown[0]!r} is no way to choose; expected {PROMISING}, {UNCERTAIN}, {RANKED} or {DRAWN}"
            )
        taken, probability = hidden.copy(), self.probability
        chosen: list[int] = []
        for turn in range(shown, shown + min(n, int((~hidden).sum()))):
            began = probability is not None and turn >= FIRST
            row = self._choice((rule if began else BEGINNING)[turn % len(rule if began else BEGINNING)], taken)
            chosen.append(row)
            taken[row] = True
        return chosen

    def _choice(self, kind: str, taken: np.ndarray) -> int:
        free = np.flatnonzero(~taken)
        if kind == DRAWN:
            drawn = np.random.default_rng(_SEED).permutation(len(taken))
            return int(drawn[~taken[drawn]][0])
        if self.probability is None or kind == RANKED:
            return int(free[0])
        value = self.probability[free]
        return int(free[np.argmax(value) if kind == PROMISING else np.argmin(np.abs(value - 0.5))])


@dataclass(frozen=True)
class Gain:
    """What labelling found so far, beside what going down the run's own ranking would have found."""

    found: tuple[int, ...]
    """Interesting objects among the first 1, 2, ... labelled."""
    plain: tuple[float, ...]
    """Among the first 1, 2, ... that the run ranks: those called interesting, and of the unlabelled as many as are
    expected by their probability: rather too many, since the classes weigh alike in it."""

    @classmethod
    def of(cls, reranked: Reranked) -> Gain:
        """Of all labels so far."""
        count = len(reranked.labels)
        rows = range(min(count, len(reranked.scaled)))
        expected = reranked.probability
        plain = [float(reranked.labels.get(r, 0.0 if expected is None else float(expected[r]))) for r in rows]
        found = np.cumsum(np.fromiter(reranked.labels.values(), np.int64, count))
        return cls(tuple(found.tolist()), tuple(np.round(np.cumsum(plain), 2).tolist()))
