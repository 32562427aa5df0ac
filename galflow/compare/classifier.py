"""How well a classifier tells two samples apart, and by which of their properties: where single statistics see nothing.

A classifier is judged on objects that it was not fitted on; 0.5 means that it does not tell them apart at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.compare.two_sample import Interval, compare_scalars, finite_sample, permutation_p, require_bootstraps
from galflow.errors import SpecError

FloatArray = npt.NDArray[np.float64]
_MOST_EXPLAINED = 20_000
"""Objects of each sample that trees are fitted on: more make the importances no surer than their repeats show."""
_REPEATS = 10


@dataclass(frozen=True)
class ClassifierTwoSample:
    """How well a classifier tells b from a on objects it was not fitted on; 0.5: not at all."""

    auroc: Interval
    accuracy: Interval
    """Balanced: the mean of the fractions of a and of b that are recognised."""
    p: float
    """That both are of one population: by exchanging objects of one half, which a classifier of the other judges."""
    n_a: int
    n_b: int

    def to_json(self) -> dict[str, Any]:
        """Nested plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ClassifierTwoSample:
        """The inverse of ``to_json``."""
        return cls(**value | {name: Interval(**value[name]) for name in ("auroc", "accuracy")})


@dataclass(frozen=True)
class Importance:
    """How much worse trees tell two samples apart without one property."""

    column: str
    drop: float
    """Of the AUROC when the property's values are shuffled (Breiman 01), on objects that no tree was fitted on."""
    scatter: float
    """Standard deviation over the shuffles."""


def classifier_two_sample(
    a_features: npt.ArrayLike,
    b_features: npt.ArrayLike,
    seed: int,
    *,
    folds: int = 5,
    bootstraps: int = 1000,
    paired: bool = False,
) -> ClassifierTwoSample:
    """Classifier two-sample test (Lopez-Paz & Oquab 17) on (n_a, D) and (n_b, D) features.

    A logistic regression on standardised features, classes weighted equally, judged on the folds it was not fitted on.
    The intervals resample the judged objects, not the fits. ``paired`` as in ``permutation_p``.
    """
    first, second = finite_sample(a_features, "a", ndim=2), finite_sample(b_features, "b", ndim=2)
    require_bootstraps(bootstraps)
    if first.shape[1] != second.shape[1] or min(len(first), len(second)) < folds or folds < 2:
        raise SpecError(
            f"features of shape {first.shape} and {second.shape} in {folds} folds; give the same features for both, "
            "and at least one object of each per fold, in two folds or more"
        )
    is_b = np.repeat([0, 1], [len(first), len(second)])
    # Here, because every process of a run would wait a second for it, and one compares.
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    features = np.concatenate([first, second])
    decision = cross_val_predict(_logistic(), features, is_b, cv=split, method="decision_function")
    auroc = compare_scalars(decision[is_b == 0], decision[is_b == 1], bootstraps=bootstraps, seed=seed).auroc
    right_a, right_b = float(np.mean(decision[is_b == 0] <= 0)), float(np.mean(decision[is_b == 1] > 0))
    rng = np.random.default_rng(seed)
    n_a, n_b = len(first), len(second)
    # Resampling yes/no outcomes is a binomial draw.
    draws = (rng.binomial(n_a, right_a, bootstraps) / n_a + rng.binomial(n_b, right_b, bootstraps) / n_b) / 2
    accuracy = Interval.of((right_a + right_b) / 2, draws)
    return ClassifierTwoSample(auroc, accuracy, _p_of_one_half(first, second, seed, bootstraps, paired), n_a, n_b)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))


def _p_of_one_half(a: FloatArray, b: FloatArray, seed: int, permutations: int, paired: bool) -> float:
    """p of the AUROC on one half, judged by a classifier of the other: of one population its values are exchangeable.

    Those of cross-validation are not: each fold's classifier has seen the other folds.
    """
    rng = np.random.default_rng(seed)
    order_a = rng.permutation(len(a))
    order_b = order_a if paired else rng.permutation(len(b))
    fit_a, judge_a = np.array_split(order_a, 2)
    fit_b, judge_b = np.array_split(order_b, 2)
    classifier = _logistic().fit(np.concatenate([a[fit_a], b[fit_b]]), np.repeat([0, 1], [len(fit_a), len(fit_b)]))
    one, two = (classifier.decision_function(x) for x in (a[judge_a], b[judge_b]))
    if min(len(one), len(two)) < 2:
        return 1.0
    return permutation_p(one, two, permutations=permutations, seed=seed, paired=paired)["auroc"]


def explain_difference(
    a: FloatArray, b: FloatArray, names: Sequence[str], seed: int
) -> tuple[float, tuple[Importance, ...]]:
    """By which of D properties, (n_a, D) and (n_b, D), two samples differ: AUROC of boosted trees, and each importance.

    NaN of a property is a value like another to the trees. Fitted on half of the objects, judged on the other half.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    chosen = [x[rng.permutation(len(x))[: 2 * _MOST_EXPLAINED]] for x in (a, b)]
    halves = [np.array_split(x, 2) for x in chosen]
    fit, judge = (np.concatenate([half[i] for half in halves]) for i in (0, 1))
    of_fit, of_judge = (np.repeat([0, 1], [len(half[i]) for half in halves]) for i in (0, 1))
    trees = HistGradientBoostingClassifier(random_state=seed, class_weight="balanced", max_iter=60)
    trees.fit(fit, of_fit)
    auroc = float(roc_auc_score(of_judge, trees.predict_proba(judge)[:, 1]))
    found = permutation_importance(trees, judge, of_judge, scoring="roc_auc", n_repeats=_REPEATS, random_state=seed)
    importances = [
        Importance(name, float(mean), float(std))
        for name, mean, std in zip(names, found.importances_mean, found.importances_std, strict=True)
    ]
    return auroc, tuple(sorted(importances, key=lambda one: -one.drop))
