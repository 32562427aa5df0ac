"""The areas against pairs counted one by one, the gaps, and both tables on a model too small to be good."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import gan_scores
from benchmarks.gan_quality import Sky
from benchmarks.synthetic_galaxies import make_galaxies
from galflow.batch import Batch
from galflow.models.wgan import WGAN
from galflow.surveys.drawing.anomalies import KINDS


def test_an_area_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    normal, others = rng.integers(0, 6, 30).astype(float), rng.integers(2, 8, 20).astype(float)
    above = (others[:, None] > normal).mean() + 0.5 * (others[:, None] == normal).mean()
    assert gan_scores.area(normal, others) == pytest.approx(above)
    assert gan_scores.area(normal, normal) == pytest.approx(0.5)
    assert gan_scores.area(normal, normal + 100) == 1.0


def test_gaps_take_away_what_they_say() -> None:
    shares = {name: float(gap.float().mean()) for name, gap in gan_scores.gaps(3, 30).items()}
    assert list(shares)[:3] == ["band 1", "band 2", "band 3"]
    expected = dict.fromkeys(list(shares)[:3], 1 / 3) | {"an edge third": 1 / 3, "half": 0.5}
    assert {name: shares[name] for name in expected} == pytest.approx(expected)
    for name, share in shares.items():
        if "%" in name:
            assert share == pytest.approx(float(name.partition("%")[0]) / 100, abs=0.03)


@pytest.mark.full
def test_both_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan_scores, "GALAXIES", 20)
    monkeypatch.setattr(gan_scores, "STEPS", (0, 2))
    galaxies = make_galaxies(60, 3, 32)
    batch = Batch.of(galaxies.batch(()).pixels)
    sky = Sky("few", batch, batch.pixels, None, galaxies.stretch)
    torch.manual_seed(0)
    model = WGAN(channels=3, size=32, width=4, latent=4)
    model.initialise(batch)
    model.finish([batch])
    table = gan_scores.gap_table(model, sky)
    assert table.columns == ("anomaly", "residual", "feature")
    assert all(0.3 < value < 0.7 for row in table.rows.values() for value in row), table.text()
    detected = gan_scores.refinement_table(model, sky)
    assert list(detected.rows) == [*KINDS, "mean"]
    assert detected.columns == ("0 steps", "2 steps")
    assert detected.rows["trail"][0] > 0.6
    assert model.refine == 0
