"""Labelled thumbnails: the protocol on made-up scores, and the published figure of PCA-64 on the real ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import labelled
from benchmarks.labelled import CASES, CHOOSING, POOL, SPLITS, Labelled, auroc, combined, judge, scores

needs_data = pytest.mark.skipif(not labelled.FOLDER.is_dir(), reason=f"real data are absent: {labelled.FOLDER}")


def made_up(others: int = 40) -> Labelled:
    draw = torch.Generator().manual_seed(1)
    return Labelled(torch.rand(60, 3, 32, 32, generator=draw), torch.rand(others, 3, 32, 32, generator=draw))


def test_auroc_counts_pairs_in_order() -> None:
    values = np.array([1.0, 2.0, 3.0, 2.5, 0.5])
    assert auroc(values, others=2) == pytest.approx(2 / 6)
    assert auroc(values, others=2, rows=np.array([0])) == pytest.approx(2 / 3)


def test_what_chooses_is_not_what_is_reported() -> None:
    """A score that is right only where it chooses is found out: on other splits, and on the unseen half."""
    data = made_up()
    choosing, unseen = data.halves
    assert sorted([*choosing, *unseen]) == list(range(40))
    right, wrong = np.r_[np.zeros(30), np.ones(40)], np.r_[np.ones(30), np.zeros(40)]
    found = judge([right] * CHOOSING + [wrong] * (SPLITS - CHOOSING), data)
    assert (found.chosen_by, found.reported, found.unseen) == (1.0, (0.0, 0.0), 0.0)
    lucky = np.r_[np.full(30, 0.5), np.zeros(40)]
    lucky[30 + choosing] = 1.0
    found = judge([lucky] * SPLITS, data)
    assert (found.chosen_by, found.unseen) == (1.0, 0.0)
    assert found.reported[0] == pytest.approx(0.5)


def test_combined_is_the_mean_rank() -> None:
    found = {"a": np.array([1.0, 5.0, 9.0]), "b": np.array([200.0, 100.0, 300.0])}
    assert combined(found, ("a", "b")).tolist() == [1.5, 1.5, 3.0]


@pytest.mark.full
def test_every_combined_score_is_one_of_the_cases() -> None:
    few = [case for case in CASES if case.model != "vae.VAE"]
    found = scores(made_up(), 0, few)
    assert set(POOL) - {"VAE neg_elbo", "VAE reconstruction"} <= set(found)
    assert all(values.shape == (70,) and np.isfinite(values).all() for values in found.values())


@pytest.mark.full
@needs_data
def test_pca_reaches_its_published_figure_and_rings_the_aim() -> None:
    data = labelled.thumbnails()
    assert (len(data.boring), len(data.others)) == (415, 87)
    chosen = [case for case in CASES if case.label in ("PCA-64", "kNN, PCA-16 residual rings")]
    found = [scores(data, split, chosen) for split in range(SPLITS)]
    plain, weighed, rings = (
        np.mean([auroc(f[name], 87) for f in found])
        for name in ("PCA-64 reconstruction", "PCA-64 residual", "kNN, PCA-16 residual rings")
    )
    assert plain == pytest.approx(0.712, abs=0.013)
    assert weighed > plain + 0.02
    assert rings > 0.75
