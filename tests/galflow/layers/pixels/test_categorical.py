"""The softmax over each band's bins: normalised over the bands together, in their order, and drawn as it scores."""

from __future__ import annotations

import torch
from scipy.stats import chi2
from torch import Tensor

from galflow.layers.pixels.categorical import BandLogits, Categorical
from galflow.layers.pixels.distribution import Bins

BINS = Bins(0.0, 1.0, 5)


def random_distribution(n: int) -> Categorical:
    """Three bands of one pixel, in float64; ``n`` times the same."""
    torch.manual_seed(0)
    band_logits = BandLogits(3, 6, BINS.levels).double()
    with torch.no_grad():
        for parameter in band_logits.parameters():
            parameter.mul_(3)
    return Categorical(BINS, torch.randn(1, 18, 1, 1, dtype=torch.float64).expand(n, -1, -1, -1), band_logits)


def every_pixel() -> Tensor:
    return torch.cartesian_prod(*[torch.arange(5)] * 3).view(-1, 3, 1, 1)


def test_probabilities_of_a_pixel_sum_to_one_and_chain() -> None:
    level = every_pixel()
    distribution, observed = random_distribution(125), torch.ones_like(level, dtype=torch.bool)
    with torch.no_grad():
        joint = distribution.log_prob(level, observed).exp().view(5, 5, 5)
        masses = [distribution.masses(level, observed, band)[..., 0, 0].view(5, 5, 5, 5) for band in range(3)]
        expected = distribution.expectation(level, observed)[..., 0, 0].view(5, 5, 5, 3)
    torch.testing.assert_close(joint.sum(), torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(masses[0][0, 0, 0], joint.sum((1, 2)))
    torch.testing.assert_close(masses[1][:, 0, 0], joint.sum(2) / joint.sum((1, 2))[:, None])
    torch.testing.assert_close(masses[2][:, :, 0], joint / joint.sum(2, keepdim=True))
    torch.testing.assert_close(expected[:, :, 0, 2], (masses[2][:, :, 0] * BINS.centres(joint)).sum(-1))


def test_a_missing_band_says_nothing() -> None:
    level = every_pixel()
    observed = torch.ones_like(level, dtype=torch.bool)
    observed[:, 1] = False
    with torch.no_grad():
        log_prob = random_distribution(125).log_prob(level, observed).view(5, 5, 5)
    assert torch.equal(log_prob, log_prob[:, :1].expand(-1, 5, -1))
    torch.testing.assert_close(log_prob[:, 0].exp().sum(), torch.ones((), dtype=torch.float64))


def test_draws_follow_the_probabilities() -> None:
    """Chi-square of 20,000 draws over the 125 values, the rare ones as one; 99.99% of fair draws lie below."""
    n, level = 20_000, every_pixel()
    uniform = torch.rand(n, 3, 1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        expected = (
            random_distribution(125).log_prob(level, torch.ones_like(level, dtype=torch.bool)).exp().flatten() * n
        )
        drawn = random_distribution(n).draw(uniform)[..., 0, 0]
    counts = torch.bincount((drawn * torch.tensor([25, 5, 1])).sum(1), minlength=125)
    common = expected > 3
    observed, expected = (torch.cat([x[common], x[~common].sum()[None]]) for x in (counts.double(), expected))
    assert len(observed) > 25
    assert float(((observed - expected).square() / expected).sum()) < chi2.isf(1e-4, len(observed) - 1)


def test_draws_at_the_ends_of_the_unit_interval_are_bins() -> None:
    for value in (0.0, 1 - 2**-53):
        drawn = random_distribution(2).draw(torch.full((2, 3, 1, 1), value, dtype=torch.float64))
        assert ((drawn >= 0) & (drawn < BINS.levels)).all()
