"""The judge of the 25 Gaussians on samples of known quality; and, in full, that WGAN-GP finds every mode."""

from __future__ import annotations

import pytest
import torch

from benchmarks import gan25


def drawn(n: int = 10_000) -> torch.Tensor:
    return gan25.draw(n, torch.Generator().manual_seed(0))


def test_true_samples_hold_all_modes_at_the_true_width():
    found = gan25.judge(drawn())
    assert found.modes == 25
    assert found.rarest == pytest.approx(1.0, abs=0.15)
    assert found.high_quality > 0.999  # exp(-8) of a plane Gaussian lies beyond four standard deviations
    assert found.spread == pytest.approx(1.0, abs=0.02)


def test_a_lost_mode_and_a_starved_one_are_not_found():
    samples = drawn()
    mode = torch.cdist(samples.flatten(1), gan25.grid()).argmin(dim=1)
    lost = gan25.judge(samples[mode != 7])
    assert (lost.modes, lost.rarest) == (24, 0.0)
    starved = torch.cat([samples[mode != 7], samples[mode == 7][:15]])
    assert gan25.judge(starved).modes == 24
    assert gan25.judge(starved).rarest == pytest.approx(15 / 400, abs=0.003)


def test_samples_strewn_over_the_plane_find_no_mode_to_speak_of():
    strewn = (torch.rand(10_000, 2, 1, 1, generator=torch.Generator().manual_seed(1)) - 0.5) * 5 * gan25.SPACING
    assert gan25.judge(strewn).modes < 5


def test_samples_between_the_modes_are_of_low_quality():
    found = gan25.judge(drawn() + gan25.SPACING / 2)
    assert (found.modes, found.high_quality, found.spread) == (0, 0.0, 0.0)
    wide = gan25.judge(gan25.grid().repeat(400, 1)[:, :, None, None] + 2 * gan25.SIGMA)
    assert wide.high_quality == 1.0
    assert wide.spread == pytest.approx(2.0, rel=1e-3)


def test_a_short_training_reports_its_progress():
    first, last = gan25.train(rounds=4, every=2)
    assert (first.rounds, last.rounds) == (2, 4)
    assert 0 < first.seconds < last.seconds
    assert all(0 <= found.high_quality <= 1 for found in (first, last))
    table = gan25.as_figures((first, last))
    assert table.text().count("\n") == 3
    assert list(table.rows) == ["2 rounds", "4 rounds"]


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_wgan_gp_finds_every_mode():
    progress = list(gan25.train())
    print(gan25.as_figures(progress).text())  # noqa: T201 - the measured table belongs in the log of the full tests
    found = progress[-1]
    assert found.modes == 25
    assert found.high_quality > 0.3
    assert found.spread < 1.8  # strewn samples have 2
