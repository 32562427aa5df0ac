"""The extrapolated tail: right far beyond the references, also with anomalies among them, and told if it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.stats import false_discovery_control

from galflow.scores.tail import ParetoTail

DRAWN = {"heavy": stats.lognorm(0.6), "exponential": stats.expon(), "light": stats.gamma(2)}


@pytest.mark.parametrize("name", DRAWN)
def test_p_values_are_right_far_beyond_the_references_or_too_large(name: str) -> None:
    distribution = DRAWN[name]
    for seed in range(5):
        reference = np.sort(distribution.rvs(20_000, random_state=seed))
        tail = ParetoTail.of(reference)
        assert tail is not None
        for level, largest in ((0.1, 0.12), (1e-2, 1.5e-2), (1e-4, 2e-3), (1e-6, 1e-3)):
            found = tail.p_values(distribution.isf([level]))[0]
            assert 0.4 * level < found < largest


def test_it_begins_where_conformal_p_values_end() -> None:
    reference = np.sort(stats.norm.rvs(size=5000, random_state=1))
    tail = ParetoTail.of(reference)
    assert tail is not None
    assert tail.p_values(np.array([tail.threshold]))[0] == pytest.approx(0.25, rel=0.01)
    values = np.linspace(tail.threshold, 50, 1000)
    assert (np.diff(tail.p_values(values)) <= 0).all()
    assert tail.p_values(np.array([1e9]))[0] > 0


@pytest.mark.parametrize("share", [0.0, 0.02])
def test_anomalies_among_the_references_cost_little_power(share: float) -> None:
    """2% of the objects, and of the references, are anomalies: conformal p-values find none of them any more."""
    rng, normal = np.random.default_rng(int(1000 * share)), DRAWN["heavy"]
    false, power, conformal_power = [], [], []
    far = normal.isf(1e-4)
    for _ in range(40):
        reference, values = normal.rvs(1000, random_state=rng), normal.rvs(5000, random_state=rng)
        odd_reference, odd = rng.random(1000) < share, rng.random(5000) < 0.02
        reference[odd_reference] = far + rng.exponential(2.0, odd_reference.sum())
        values[odd] = far + rng.exponential(2.0, odd.sum())
        reference.sort()
        p = (1 + len(reference) - np.searchsorted(reference, values)) / (1 + len(reference))
        conformal_power.append((false_discovery_control(p) <= 0.1)[odd].mean())
        tail = ParetoTail.of(reference)
        assert tail is not None
        p = np.where(values > tail.threshold, tail.p_values(values), p)
        reported = false_discovery_control(p) <= 0.1
        false.append((reported & ~odd).sum() / max(1, reported.sum()))
        power.append(reported[odd].mean())
    assert np.mean(false) <= 0.12
    assert np.mean(power) >= (0.9 if not share else 0.5)
    if share:
        assert np.mean(conformal_power) < 0.1


def test_a_tail_of_another_form_is_told() -> None:
    rng = np.random.default_rng(3)
    plain = [ParetoTail.of(np.sort(rng.exponential(size=4000))) for _ in range(20)]
    assert sum(tail.misfit_p < 0.05 for tail in plain if tail) <= 3
    steps = [
        ParetoTail.of(np.sort(np.round(rng.exponential(size=4000), 1) + 1e-3 * rng.random(4000))) for _ in range(20)
    ]
    assert sum(tail.misfit_p < 0.05 for tail in steps if tail) >= 15


def test_references_where_the_tail_expects_none_are_counted() -> None:
    """Anomalies among them, or a tail that grows heavier than its beginning: as Student's t with 5 degrees does."""
    assert _unexpected(DRAWN["heavy"].rvs(20_000, random_state=4)) == 0
    assert _unexpected(np.concatenate([stats.norm.rvs(size=5000, random_state=4), np.linspace(20, 40, 30)])) >= 20
    assert _unexpected(stats.t(5).rvs(20_000, random_state=0)) >= 1


def _unexpected(values: np.ndarray) -> int:
    tail = ParetoTail.of(np.sort(values))
    assert tail is not None
    return tail.unexpected(np.sort(values))


def test_too_few_or_equal_references_fit_nothing() -> None:
    assert ParetoTail.of(np.linspace(0, 1, 100)) is None
    assert ParetoTail.of(np.zeros(4000)) is None
    assert ParetoTail.of(np.repeat([0.0, 1.0, 2.0], [900, 60, 40])) is None


def test_drawn_quantiles_lie_on_the_diagonal_and_json_keeps_it() -> None:
    reference = np.sort(DRAWN["heavy"].rvs(20_000, random_state=9))
    tail = ParetoTail.of(reference)
    assert tail is not None
    seen, expected = tail.quantiles(reference)
    assert len(seen) <= 60
    np.testing.assert_allclose(expected[:-10], seen[:-10], rtol=0.1)
    again = ParetoTail.from_json(tail.to_json())
    np.testing.assert_array_equal(again.p_values(seen), tail.p_values(seen))
