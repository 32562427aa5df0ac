from __future__ import annotations

import json
import time
from collections.abc import Iterable

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from galflow.compare import two_sample
from galflow.compare.matching import Matched, match_bootstraps
from galflow.compare.two_sample import (
    Interval,
    TwoSample,
    compare_scalars,
    matched_draws,
    over_draws,
    permutation_p,
)
from galflow.errors import ModelError, SpecError


def compare_matched(a: np.ndarray, b: np.ndarray, matches: Iterable[Matched]) -> TwoSample:
    return over_draws(matched_draws(a[None], b[None], matches)[0])


def _samples(kind: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(12)
    if kind == "ties":
        return rng.integers(0, 5, 300).astype(float), rng.integers(1, 7, 170).astype(float)
    if kind == "apart":
        return rng.normal(0, 1, 40), rng.normal(100, 1, 60)
    return rng.normal(0, 1, 400), rng.standard_t(3, 250) * 2 + 0.5


@pytest.mark.parametrize("kind", ["continuous", "ties", "apart"])
def test_the_values_are_scipys_and_scikit_learns(kind):
    a, b = _samples(kind)
    result = compare_scalars(a, b, bootstraps=20)
    assert result.ks.value == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    assert result.wasserstein.value == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-10)
    assert result.energy.value == pytest.approx(stats.energy_distance(a, b), rel=1e-10)
    label = np.repeat([0, 1], [a.size, b.size])
    assert result.auroc.value == pytest.approx(roc_auc_score(label, np.concatenate([a, b])), rel=1e-12)
    assert (result.n_a, result.n_b, result.median_a) == (a.size, b.size, np.median(a))
    assert TwoSample.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_auroc_is_the_probability_that_b_is_higher():
    assert compare_scalars([0.0, 1.0], [2.0, 3.0], bootstraps=2).auroc.value == 1
    assert compare_scalars([2.0, 3.0], [0.0, 1.0], bootstraps=2).auroc.value == 0
    assert compare_scalars([1.0, 1.0], [1.0, 1.0], bootstraps=2).auroc.value == 0.5


def test_bootstraps_are_those_of_a_plain_loop():
    a, b = _samples("ties")
    result = compare_scalars(a, b, bootstraps=4000, seed=1)
    rng = np.random.default_rng(99)
    draws = [(rng.choice(a, a.size), rng.choice(b, b.size)) for _ in range(1500)]
    plain = {
        "ks": [stats.ks_2samp(x, y).statistic for x, y in draws[:600]],
        "wasserstein": [stats.wasserstein_distance(x, y) for x, y in draws],
        "energy": [stats.energy_distance(x, y) for x, y in draws],
    }
    for name, values in plain.items():
        interval = getattr(result, name)
        # Percentiles of other random draws: agreement within a fraction of the interval's own width.
        expected = np.percentile(values, [2.5, 97.5])
        assert (interval.low, interval.high) == pytest.approx(expected, abs=0.12 * np.ptp(expected)), name


def test_the_interval_covers_the_truth_as_often_as_it_says():
    # Normals a and b = a + 1: AUROC = Phi(1 / sqrt 2), Wasserstein = 1, KS = 2 Phi(1/2) - 1.
    truth = {"auroc": stats.norm.cdf(1 / np.sqrt(2)), "wasserstein": 1.0, "ks": 2 * stats.norm.cdf(0.5) - 1}
    rng = np.random.default_rng(13)
    trials = 200
    covered = dict.fromkeys(truth, 0)
    for trial in range(trials):
        result = compare_scalars(rng.normal(0, 1, 150), rng.normal(1, 1, 150), bootstraps=300, seed=trial)
        for name, value in truth.items():
            interval = getattr(result, name)
            covered[name] += interval.low <= value <= interval.high
    # 95% +- 3.5 binomial sigmas of 200 trials; KS, a maximum, is biased upwards and is allowed to cover less.
    assert 0.89 <= covered["auroc"] / trials <= 1
    assert 0.89 <= covered["wasserstein"] / trials <= 1
    assert 0.80 <= covered["ks"] / trials <= 1


