"""The bound on false discoveries holds where normal objects are known, at thresholds chosen to hurt it most."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.scores.calibration import PValueCounts, Reference, conformal_p
from galflow.scores.false_discoveries import envelope, false_share


def counted(p: np.ndarray, references: int) -> PValueCounts:
    return PValueCounts.empty(references).add(p)


@pytest.mark.parametrize(("anomalies", "shift"), [(0, 0.0), (50, 3.5), (200, 5.0)])
def test_the_bound_holds_at_the_worst_threshold(anomalies: int, shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    references, tested = 150, 500
    drawn = envelope(references, tested)
    monkeypatch.setattr("galflow.scores.false_discoveries.envelope", lambda *numbers: drawn)
    rng = np.random.default_rng(anomalies)
    broken = 0
    for _ in range(1000):
        scores = np.concatenate([rng.normal(size=tested - anomalies), rng.normal(shift, 1, anomalies)])
        p = conformal_p(scores, Reference("a", rng.normal(size=references)))
        counts = counted(p, references)
        normal = np.cumsum(counted(p[: tested - anomalies], references).counts)
        share = normal / np.maximum(1, np.cumsum(counts.counts))
        broken += bool((share > false_share(counts) + 1e-12).any())
    assert broken <= 65  # 50 expected at the most, and three standard deviations


def test_clear_anomalies_are_said_to_be_few_false_ones() -> None:
    rng = np.random.default_rng(3)
    scores = np.concatenate([rng.normal(size=1000), rng.normal(9, 1, 200)])
    found = false_share(counted(conformal_p(scores, Reference("a", rng.normal(size=2000))), 2000))
    assert found[0] < 0.1
    assert found[-1] > 0.8
    assert (false_share(PValueCounts.empty(9)) == 1).all()
