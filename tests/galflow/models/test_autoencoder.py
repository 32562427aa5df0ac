"""Autoencoder: when its mixture is fitted, and what its samples show."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import distributions

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.blocks import ImageDecoder, ImageEncoder
from galflow.models.autoencoder import Autoencoder
from galflow.models.base import Density

SKY_VARIANCE = 0.05**2
"""Noise of the synthetic galaxies (conftest.py)."""


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
