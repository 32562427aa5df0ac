"""The plane targets: normalised, sampled from what they state, entropy against Monte Carlo and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from benchmarks.targets2d import GaussianMixture, Target, targets

each_target = pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)


@each_target
def test_the_density_integrates_to_one(target: Target) -> None:
    points, area = target.grid()
    assert float(target.log_prob(points).exp().sum() * area) == pytest.approx(1, abs=1e-6)


@each_target
def test_entropy_is_what_samples_say(target: Target) -> None:
    points = target.sample(200_000, torch.Generator().manual_seed(1))
    surprise = -target.log_prob(points)
    error = float(surprise.std()) / math.sqrt(len(points))
    assert target.entropy() == pytest.approx(float(surprise.mean()), abs=4 * error + 1e-5)


@each_target
def test_samples_fall_into_cells_as_often_as_the_density_says(target: Target) -> None:
    n, cells = 100_000, 16
    points = target.sample(n, torch.Generator().manual_seed(2))
    edges = torch.linspace(-target.half_width, target.half_width, cells + 1)
    counts, _ = torch.histogramdd(points, [edges, edges])
    fine, area = target.grid(cells * 20)
    mass = (target.log_prob(fine).exp() * area).view(cells, 20, cells, 20).sum((1, 3))
    expected = n * mass.clamp_min(1e-9)
    strength = ((counts - expected) / (expected.sqrt() + 1)).abs().max()
    assert float(strength) < 4.5


def test_the_checkerboard_has_the_entropy_of_its_area() -> None:
    assert targets()[2].entropy() == pytest.approx(math.log(32), abs=1e-9)


def test_a_single_gaussian_has_its_textbook_entropy() -> None:
    single = GaussianMixture("one", torch.zeros(1, 2), 0.7)
    assert single.entropy() == pytest.approx(math.log(2 * math.pi * math.e * 0.49), abs=1e-6)
