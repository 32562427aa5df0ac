"""The mixture of Gaussians against scikit-learn and torch.distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as ReferenceMixture
from torch import distributions

from galflow.models.shared.gaussian_mixture import COVARIANCE_FLOOR, GaussianMixture


def two_clouds(n: int, seed: int = 0) -> torch.Tensor:
    """(n, 2) points: 70% around (0, 0), 30% around (6, 2), both tilted."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.randn(int(0.7 * n), 2, generator=draw) @ torch.tensor([[1.0, 0.8], [0.0, 0.5]])
    second = torch.randn(n - len(first), 2, generator=draw) @ torch.tensor([[0.4, -0.3], [0.0, 0.3]])
    return torch.cat([first, second + torch.tensor([6.0, 2.0])])


def test_mixture_finds_the_same_fit_as_scikit_learn() -> None:
    points = two_clouds(20_000)
    mixture = GaussianMixture(components=2, dimensions=2)
    mixture.fit(points)
    x = points.double().numpy()
    floor = COVARIANCE_FLOOR * x.var(0).mean()
    reference = ReferenceMixture(2, random_state=0, tol=1e-8, reg_covar=floor).fit(x)
    # What remains is the covariance prior, which weighs as much as a few (wide) objects among 20,000.
    difference = mixture.log_prob(points).double().numpy() - reference.score_samples(x)
    assert np.abs(difference).mean() < 5e-3
    assert np.abs(difference).max() < 0.15
    np.testing.assert_allclose(sorted(mixture.log_weights.exp().tolist()), [0.3, 0.7], atol=1e-3)


def test_mixture_density_agrees_with_torch_distributions() -> None:
    mixture = GaussianMixture(components=3, dimensions=2)
    mixture.fit(two_clouds(300))
    covariances = torch.linalg.inv(mixture.whitenings.mT @ mixture.whitenings)
    expected = distributions.MixtureSameFamily(
        distributions.Categorical(logits=mixture.log_weights),
        distributions.MultivariateNormal(mixture.means, covariances),
    )
    points = two_clouds(50, seed=1)
    torch.testing.assert_close(mixture.log_prob(points), expected.log_prob(points), atol=1e-4, rtol=1e-4)


def test_mixture_draws_follow_its_own_density() -> None:
    mixture = GaussianMixture(components=2, dimensions=2)
    mixture.fit(two_clouds(2000))
    drawn = mixture.draw(40_000, torch.Generator().manual_seed(2))
    mean = mixture.log_weights.exp() @ mixture.means
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.05, rtol=0)
    second = torch.linalg.inv(mixture.whitenings.mT @ mixture.whitenings)
    second = second + mixture.means[:, :, None] * mixture.means[:, None, :]
    covariance = torch.einsum("k,kij->ij", mixture.log_weights.exp(), second) - torch.outer(mean, mean)
    torch.testing.assert_close(torch.cov(drawn.T), covariance, atol=0.15, rtol=0.02)


@pytest.mark.parametrize("points", [torch.ones(5, 3), torch.zeros(1, 3), two_clouds(40) @ torch.ones(2, 3)])
def test_mixture_survives_points_without_spread(points: torch.Tensor) -> None:
    """Identical points, a single one, and points on a line: the covariance floor keeps every number finite."""
    mixture = GaussianMixture(components=4, dimensions=3)
    mixture.fit(points)
    assert mixture.log_prob(points).isfinite().all()
    assert mixture.draw(5).isfinite().all()
