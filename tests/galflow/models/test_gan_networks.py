"""Critic, generator and encoder: shapes, and what their outputs may depend on."""

import pytest
import torch

from galflow.models.gan_networks import Critic, Encoder, Generator, frozen, on_sphere


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("size", "side"), [(5, 3), (8, 4), (11, 3), (32, 4), (96, 3)])
def test_any_size_fits(size: int, side: int) -> None:
    pixels = torch.randn(2, 3, size, size)
    assert Critic(3, size, 4)(pixels).shape == (2,)
    assert Critic(3, size, 4).features(pixels).shape[2:] == (side, side)
    assert Encoder(3, size, 4, 6)(pixels).shape == (2, 6)
    assert Generator(3, size, 4, 6)(torch.randn(2, 6)).shape == pixels.shape


def test_the_critic_reads_its_features() -> None:
    critic, pixels = Critic(1, 8, 4), torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(critic(pixels), critic.head(critic.features(pixels).flatten(1))[:, 0])


def test_an_output_depends_on_its_own_object_only() -> None:
    pixels = torch.randn(5, 1, 16, 16)
    latents = torch.randn(5, 8)
    for module, inputs in (
        (Critic(1, 16, 4), pixels),
        (Encoder(1, 16, 4, 8), pixels),
        (Generator(1, 16, 4, 8), latents),
    ):
        torch.testing.assert_close(module(inputs)[2:3], module(inputs[2:3]), rtol=1e-5, atol=1e-6)


def test_latents_count_by_direction_only() -> None:
    generator, latents = Generator(1, 8, 4, 8), torch.randn(3, 8)
    torch.testing.assert_close(generator(latents), generator(50 * latents), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(on_sphere(latents).square().mean(1), torch.ones(3))
    assert on_sphere(torch.zeros(1, 4)).isfinite().all()


def test_frozen_passes_gradients_to_its_inputs_alone() -> None:
    critic = Critic(1, 8, 4)
    pixels = torch.randn(2, 1, 8, 8, requires_grad=True)
    frozen(critic, pixels).sum().backward()
    assert all(p.grad is None for p in critic.parameters())
    through = pixels.grad
    (plain,) = torch.autograd.grad(critic(pixels).sum(), pixels)
    assert through is not None
    torch.testing.assert_close(through, plain)