def test_same_seed_same_intervals_and_blocks_do_not_matter(monkeypatch):
    a, b = _samples("continuous")
    result = compare_scalars(a, b, bootstraps=50, seed=3)
    assert compare_scalars(a, b, bootstraps=50, seed=3) == result
    assert compare_scalars(a, b, bootstraps=50, seed=4) != result
    monkeypatch.setattr(two_sample, "BLOCK_VALUES", 7 * (a.size + b.size))
    blockwise = compare_scalars(a, b, bootstraps=50, seed=3)
    for name in ("ks", "wasserstein", "energy", "auroc"):
        interval, again = getattr(result, name), getattr(blockwise, name)
        # The same draws; sums over blocks of other shapes round differently in the last bit.
        assert (again.value, again.low, again.high) == pytest.approx(
            (interval.value, interval.low, interval.high), rel=1e-12
        )
        assert interval.low <= interval.value <= interval.high
        assert interval.low < interval.high


def test_an_interval_holds_its_value_even_where_resampling_only_adds_distance():
    a = np.arange(50.0)
    result = compare_scalars(a, a, bootstraps=200)
    assert (result.ks.value, result.ks.low, result.wasserstein.low) == (0, 0, 0)
    assert result.ks.high > 0.1
    assert Interval.of(5.0, np.array([1.0, 2.0])) == Interval(5.0, 1.025, 5.0)


def test_five_thousand_objects_a_sample_and_a_thousand_bootstraps_are_quick():
    rng = np.random.default_rng(14)
    a, b = rng.normal(0, 1, 5000), rng.normal(0.1, 1, 5000)
    start = time.process_time()
    compare_scalars(a, b)
    assert time.process_time() - start < 3


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ModelError, match=r"sample b holds 1 value\(s\) that are not finite"):
        compare_scalars([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(SpecError, match=r"sample a has shape \(1,\).*at least two objects"):
        compare_scalars([1.0], [1.0, 2.0])
    with pytest.raises(SpecError, match="bootstraps is 1"):
        compare_scalars([1.0, 2.0], [1.0, 2.0], bootstraps=1)


def test_matching_removes_a_difference_that_brightness_alone_makes():
    rng = np.random.default_rng(15)
    magnitude = [rng.normal(21.0, 1.0, 1500)[:, None], rng.normal(22.0, 1.0, 1500)[:, None]]
    score = [m[:, 0] + rng.normal(0, 0.5, m.size) for m in magnitude]
    raw = compare_scalars(*score, bootstraps=50)
    edges = [np.arange(17.0, 27.0, 0.1)]
    matched = compare_matched(*score, match_bootstraps(*magnitude, edges, bootstraps=50))
    assert raw.auroc.value > 0.7
    assert matched.auroc.low < 0.5 < matched.auroc.high
    assert matched.n_a == matched.n_b < 1500
    assert matched.wasserstein.value < 0.1 * raw.wasserstein.value
    with pytest.raises(SpecError, match="bootstraps is 1"):
        compare_matched(*score, match_bootstraps(*magnitude, edges, bootstraps=1))


def test_a_permutation_p_is_that_of_a_plain_loop():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0, 1, 40), rng.normal(0.4, 1.2, 30)
    found = permutation_p(a, b, permutations=4000, seed=1)
    both, observed = np.concatenate([a, b]), stats.ks_2samp(a, b).statistic
    plain = [stats.ks_2samp(x[:40], x[40:]).statistic for x in (rng.permutation(both) for _ in range(1500))]
    expected = np.mean(np.array(plain) >= observed - 1e-12)
    assert found["ks"] == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 1500) + 1e-3)
    exact = stats.mannwhitneyu(a, b, method="asymptotic").pvalue
    assert found["auroc"] == pytest.approx(exact, abs=0.03)
    assert permutation_p(a, b + 9, permutations=199)["energy"] == 1 / 200
    with pytest.raises(SpecError, match="give at least 1, and pairs"):
        permutation_p(a, b, paired=True)


def test_paired_permutations_do_not_see_what_differs_from_cell_to_cell():
    """Only what is exchanged within a pair counts: a level that both members of a pair share does not."""
    rng = np.random.default_rng(4)
    level = np.repeat(np.arange(20.0), 10)
    a, b = level + rng.normal(0, 0.1, 200), level + rng.normal(0.05, 0.1, 200)
    assert permutation_p(a, b, seed=2, paired=True)["auroc"] < 0.01
    assert permutation_p(a, b, seed=2)["auroc"] > 0.5
