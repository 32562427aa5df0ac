"""Discretised logistics and Gaussians: exact masses, stable in float32, draws that follow them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2, logistic, norm
from torch import Tensor

from galflow.errors import ModelError, SpecError
from galflow.layers.pixels.discretised_mixture import DiscretisedMixture, GaussianMixture, LogisticMixture
from galflow.layers.pixels.distribution import Bins

BINS = Bins(low=-0.3, high=1.3, levels=256)


Kind = type[DiscretisedMixture]


@pytest.fixture(params=[LogisticMixture, GaussianMixture])
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


def mixture(kind: Kind, channels: int, components: int, bins: Bins, seed: int = 0, n: int = 1) -> DiscretisedMixture:
    """A random mixture in float64 for ``n`` one-pixel images."""
    generator = torch.Generator().manual_seed(seed)
    count = kind.parameters_per_pixel(components, channels)
    outputs = torch.randn(1, count, 1, 1, generator=generator, dtype=torch.float64).expand(n, -1, -1, -1)
    return kind.from_outputs(outputs, bins, components, channels)


def every_pixel(channels: int, levels: int) -> Tensor:
    """(levels**channels, channels, 1, 1): all bin numbers one pixel can have."""
    axes = [torch.arange(levels)] * channels
    return torch.cartesian_prod(*axes).view(-1, channels, 1, 1)


def test_masses_against_scipy(kind: Kind) -> None:
    """One component, one band: the difference of scipy's distribution function, with the tails in the edge bins."""
    level = torch.arange(BINS.levels).view(-1, 1, 1, 1)
    one = mixture(kind, 1, 1, BINS, n=BINS.levels)
    mean, scale = float(one.means[0, 0, 0]), float(one.log_scales[0, 0, 0].exp())
    edges = np.linspace(BINS.low, BINS.high, BINS.levels + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    expected = np.diff((logistic if kind is LogisticMixture else norm).cdf(edges, loc=mean, scale=scale))
    found = one.log_prob(level, torch.ones_like(level, dtype=torch.bool)).exp().flatten()
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(("channels", "levels"), [(1, 256), (2, 16), (3, 6)])
def test_masses_of_a_pixel_sum_to_one(kind: Kind, channels: int, levels: int) -> None:
    level = every_pixel(channels, levels)
    mass = mixture(kind, channels, 3, Bins(-0.3, 1.3, levels), n=len(level))
    total = mass.log_prob(level, torch.ones_like(level, dtype=torch.bool)).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-12)


def test_masses_of_the_observed_bands_sum_to_one(kind: Kind) -> None:
    level = every_pixel(3, 6)
    observed = torch.tensor([True, False, True]).view(1, 3, 1, 1).expand(len(level), -1, -1, -1)
    seen = level[:, 1, 0, 0] == 0
    bins = Bins(-0.3, 1.3, 6)
    log_prob = mixture(kind, 3, 3, bins, n=len(level)).log_prob(level, observed)
    assert float(log_prob[seen].exp().sum()) == pytest.approx(1.0, abs=1e-12)
    other = level.clone()
    other[:, 1] = 5 - other[:, 1]
    assert torch.equal(log_prob, mixture(kind, 3, 3, bins, n=len(level)).log_prob(other, observed))


@pytest.mark.parametrize("log_scale", [-50.0, -5.0, 0.0, 50.0])
@pytest.mark.parametrize("mean", [-100.0, -0.3, 0.1, 100.0])
def test_float32_agrees_with_float64_and_has_finite_gradients(kind: Kind, mean: float, log_scale: float) -> None:
    level = torch.arange(BINS.levels).view(-1, 1, 1, 1)
    observed = torch.ones_like(level, dtype=torch.bool)
    results = []
    for dtype in (torch.float32, torch.float64):
        outputs = torch.tensor([0.0, mean, log_scale], dtype=dtype).view(1, 3, 1, 1).repeat(BINS.levels, 1, 1, 1)
        outputs.requires_grad_()
        log_prob = kind.from_outputs(outputs, BINS, 1, 1).log_prob(level, observed)
        (gradient,) = torch.autograd.grad(log_prob.sum(), outputs)
        assert log_prob.isfinite().all()
        assert gradient.isfinite().all()
        results.append(log_prob.detach().double())
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=2e-3)


