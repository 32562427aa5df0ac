"""What masks do to a score is taken out of it, and what else makes an object odd is left."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from galflow.scores.mask_levels import MaskLevels


def masked(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shares of two bands, and scores that follow them: the more is missing, the higher and the wider."""
    kind = rng.integers(3, size=n)
    shares = np.ones((n, 4))
    shares[kind == 0, 0] = shares[kind == 0, 2] = 0.0  # a band gone
    shares[kind == 1] = rng.uniform(0.4, 0.95, (int((kind == 1).sum()), 1))
    shares[kind == 2, :2] = rng.uniform(0.5, 0.9, (int((kind == 2).sum()), 1))  # outer parts alone
    missing = 1 - shares.mean(1)
    return shares, 4 * missing + (1 + missing) * rng.normal(size=n)


def auroc(odd: np.ndarray, normal: np.ndarray) -> float:
    return float(roc_auc_score(np.repeat([1, 0], [len(odd), len(normal)]), np.concatenate([odd, normal])))


def test_masked_objects_rank_as_whole_ones_do_and_odd_ones_stay_odd() -> None:
    rng = np.random.default_rng(0)
    whole = rng.normal(size=1000)
    levels = MaskLevels.of(*masked(3000, rng), whole)
    levels = MaskLevels.from_json(json.loads(json.dumps(levels.to_json())))
    shares, values = masked(2000, rng)
    assert auroc(values, whole) > 0.7
    mended = levels.levelled(values, shares)
    assert auroc(mended, whole) == pytest.approx(0.5, abs=0.05)
    for kind in (shares[:, 0] == 0, shares[:, 3] < 1, (shares[:, 3] == 1) & (shares[:, 0] > 0)):
        assert auroc(mended[kind], whole) == pytest.approx(0.5, abs=0.08)
    odd = values + 4 * (1 + (1 - shares.mean(1)))
    assert auroc(levels.levelled(odd, shares), whole) > 0.97


def test_complete_objects_and_surveys_without_masks_are_left_alone() -> None:
    rng = np.random.default_rng(1)
    levels = MaskLevels.of(*masked(900, rng), rng.normal(size=500))
    values = rng.normal(size=9)
    np.testing.assert_array_equal(levels.levelled(values, np.ones((9, 4))), values)
    for none in (MaskLevels.none(4), MaskLevels.of(np.zeros((3, 4)), np.zeros(3), values)):
        np.testing.assert_array_equal(none.levelled(values, np.zeros((9, 4))), values)
        assert MaskLevels.from_json(none.to_json()).values.size == 0
    constant = MaskLevels.of(np.full((50, 4), 0.5), rng.normal(size=50), np.zeros(50))
    np.testing.assert_array_equal(constant.levelled(values, np.full((9, 4), 0.5)), values)
