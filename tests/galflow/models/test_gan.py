"""The GAN's cross-entropies against torch's own, its gradients where the discriminator is sure, and its training."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.base import GenerativeModel
from galflow.models.gan import GAN


@pytest.fixture
def model() -> GAN:
    torch.manual_seed(3)
    return GAN.tiny()


@pytest.fixture(scope="module")
def trained(train: Callable[..., None], blobs: Callable[[GenerativeModel, int], Batch]) -> GAN:
    torch.manual_seed(0)
    model = GAN.tiny()
    train(model, blobs(model, 256), rounds=300)
    return model


def fakes(model: GAN, n: int) -> Tensor:
    numbers = torch.randn(n, model.latent + model.generator.noise_size)
    return model.generator(model.domain(numbers[:, : model.latent]), numbers[:, model.latent :])


def test_losses_are_cross_entropies(model: GAN, blobs: Callable[..., Batch]) -> None:
    """Against torch's own, with labels 1 for real and 0 for fake; the generator's with fakes labelled as real."""
    batch = blobs(model, 6)
    torch.manual_seed(1)
    of_discriminator = model.loss(batch, "discriminator")
    torch.manual_seed(1)
    of_generator = model.loss(batch, "generator")
    torch.manual_seed(1)
    with torch.no_grad():
        real, fake = model.critic(batch.pixels), model.critic(fakes(model, 6))
    entropy = functional.binary_cross_entropy_with_logits
    expected = entropy(real, torch.ones(6)) + entropy(fake, torch.zeros(6))
    torch.testing.assert_close(of_discriminator.detach(), expected)
    torch.testing.assert_close(of_generator.detach(), entropy(fake, torch.ones(6)))


def test_a_discriminator_without_a_clue_pays_two_bits(model: GAN, blobs: Callable[..., Batch]) -> None:
    torch.nn.init.zeros_(model.critic.head.weight)
    torch.nn.init.zeros_(model.critic.head.bias)
    assert float(model.loss(blobs(model, 4), "discriminator").detach()) == pytest.approx(2 * math.log(2))


def test_the_generators_loss_does_not_saturate(model: GAN, blobs: Callable[..., Batch]) -> None:
    """Where the discriminator is sure of the fakes, the gradient with respect to its value is -1, not 0."""
    values = torch.full((1,), -30.0, requires_grad=True)
    model.generator_loss(values).backward()
    assert values.grad is not None
    assert float(values.grad) == pytest.approx(-1.0)
    sure = torch.tensor([200.0, -200.0])
    assert model.generator_loss(sure).isfinite()


@pytest.mark.parametrize("player", ["discriminator", "generator", "encoder"])
def test_a_loss_reaches_its_own_players_parameters_only(model: GAN, player: str, blobs: Callable[..., Batch]) -> None:
    model.loss(blobs(model, 4), player).backward()
    touched = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert touched == {{"discriminator": "critic"}.get(player, player)}


def test_schedule_and_refusals(model: GAN, blobs: Callable[..., Batch]) -> None:
    steps = {p.name: (p.steps, p.phase) for p in model.players}
    assert steps == {"discriminator": (1, 0), "generator": (1, 0), "encoder": (1, 1)}
    with pytest.raises(ModelError, match="GAN has no player 'critic'; its players are discriminator, generator, enc"):
        model.loss(blobs(model, 2), "critic")
    with pytest.raises(SpecError, match="a GAN needs latent of at least 2"):
        GAN(channels=1, size=8, latent=0)
    with pytest.raises(SpecError, match=r"mix is 2\.0"):
        GAN(channels=1, size=8, mix=2.0)


def test_training_brings_samples_to_the_data(trained: GAN, blobs: Callable[..., Batch]) -> None:
    data, drawn = blobs(trained, 256, seed=1).pixels, trained.sample(256, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), data.mean(0), atol=0.12, rtol=0)
    found = trained.diagnostics(blobs(trained, 128, seed=2))
    assert found["coverage"] > 0.4
    assert found["near_duplicates"] < 0.2
    assert 0.2 < found["discriminator_accuracy"] < 0.9


def test_accuracy_and_gradient_by_hand(model: GAN, blobs: Callable[..., Batch]) -> None:
    """A discriminator w . x + b that calls everything real: half right, and the fakes' gradient is (1 - D) w."""
    weight = torch.full((64,), 0.01)
    batch = blobs(model, 16)

    class Linear(torch.nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return pixels.flatten(1) @ weight + 2.0

    model.critic = Linear()  # type: ignore[assignment]
    found = model.diagnostics(batch)
    assert found["discriminator_accuracy"] == 0.5
    values = 2.0 + 0.01 * model.sample(16, torch.Generator().manual_seed(0)).flatten(1).sum(1)
    expected = torch.sigmoid(-values).mean() * weight.norm()
    assert found["generator_gradient"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("part", [1.0, 0.5])
def test_r1_is_the_squared_slope_at_real_images(part: float) -> None:
    """Mescheder+18, equation 9: half the weight times the squared gradient of the logit, over observed pixels."""
    torch.manual_seed(2)
    model, plain = GAN(channels=1, size=8, latent=8, width=8, r1=3.0), GAN(channels=1, size=8, latent=8, width=8)
    plain.load_state_dict(model.state_dict())
    real = torch.rand(4, 1, 8, 8)
    observed = torch.ones_like(real, dtype=torch.bool)
    observed[:, :, :, : round(8 * (1 - part))] = False
    batch = Batch(real * observed, observed)
    losses = []
    for each in (model, plain):
        torch.manual_seed(1)
        losses.append(each.loss(batch, "discriminator"))
    slopes = torch.stack([torch.autograd.functional.jacobian(model.critic, image[None])[0] for image in batch.pixels])
    expected = 1.5 * (slopes.flatten(1).view(4, 8, 8) * observed[:, 0]).square().sum((1, 2)).mean()
    torch.testing.assert_close(losses[0] - losses[1], expected, rtol=1e-4, atol=1e-6)
    losses[0].backward()
    assert all(parameter.grad is not None for parameter in model.critic.features.parameters())
    assert [p.compiles for p in model.players if p.name == "discriminator"] == [False]


def test_a_negative_r1_is_refused() -> None:
    with pytest.raises(SpecError, match=r"r1 is -1\.0; .*must not be negative"):
        GAN(channels=1, size=8, r1=-1.0)
