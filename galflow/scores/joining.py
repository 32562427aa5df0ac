"""Rules that join several scores: the mean or the largest of the best, and a sum with learnt weights.

Weights are learnt on painted anomalies, and judged on kinds that had no part in it: an anomaly of the sky is of no kind
that anybody painted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from galflow.scores.rule import Join, RankingRule, Term, placed

FloatArray = npt.NDArray[np.float64]
_LARGEST = 4
"""At most so many scores are joined by their mean or their largest."""
_LEARNT = 12
"""At most so many scores, on one side or on both, get a learnt weight."""
_LEAST_WEIGHT = 0.02
"""Terms with a smaller share of all weights are left out."""
_STRENGTH = 0.1
"""Inverse of the penalty on squared weights: a few hundred copies do not carry more."""


class JoinedRule(NamedTuple):
    """A rule, and where it places copies of kinds that it has not learnt from."""

    rule: RankingRule
    places: FloatArray
    """(m,) share of the objects that rank below each copy."""


def joined_rules(
    objects: Mapping[str, FloatArray],
    copies: Mapping[str, FloatArray],
    kind: npt.NDArray[np.object_],
    singles: Sequence[RankingRule],
) -> list[JoinedRule]:
    """Joined rules for (n,) objects and (m,) copies of (m,) kinds, both as score -> sigmas.

    ``singles``: rules of one score each, best first. None where there is only one score to join.
    """
    best: dict[tuple[str, ...], RankingRule] = {}
    for rule in singles:
        best.setdefault(rule.columns, rule)
    rules = list(best.values())
    if len(rules) < 2:
        return []
    joins: tuple[Join, ...] = ("sum", "max")
    plain = [_alike(rules[:count], join) for count in range(2, min(_LARGEST, len(rules)) + 1) for join in joins]
    found = [JoinedRule(rule, _placed(rule, objects, copies)) for rule in plain]
    learnt = [term for rule in singles[:_LEARNT] for term in rule.terms]
    taught = _weighed(learnt, objects, copies, np.ones(len(kind), bool))
    if taught is None:
        return found
    places = np.zeros(len(kind))
    for name in sorted(set(map(str, kind))):
        own = kind == name
        without = _weighed(learnt, objects, copies, ~own)
        places[own] = _placed(
            taught if without is None else without, objects, {column: values[own] for column, values in copies.items()}
        )
    return [*found, JoinedRule(taught, places)]


def _alike(rules: Sequence[RankingRule], join: Join) -> RankingRule:
    """Every score with the same weight, however many trainings it has."""
    terms = [replace(t, weight=t.weight / len(rules) if join == "sum" else 1.0) for rule in rules for t in rule.terms]
    return RankingRule(tuple(terms), join)


def _placed(rule: RankingRule, objects: Mapping[str, FloatArray], copies: Mapping[str, FloatArray]) -> FloatArray:
    return placed(rule.values(objects), rule.values(copies))


def _weighed(
    terms: Sequence[Term],
    objects: Mapping[str, FloatArray],
    copies: Mapping[str, FloatArray],
    which: npt.NDArray[np.bool_],
) -> RankingRule | None:
    """A sum of the terms' arcsinh with weights of at least 0 that tell these copies from the objects; None: no weight.

    By logistic regression, in which objects and copies weigh alike together. Scores only ever count as more anomalous.
    """
    from sklearn.linear_model import LogisticRegression

    normal, odd = _features(terms, objects), _features(terms, copies)[which]
    features, labels = np.concatenate([normal, odd]), np.repeat([0, 1], [len(normal), len(odd)])
    scale = np.maximum(features.std(0), np.finfo(float).tiny)
    keep = np.ones(len(terms), bool)
    while keep.any():
        fit = LogisticRegression(C=_STRENGTH, class_weight="balanced", max_iter=1000)
        weights = fit.fit(features[:, keep] / scale[keep], labels).coef_[0] / scale[keep]
        if (weights > 0).all():
            share = weights * scale[keep] / np.sum(weights * scale[keep])
            kept = share >= _LEAST_WEIGHT
            chosen = [term for term, wanted in zip(terms, keep, strict=True) if wanted]
            total = float(weights[kept].sum())
            return RankingRule(
                tuple(
                    Term(term.column, term.two_sided, float(weight) / total)
                    for term, weight, wanted in zip(chosen, weights, kept, strict=True)
                    if wanted
                )
            )
        keep[np.flatnonzero(keep)[weights <= 0]] = False
    return None


def _features(terms: Sequence[Term], sigma: Mapping[str, FloatArray]) -> FloatArray:
    values = [np.arcsinh(np.abs(sigma[t.column]) if t.two_sided else sigma[t.column]) for t in terms]
    return np.nan_to_num(np.stack(values, axis=1), nan=0.0)
