"""Autoencoder: the mixture against scikit-learn and torch.distributions, and what its samples show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture as ReferenceMixture
from torch import distributions

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.blocks import ImageDecoder, ImageEncoder
from galflow.models.autoencoder import Autoencoder
from galflow.models.shared.gaussian_mixture import COVARIANCE_FLOOR, GaussianMixture
from galflow.models.base import Density

SKY_VARIANCE = 0.05**2
"""Noise of the synthetic galaxies (conftest.py)."""


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


def test_before_finish_the_mixture_is_a_standard_normal() -> None:
    model = Autoencoder(channels=1, size=8, latent=3, width=8)
    batch = Batch.of(torch.rand(4, 1, 8, 8))
    normal = distributions.Normal(0.0, 1.0).log_prob(model.encode(batch)).sum(1)
    torch.testing.assert_close(model.score(batch)["latent"], -normal)


def test_finish_fits_the_training_latents(blobs: Callable[..., Batch], train: Callable[..., None]) -> None:
    torch.manual_seed(0)
    model = Autoencoder.tiny()
    data = blobs(model, 128)
    train(model, data, rounds=150)
    latents = model.encode(data).detach()
    torch.testing.assert_close(
        model.mixture.log_weights.exp() @ model.mixture.means, latents.mean(0), atol=0.05, rtol=0.05
    )
    standard = distributions.Normal(0.0, 1.0).log_prob(latents).sum(1).mean()
    assert -model.score(data)["latent"].mean() > standard
    noise = SKY_VARIANCE
    signal = (data.pixels - data.pixels.mean(0)).square().mean() - noise
    assert model.score(data)["reconstruction"].mean() - noise < 0.3 * signal
    brightness = model.sample(200, torch.Generator().manual_seed(1)).sum((1, 2, 3))
    assert brightness.median().item() == pytest.approx(data.pixels.sum((1, 2, 3)).median().item(), rel=0.3)


def test_is_not_called_a_density() -> None:
    assert not issubclass(Autoencoder, Density)


def test_objects_without_pixels_take_no_part_in_the_fit() -> None:
    model = Autoencoder(channels=1, size=8, latent=2, width=8)
    seen = Batch.of(torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    blank = Batch(torch.zeros(30, 1, 8, 8), torch.zeros(30, 1, 8, 8, dtype=torch.bool))
    model.finish([seen])
    alone = model.mixture.means.clone()
    model.finish([blank, seen])
    assert torch.equal(model.mixture.means, alone)
    with pytest.raises(ModelError, match=r"mixture was given no observed object"):
        model.finish([blank])


@pytest.mark.parametrize("size", [8, 12, 16, 32, 48, 60, 64, 96, 128])
def test_networks_fit_every_promised_size(size: int) -> None:
    encoder = ImageEncoder(channels=2, size=size, features=3, width=4, normalise=True)
    decoder = ImageDecoder(features=3, channels=2, size=size, width=4, normalise=True)
    assert decoder(encoder(torch.rand(2, 2, size, size))).shape == (2, 2, size, size)


@pytest.mark.parametrize("size", [4, 7, 31, 50])
def test_networks_refuse_a_size_that_cannot_be_halved(size: int) -> None:
    with pytest.raises(SpecError, match=rf"cutouts of {size} pixels .* choose a size with more factors of two"):
        Autoencoder(channels=1, size=size)


def test_refuses_options_without_meaning() -> None:
    with pytest.raises(SpecError, match=r"latent is 0; an autoencoder needs at least one"):
        Autoencoder(channels=1, size=8, latent=0)
    with pytest.raises(SpecError, match=r"components is 0; a mixture needs at least one"):
        Autoencoder(channels=1, size=8, components=0)
    with pytest.raises(SpecError, match=r"width is 0; a network needs at least one feature map"):
        Autoencoder(channels=1, size=8, width=0)
