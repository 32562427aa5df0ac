"""The classifier two-sample test, its p-value, and which properties explain a difference."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from galflow.compare.classifier import ClassifierTwoSample, classifier_two_sample, explain_difference
from galflow.errors import SpecError


def test_the_classifier_tells_what_differs_and_only_that():
    rng = np.random.default_rng(16)
    a, b, c = (rng.normal(0, 1, (n, 6)) for n in (300, 200, 200))
    c[:, 2] += 2.0
    same, other = classifier_two_sample(a, b, 0), classifier_two_sample(a, c, 0)
    assert same.auroc.low < 0.5 < same.auroc.high
    assert same.accuracy.low < 0.5 < same.accuracy.high
    # The best possible test: AUROC Phi(2 / sqrt 2), accuracy Phi(1).
    assert other.auroc.low < stats.norm.cdf(np.sqrt(2)) < other.auroc.high
    assert other.accuracy.low < stats.norm.cdf(1) < other.accuracy.high
    assert (other.n_a, other.n_b) == (300, 200)
    assert classifier_two_sample(a, c, 0) == other
    assert other.to_json()["accuracy"]["value"] == other.accuracy.value


def test_classifier_accuracy_is_balanced():
    # A constant feature says nothing; a majority vote would score 0.9 in plain accuracy.
    a, b = np.zeros((90, 1)), np.zeros((10, 1))
    result = classifier_two_sample(a, b, 0)
    assert result.accuracy.value == balanced_accuracy_score([0] * 90 + [1] * 10, [0] * 100)
    with pytest.raises(SpecError, match=r"\(90, 1\) and \(3, 1\) in 5 folds"):
        classifier_two_sample(a, b[:3], 0)


def test_its_result_is_plain_values_and_back():
    rng = np.random.default_rng(17)
    result = classifier_two_sample(rng.normal(0, 1, (60, 2)), rng.normal(0.5, 1, (60, 2)), 0, paired=True)
    assert ClassifierTwoSample.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_the_property_that_differs_explains_it():
    rng = np.random.default_rng(18)
    a, b = (rng.normal(0, 1, (1500, 3)) for _ in range(2))
    b[:, 1] += 1.5
    a[:40, 0] = np.nan
    auroc, importances = explain_difference(a, b, ["size", "magnitude", "index"], 0)
    assert importances[0].column == "magnitude"
    assert importances[0].drop > 0.2 > 0.05 > max(abs(one.drop) for one in importances[1:])
    best = stats.norm.cdf(1.5 / np.sqrt(2))
    assert best - 0.05 < auroc < best + 0.03
