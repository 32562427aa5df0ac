"""Which score ranks: chosen by what each finds of anomalies painted into held-out objects, not by order.

Half of the held-out objects, and the copies made of them, choose; the other half says how good the choice is. Scores
alone, scores on both sides, and joined scores compete; one on both sides or a joined one must win by more than chance.
The losers stay in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.scores.alike import Alike
from galflow.scores.fractions import error_of_mean
from galflow.scores.joining import joined_rules
from galflow.scores.rule import RankingRule, placed
from galflow.spec.repeats import first_training

FloatArray = npt.NDArray[np.float64]
Sigmas = Mapping[str, FloatArray]
"""Score -> (n,) robust sigmas."""
TOP_FRACTION = 0.05
_FRACTIONS = (0.02, 0.05, 0.1, 0.2, 0.5)
"""A rule's merit is the mean share of copies that it has in these top fractions: who reads a list begins at its top."""
_BOOTSTRAPS = 400
_HALVES, _RIVALS, _INTERVALS = 1, 2, 3
"""Streams of random numbers: of one seed, and apart from each other and from those that painted."""
_JOINED, _BOTH_SIDES = 0.16, 0.05
"""A joined score, or one on both sides, replaces the best one if it is better in all but this share of resamplings."""


@dataclass(frozen=True, eq=False)
class Trial:
    """Held-out objects, copies of them with anomalies, and what every score says of both."""

    objects: Sigmas
    copies: Sigmas
    original: npt.NDArray[np.int64]
    """(m,) number of each copy's original."""
    kind: npt.NDArray[np.object_]
    """(m,) texts."""
    covariates: Mapping[str, FloatArray]
    """What a score should not merely follow: name -> (n,) of the objects, as log flux and half-light radius."""

    def half(self, which: npt.NDArray[np.bool_]) -> Trial:
        """Of some of the objects, (n,) bool, and of the copies made of them."""
        copies = which[self.original]
        number = np.cumsum(which) - 1
        return Trial(
            {name: values[which] for name, values in self.objects.items()},
            {name: values[copies] for name, values in self.copies.items()},
            number[self.original[copies]],
            self.kind[copies],
            {name: values[which] for name, values in self.covariates.items()},
        )

    def places(self, rule: RankingRule) -> FloatArray:
        """(m,) share of the objects that rank below each copy, ties half. Its mean over a kind is the kind's AUROC."""
        return placed(rule.values(self.objects), rule.values(self.copies))


@dataclass(frozen=True)
class Verdict:
    """How one rule did on objects and copies that had no part in choosing it."""

    rule: RankingRule
    chosen_by: float
    """Its merit where rules were chosen: the mean share of copies in the top 2, 5, 10, 20 and 50%, kinds alike."""
    auroc: float
    """Mean over kinds."""
    low: float
    high: float
    """The mean's 90% interval, over resamplings of the copies."""
    found: float
    """Share of the copies among the top 5%, mean over kinds."""
    by_kind: Mapping[str, float]
    """Kind -> AUROC."""
    correlations: Mapping[str, float]
    """Covariate -> Spearman's rank correlation with it, over the objects."""
    among_alike: float | None = None
    """Mean AUROC over kinds, of copies among objects as bright and as large as their originals; None: too few."""
    by_training: tuple[float, ...] = ()
    """Mean AUROC of each training alone, where the rule is one score of several; their scatter is in the interval."""
    agreement: float | None = None
    """Mean rank correlation of these trainings' scores, over the objects."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        plain = {name: getattr(self, name) for name in ("chosen_by", "auroc", "low", "high", "found")}
        by_kind, correlations = dict(self.by_kind), dict(self.correlations)
        trainings = {"by_training": list(self.by_training), "agreement": self.agreement}
        plain["among_alike"] = self.among_alike
        return {"rule": self.rule.to_json(), **plain, "by_kind": by_kind, "correlations": correlations, **trainings}


@dataclass(frozen=True)
class Evidence:
    """The rule that ranks, why, and all that lost."""

    chosen: RankingRule
    why: str
    verdicts: tuple[Verdict, ...]
    """Best first, by their merit where rules were chosen."""
    objects: int
    copies: int
    """Held-out objects, and copies of each kind, in both halves together."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "chosen": self.chosen.to_json(),
            "why": self.why,
            "verdicts": [verdict.to_json() for verdict in self.verdicts],
            "objects": self.objects,
            "copies_of_each_kind": self.copies,
        }


