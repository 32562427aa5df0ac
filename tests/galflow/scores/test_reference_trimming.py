from __future__ import annotations

import numpy as np
import pytest

from galflow.scores.reference_trimming import MOST, trimmed_reference
from galflow.scores.tail import ParetoTail


def references(share: float, seed: int, n: int = 1000) -> tuple[np.ndarray, int]:
    """Sorted normal scores of which a share lies 6 to 10 higher, and how many these are."""
    rng = np.random.default_rng(seed)
    odd = rng.random(n) < share
    return np.sort(rng.normal(size=n) + odd * rng.uniform(6, 10, n)), int(odd.sum())


@pytest.mark.parametrize("share", [0.01, 0.02, 0.05])
def test_anomalies_among_the_references_leave(share: float) -> None:
    for seed in range(2):
        given, odd = references(share, seed)
        kept = trimmed_reference(given, MOST)
        np.testing.assert_array_equal(kept, given[: len(kept)])
        assert 0.5 * odd <= len(given) - len(kept) <= odd + 1
        # What is left has the tail again by which they were judged.
        tail = ParetoTail.of(kept)
        assert tail is not None
        assert tail.unexpected(kept) <= 1


def test_of_ordinary_references_next_to_none_leave() -> None:
    left = [1000 - len(trimmed_reference(references(0.0, seed)[0], MOST)) for seed in range(12)]
    assert np.count_nonzero(left) <= 1
    assert max(left) <= 5


def test_never_more_than_is_allowed() -> None:
    given, odd = references(0.05, 1)
    assert odd > 30
    assert len(trimmed_reference(given, 0.01)) == 990
    assert trimmed_reference(given, 0.0) is given


def test_too_few_for_a_tail_stay_all() -> None:
    given = np.sort(np.append(np.random.default_rng(0).normal(size=100), 50.0))
    assert len(trimmed_reference(given, MOST)) == 101
