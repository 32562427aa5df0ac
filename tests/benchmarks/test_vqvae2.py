"""The VQ-VAE-2 benchmark: its measurements, and (marked full) what the model has to show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from benchmarks.synthetic_galaxies import make_galaxies
from benchmarks.vqvae2 import draws, judge, ks, run
from galflow.models.vqvae2 import VQVAE2


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_distances_are_none_to_itself_and_large_to_others() -> None:
    galaxies = make_galaxies(60, 3, 32, bands=("r", "i"))
    assert set(ks(galaxies.clean, galaxies.clean)) == {"flux", "half light radius", "ellipticity"}
    assert set(ks(galaxies.clean, galaxies.clean).values()) == {0.0}
    brighter = ks(10 * galaxies.clean, galaxies.clean)
    assert brighter["flux"] > 0.5
    assert brighter["ellipticity"] < 0.05
    assert ks(np.swapaxes(galaxies.clean, 2, 3), galaxies.clean)["half light radius"] < 0.05


def test_samples_are_the_draws_with_noise(one_thread: None) -> None:
    torch.manual_seed(0)
    model = VQVAE2(channels=2, size=32, codes=8, dimensions=4, width=8, prior_width=8, prior_layers=1)
    clean, noisy = draws(model, 20, seed=1)
    assert float((noisy - clean).std()) == pytest.approx(0.1, rel=0.05)


def test_an_untrained_model_does_not_pass(one_thread: None) -> None:
    torch.manual_seed(0)
    model = VQVAE2(channels=2, size=32, codes=8, dimensions=4, width=8, prior_width=8, prior_layers=1)
    found = judge(model, make_galaxies(50, 4, 32, bands=("r", "i")))
    failed = [finding.name for finding in found if not finding.met]
    assert any(name.startswith("KS") for name in failed)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_codebooks_are_used_and_samples_look_like_galaxies() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (table,) = run()
    finally:
        torch.set_num_threads(before)
    asked = [finding for finding in table.rows if finding.low is not None or finding.high is not None]
    assert len(asked) == 8, "two perplexities, and three quantities of draws and of samples"
    assert all(finding.met for finding in asked), table.text()
