from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from galflow.errors import ModelError, SpecError
from galflow.scores.calibration import PValueCounts, Reference, conformal_p, robust_sigma
from galflow.scores.fractions import Fraction, inconsistent_fraction, recall_in_top


def test_reference_is_sorted_robust_and_survives_json():
    rng = np.random.default_rng(1)
    scores = rng.normal(5.0, 2.0, 20_001)
    scores[:200] = 1e6  # 1% of gross outliers must not matter
    reference = Reference("vae", scores)
    assert np.all(np.diff(reference.scores) >= 0)
    assert reference.sigma == pytest.approx(stats.median_abs_deviation(scores, scale="normal"), rel=1e-4)
    assert reference.sigma == pytest.approx(2.0, rel=0.05)
    np.testing.assert_allclose(
        robust_sigma([reference.median, reference.median + 3 * reference.sigma], reference), [0, 3], atol=1e-9
    )
    again = Reference.from_json(json.loads(json.dumps(reference.to_json())))
    assert again.name == "vae"
    assert np.array_equal(again.scores, reference.scores)
    with pytest.raises(ValueError, match="read-only"):
        reference.scores[0] = 0.0


def test_sigma_where_more_than_half_the_scores_are_equal():
    scores = np.array([1.0] * 7 + [2.0, 3.0, -5.0])
    assert Reference("k", scores).sigma == pytest.approx(np.sqrt(np.pi / 2) * np.mean(np.abs(scores - 1.0)))
    with pytest.raises(ModelError, match=r"all 4 held-out scores equal 1\.0.*retrain"):
        robust_sigma([1.0], Reference("k", np.ones(4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    reference = Reference("vae", np.arange(4.0))
    for function in (robust_sigma, conformal_p):
        with pytest.raises(ModelError, match=r"1 value\(s\) that are not finite .* position 1.*null"):
            function([0.0, bad], reference)
    with pytest.raises(ModelError, match="reference 'vae'"):
        Reference("vae", np.array([0.0, bad]))
    with pytest.raises(SpecError, match=r"reference 'vae' is empty"):
        Reference("vae", np.empty(0))
    with pytest.raises(SpecError, match=r"shape \(2, 2\)"):
        conformal_p(np.zeros((2, 2)), reference)


def test_conformal_p_counts_ties_against_the_anomaly():
    reference = Reference("s", np.array([3.0, 1.0, 2.0, 2.0]))
    scores = np.array([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0])
    expected = [(1 + np.sum(reference.scores >= s)) / 5 for s in scores]
    np.testing.assert_array_equal(conformal_p(scores, reference), expected)
    assert conformal_p([9.0], reference)[0] == pytest.approx(0.2)


def test_conformal_p_is_valid_for_exchangeable_objects():
    rng = np.random.default_rng(2)
    level, trials = 0.05, 2000
    hits = [conformal_p(rng.normal(size=5), Reference("s", rng.normal(size=99))) <= level for _ in range(trials)]
    # P(p <= 5/100) is 5% exactly over references and objects; 4 sigmas for correlated groups of five.
    assert np.mean(hits) == pytest.approx(level, abs=4 * np.sqrt(level * 0.95 / trials / 5) * 1.1)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_q_values_of_merged_parts_are_those_of_the_whole(order):
    rng = np.random.default_rng(3)
    reference = Reference("s", rng.normal(size=137))
    parts = [conformal_p(rng.normal(shift, 1.0, 400), reference) for shift in (0.0, 0.2, 0.0, 3.0)]
    whole = stats.false_discovery_control(np.concatenate(parts))
    counts = PValueCounts.empty(137)
    for part in (parts[i] for i in order):
        counts = counts.merge(PValueCounts.empty(137).add(part[:100]).add(part[100:]))
    counts = PValueCounts.from_json(json.loads(json.dumps(counts.to_json())))
    np.testing.assert_allclose(np.concatenate([counts.q_values(part) for part in parts]), whole, rtol=1e-12)
    assert (whole < 0.1).any()
    assert (whole > 0.9).any()


def test_p_value_counts_of_a_part_are_written_in_its_own_size_whatever_the_references():
    rng = np.random.default_rng(4)
    p = rng.integers(1, 1_000_002, 2000) / 1_000_001
    counts = PValueCounts.empty(1_000_000).add(p).add(p[:100])
    text = json.dumps(counts.to_json())
    assert len(text) < 20_000
    again = PValueCounts.from_json(json.loads(text))
    np.testing.assert_array_equal(again.counts, counts.counts)
    assert PValueCounts.from_json({"counts": [0, 2, 1]}).counts.tolist() == [0, 2, 1]  # receipts of old
    nothing = PValueCounts.from_json(PValueCounts.empty(9).to_json())
    assert nothing.counts.tolist() == [0] * 10


def test_p_value_counts_take_p_values_through_float32_and_refuse_others():
    counts = PValueCounts.empty(999).add((np.arange(1, 1001) / 1000).astype(np.float32))
    assert np.all(counts.counts == 1)
    with pytest.raises(SpecError, match=r"not multiples of 1/1000"):
        counts.add([0.00055])
    with pytest.raises(SpecError, match=r"not multiples"):
        counts.add([0.0])
    for bad in ([0.5, np.nan], [1.5], [[0.5]]):
        with pytest.raises(SpecError, match=r"within \[0, 1\]"):
            counts.add(bad)
    with pytest.raises(SpecError, match="never added"):
        PValueCounts.empty(9).add([0.1]).q_values([0.2])
    with pytest.raises(SpecError, match="999 and 9 reference objects do not merge"):
        counts.merge(PValueCounts.empty(9))
    with pytest.raises(SpecError, match="n_reference is 0"):
        PValueCounts.empty(0)
    assert PValueCounts.empty(9).q_values([]).size == 0


@pytest.mark.parametrize(("count", "n"), [(0, 10), (10, 10), (3, 7), (46, 100), (8, 1)])
def test_an_interval_is_wilsons(count, n):
    if count > n:
        with pytest.raises(SpecError, match="8 of 1 is no fraction"):
            Fraction.of(count, n)
        return
    fraction = Fraction.of(count, n)
    # Its ends are the shares p of which (share - p)^2 = z^2 p (1 - p) / n (Wilson 1927).
    z = stats.norm.ppf(0.975)
    for end in (fraction.low, fraction.high):
        assert (fraction.value - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / n, abs=1e-9)
    assert fraction.low <= fraction.value <= fraction.high
    assert fraction.to_json()["n"] == n


def test_inconsistent_fraction():
    reference = Reference("s", np.arange(1.0, 101.0))
    # The 95% quantile is 95: of 96..100 in the reference itself, 5% lie above.
    assert inconsistent_fraction(reference.scores, reference, 0.05).value == 0.05
    sample = inconsistent_fraction([95.0, 95.5, 200.0, 1.0], reference, 0.05)
    assert (sample.value, sample.n) == (0.5, 4)
    with pytest.raises(SpecError, match=r"level is 1\.5"):
        inconsistent_fraction([1.0], reference, 1.5)
    with pytest.raises(SpecError, match="0 of 0 is no fraction"):
        inconsistent_fraction([], reference, 0.05)


def test_recall_in_top():
    scores = np.arange(100.0)
    planted = np.zeros(100, dtype=bool)
    planted[[10, 95, 99]] = True
    recall = recall_in_top(scores, planted)
    assert (recall.value, recall.n) == (pytest.approx(2 / 3), 3)
    planted[:] = False
    planted[94] = True
    assert recall_in_top(scores, planted).value == 0
    assert recall_in_top(scores, planted, 0.06).value == 1
    planted[:] = False
    planted[71] = True
    assert recall_in_top(scores, planted, 0.29).value == 1  # 0.29 * 100 falls below 29 in floats


def test_recall_counts_a_tie_across_the_border_as_missed():
    planted = np.zeros(40, dtype=bool)
    planted[0] = True
    assert recall_in_top(np.zeros(40), planted).value == 0
    scores = np.zeros(40)
    scores[:2] = 1.0  # the two highest, tied, fill the top 5% exactly
    assert recall_in_top(scores, planted).value == 1
    scores[2] = 1.0
    assert recall_in_top(scores, planted).value == 0


def test_recall_refuses_what_has_no_answer():
    with pytest.raises(SpecError, match=r"top 0\.05 of 10 objects with 1 planted"):
        recall_in_top(np.arange(10.0), np.arange(10) == 0)
    with pytest.raises(SpecError, match="0 planted"):
        recall_in_top(np.arange(100.0), np.zeros(100, dtype=bool))
    with pytest.raises(SpecError, match="expected bool of shape"):
        recall_in_top(np.arange(100.0), np.zeros(100))