def choose_rule(trial: Trial, declared: str | None, seed: int, *, joined: bool = True) -> Evidence:
    """The rule that ranks: the ``declared`` score, or what finds most; of single scores alone if not ``joined``."""
    objects = len(next(iter(trial.objects.values())))
    chosen_half = np.zeros(objects, bool)
    chosen_half[np.random.default_rng([seed, _HALVES]).permutation(objects)[: objects // 2]] = True
    choosing, judging = trial.half(chosen_half), trial.half(~chosen_half)
    trainings: dict[str, list[str]] = {}
    for name in trial.objects:
        trainings.setdefault(first_training(name), []).append(name)
    alone = [RankingRule.mean(names, two_sided) for names in trainings.values() for two_sided in (False, True)]
    places = {rule: choosing.places(rule) for rule in alone}
    merits = {rule: _merit(found, choosing.kind) for rule, found in places.items()}
    singles = sorted(alone, key=lambda rule: -merits[rule])
    rivals = joined_rules(choosing.objects, choosing.copies, choosing.kind, singles) if joined else []
    best = next(rule for rule in singles if not rule.terms[0].two_sided)
    if _wins(places[singles[0]], places[best], choosing.kind, seed, _BOTH_SIDES):
        best = singles[0]
    merits |= {pair.rule: _merit(pair.places, choosing.kind) for pair in rivals}
    rival = max(rivals, key=lambda pair: merits[pair.rule], default=None)
    if declared is not None:
        best = RankingRule.mean(trainings.get(declared, [declared]))
        why = f"{best.name} ranks, as scoring.primary declares."
    elif rival is not None and _wins(rival.places, places[best], choosing.kind, seed, _JOINED):
        why = f"{rival.rule.name} ranks: it finds more of the painted anomalies than any single score, beyond chance."
        best = rival.rule
    else:
        most = "of all scores it finds most" if best == singles[0] else "no score finds, beyond chance, more"
        why = f"{best.name} ranks: {most} of the painted anomalies, and no joining of scores more."
    verdicts = [_verdict(judging, rule, merit, seed) for rule, merit in merits.items()]
    verdicts.sort(key=lambda verdict: -verdict.chosen_by)
    kinds = np.unique(trial.kind.astype(str))
    return Evidence(best, why, tuple(verdicts), objects, len(trial.kind) // len(kinds))


def _merit(places: FloatArray, kind: npt.NDArray[np.object_]) -> float:
    """Mean share of copies in the top fractions, kinds alike."""
    each = _merits(places)
    return float(np.mean([each[kind == name].mean() for name in _kinds(kind)]))


def _merits(places: FloatArray) -> FloatArray:
    """(m,) in how many of the top fractions each copy is, as a share of them."""
    return np.asarray(np.mean([places > 1 - fraction for fraction in _FRACTIONS], axis=0), dtype=np.float64)


def _kinds(kind: npt.NDArray[np.object_]) -> list[str]:
    return sorted(set(map(str, kind)))


def _wins(first: FloatArray, second: FloatArray, kind: npt.NDArray[np.object_], seed: int, but: float) -> bool:
    """Whether ``first`` finds more than ``second`` in all ``but`` a share of resamplings of the copies of each kind."""
    gains = _resampled_means(_merits(first) - _merits(second), kind, [seed, _RIVALS])
    return bool(np.quantile(gains, but) > 0)


def _resampled_means(values: FloatArray, kind: npt.NDArray[np.object_], seed: list[int]) -> FloatArray:
    """Means of (m,) values, kinds alike, over resamplings of the copies of each kind."""
    rng, kinds = np.random.default_rng(seed), _kinds(kind)
    means = np.zeros(_BOOTSTRAPS)
    for name in kinds:
        own = values[kind == name]
        means += own[rng.integers(len(own), size=(_BOOTSTRAPS, len(own)))].mean(1) / len(kinds)
    return means


def _verdict(trial: Trial, rule: RankingRule, merit: float, seed: int) -> Verdict:
    places, kinds = trial.places(rule), _kinds(trial.kind)
    by_kind = {name: float(places[trial.kind == name].mean()) for name in kinds}
    found = np.mean([(places[trial.kind == name] > 1 - TOP_FRACTION).mean() for name in kinds])
    low, high = np.quantile(_resampled_means(places, trial.kind, [seed, _INTERVALS]), [0.05, 0.95])
    mean = float(np.mean(list(by_kind.values())))
    by_training = _by_training(trial, rule)
    scatter = error_of_mean(by_training, 0.9)
    low, high = mean - np.hypot(mean - low, scatter), mean + np.hypot(high - mean, scatter)
    ranked = rule.values(trial.objects)
    correlated = {name: _correlation(values, ranked) for name, values in trial.covariates.items()}
    correlations = {name: value for name, value in correlated.items() if value is not None}
    return Verdict(
        rule, merit, mean, float(low), float(high), float(found), by_kind, correlations,
        _among_alike(trial, rule), by_training, _agreement(trial, rule) if by_training else None,
    )  # fmt: skip


def _among_alike(trial: Trial, rule: RankingRule) -> float | None:
    """Mean AUROC over kinds with brightness and size held fixed."""
    if not trial.covariates:
        return None
    covariates = np.stack(list(trial.covariates.values()), axis=1)
    alike = Alike.of(covariates, rule.values(trial.objects))
    places = 1.0 - alike.p_values(covariates[trial.original], rule.values(trial.copies))
    each = [places[(trial.kind == name) & np.isfinite(places)] for name in _kinds(trial.kind)]
    return float(np.mean([of_kind.mean() for of_kind in each])) if all(map(len, each)) else None


def _by_training(trial: Trial, rule: RankingRule) -> tuple[float, ...]:
    """Mean AUROC of each training, of a rule that is one score of several trainings."""
    alike = {first_training(column) for column in rule.columns}
    if len(rule.terms) < 2 or len(alike) > 1 or rule != RankingRule.mean(rule.columns, rule.terms[0].two_sided):
        return ()
    found = [trial.places(RankingRule((term,))) for term in rule.terms]
    return tuple(float(np.mean([p[trial.kind == name].mean() for name in _kinds(trial.kind)])) for p in found)


def _agreement(trial: Trial, rule: RankingRule) -> float | None:
    """Mean rank correlation of every two terms, over the objects."""
    values = [RankingRule((term,)).values(trial.objects) for term in rule.terms]
    found = [_correlation(one, other) for one, other in combinations(values, 2)]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def _correlation(one: FloatArray, other: FloatArray) -> float | None:
    """Spearman's, over what is finite in both; None where one of them does not vary."""
    from scipy.stats import spearmanr

    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 3 or not np.ptp(one[both]) or not np.ptp(other[both]):
        return None
    return float(spearmanr(one[both], other[both]).statistic)