def test_band_conditionals_follow_from_the_joint(kind: Kind) -> None:
    """Expectations against the enumerated conditional P(x_3 | x_1, x_2), wherever a scale exceeds a bin."""
    bins = Bins(-0.3, 1.3, 24)
    level = every_pixel(3, bins.levels)
    observed = torch.ones_like(level, dtype=torch.bool)
    wide = mixture(kind, 3, 2, bins, seed=4, n=len(level))
    joint = wide.log_prob(level, observed).exp().view(24, 24, 24)
    centres = bins.centre(torch.arange(24), torch.float64)
    expected = (joint * centres).sum(2) / joint.sum(2)
    found = wide.expectation(level, observed)[:, 2].view(24, 24, 24)[..., 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05 * bins.width)


def test_later_bands_depend_on_earlier_ones_only(kind: Kind) -> None:
    values = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    three = mixture(kind, 3, 2, BINS)

    def means(values: Tensor) -> Tensor:
        return three.conditional_means(values, torch.ones_like(values, dtype=torch.bool))[0, 0, :, 0, 0]

    slope = torch.autograd.functional.jacobian(means, values)[:, 0, :, 0, 0]
    assert torch.equal(slope != 0, torch.ones(3, 3).tril(-1).bool())


def test_draws_follow_the_masses(kind: Kind) -> None:
    """Chi-square of 20,000 draws over the 36 bins of a two-band pixel; 99.99% of fair draws lie below the bound."""
    bins, n = Bins(-0.3, 1.3, 6), 20_000
    level = every_pixel(2, 6)
    expected = mixture(kind, 2, 3, bins, seed=2, n=36).log_prob(level, torch.ones_like(level, dtype=torch.bool)).exp()
    uniform = torch.rand(n, 3, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = mixture(kind, 2, 3, bins, seed=2, n=n).draw(uniform)
    counts = torch.bincount((drawn[:, 0] * 6 + drawn[:, 1]).flatten(), minlength=36)
    expected = expected.flatten() * n
    common = expected > 3
    counts, expected = (torch.cat([x[common], x[~common].sum()[None]]) for x in (counts.double(), expected))
    counts, expected = counts[expected > 0], expected[expected > 0]
    assert len(counts) > 15
    assert float(((counts - expected).square() / expected).sum()) < chi2.isf(1e-4, len(counts) - 1)


def test_pixels_beyond_the_range_fall_into_the_edge_bins() -> None:
    bins = Bins(0.0, 1.0, 4)
    pixels = torch.tensor([-7.0, 0.0, 0.26, 0.99, 1.0, 40.0])
    assert bins.level(pixels).tolist() == [0, 0, 1, 3, 3, 3]
    assert bins.centre(torch.arange(4), torch.float64).tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(("low", "high", "levels"), [(1.0, 0.0, 4), (0.0, 1.0, 1), (math.nan, 1.0, 4)])
def test_impossible_bins_are_refused(low: float, high: float, levels: int) -> None:
    with pytest.raises(SpecError, match="give low < high and at least 2 levels"):
        Bins(low, high, levels)


def test_outputs_of_the_wrong_number_are_refused() -> None:
    with pytest.raises(ModelError, match=r"takes 10 outputs a pixel, got 7; .*parameters_per_pixel"):
        LogisticMixture.from_outputs(torch.zeros(1, 7, 1, 1), BINS, components=1, channels=3)


def test_bin_probabilities_of_each_band_against_the_joint(kind: Kind) -> None:
    """P(x_2 | x_1) and, where band 1 is missing, P(x_2), against the enumerated pixel."""
    bins = Bins(-0.3, 1.3, 12)
    level = every_pixel(2, 12)
    observed = torch.ones_like(level, dtype=torch.bool)
    two = mixture(kind, 2, 3, bins, seed=4, n=len(level))
    joint = two.log_prob(level, observed).exp().view(12, 12)
    first, second = (two.masses(level, observed, band)[..., 0, 0].view(12, 12, 12)[:, 0] for band in range(2))
    torch.testing.assert_close(first, joint.sum(1).expand(12, -1))
    torch.testing.assert_close(second, joint / joint.sum(1, keepdim=True))
    observed[:, 0] = False
    alone = two.log_prob(level, observed).exp().view(12, 12)[0]
    torch.testing.assert_close(two.masses(level, observed, 1)[0, :, 0, 0], alone)
    assert float(alone.sum()) == pytest.approx(1.0, abs=1e-12)
