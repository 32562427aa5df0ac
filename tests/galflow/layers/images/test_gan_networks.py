"""Critic, encoder and the generators without styles: shapes, what outputs depend on, and patterns that must not be."""

import math

import pytest
import torch
from torch import Tensor, nn

from galflow.layers.images.gan_networks import (
    ConvolutionalGenerator,
    Critic,
    DenseGenerator,
    Encoder,
    PixelHead,
    frozen,
    on_sphere,
)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def finest_power(images: Tensor) -> float:
    """Share of the power at the highest two frequencies of either axis: 18% for white noise of 32 pixels a side."""
    power = torch.fft.fft2(images - images.mean((2, 3), keepdim=True)).abs().square().mean((0, 1))
    side = len(power)
    order = (torch.fft.fftfreq(side) * side).abs()
    fine = order >= side // 2 - 1
    return float(power[fine[:, None] | fine[None]].sum() / power.sum())


@pytest.mark.parametrize(("size", "side"), [(5, 2), (8, 4), (11, 2), (32, 4), (96, 3)])
def test_any_size_fits(size: int, side: int) -> None:
    pixels = torch.randn(2, 3, size, size)
    assert Critic(3, size, 4)(pixels).shape == (2,)
    assert Critic(3, size, 4).features(pixels).shape[2:] == (side, side)
    assert Encoder(3, size, 4, 6)(pixels).shape == (2, 6)
    generator = ConvolutionalGenerator(3, size, 4, 6)
    assert generator(torch.randn(2, 6)).shape == pixels.shape
    assert generator(torch.randn(2, 6), torch.randn(2, generator.noise_size)).shape == pixels.shape


@pytest.mark.parametrize("size", [1, 4])
def test_tiny_images_get_dense_networks(size: int) -> None:
    pixels = torch.randn(5, 2, size, size)
    assert Critic(2, size, 8).features(pixels).shape == (5, 32)
    assert Encoder(2, size, 8, 6)(pixels).shape == (5, 6)
    generator = DenseGenerator(2, size, 8, 6)
    assert generator.noise_size == 0
    latents = torch.randn(5, 6)
    assert generator(latents).shape == pixels.shape
    assert torch.equal(generator(latents), generator(latents, torch.randn(5, 0)))


def test_the_critic_reads_its_features() -> None:
    critic, pixels = Critic(1, 8, 4), torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(critic(pixels), critic.head(critic.features(pixels).flatten(1))[:, 0])
    assert critic.head.bias is None
    assert Critic(1, 8, 4, bias=True).head.bias is not None


def test_an_output_depends_on_its_own_object_only() -> None:
    pixels = torch.randn(5, 1, 16, 16)
    latents = torch.randn(5, 8)
    for module, inputs in (
        (Critic(1, 16, 4), pixels),
        (Encoder(1, 16, 4, 8), pixels),
        (ConvolutionalGenerator(1, 16, 4, 8), latents),
    ):
        torch.testing.assert_close(module(inputs)[2:3], module(inputs[2:3]), rtol=1e-5, atol=1e-6)


def test_every_pixel_weighs_the_same_in_a_convolution_of_the_critic() -> None:
    """Else its gradient prints a grid on whatever learns from it; kernels of 3 at stride 2 weigh 1, 2 or 4 times."""
    layer = Critic(1, 32, 4).features[0]
    assert isinstance(layer, nn.Conv2d)
    nn.init.ones_(layer.weight)
    pixels = torch.zeros(1, 1, 32, 32, requires_grad=True)
    layer(pixels).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad[..., 1:-1, 1:-1].unique().numel() == 1


@pytest.mark.parametrize("number", range(3))
def test_untrained_images_have_no_checkerboard(number: int) -> None:
    """Transposed convolutions, which this generator once had, put 38 to 64% of the power there."""
    torch.manual_seed(number)
    with torch.no_grad():
        assert finest_power(ConvolutionalGenerator(1, 32, 16, 8)(torch.randn(16, 8))) < 0.02


def test_noise_is_added_to_the_object_and_is_as_strong_at_the_edge() -> None:
    generator = ConvolutionalGenerator(2, 16, 4, 8)
    generator.start_from(torch.tensor([0.1, -0.2]), torch.tensor([0.05, 0.2]))
    latents = torch.randn(1, 8)
    with torch.no_grad():
        drawn = generator(latents.expand(4000, -1), torch.randn(4000, generator.noise_size))
        quiet = generator(latents)
    torch.testing.assert_close(drawn.mean(0), quiet[0], atol=0.03, rtol=0)
    scatter = drawn.std(0)
    for band, expected in enumerate((0.05, 0.2)):
        edge = torch.cat([scatter[band, 0], scatter[band, -1]]).mean()
        inside = scatter[band, 4:12, 4:12].mean()
        assert 0.7 * expected < inside < 1.4 * expected
        assert 0.8 * inside < edge < 1.25 * inside


def test_the_sky_starts_at_the_level_it_was_given() -> None:
    generator = ConvolutionalGenerator(2, 16, 4, 8)
    generator.start_from(torch.tensor([0.5, -0.5]), torch.tensor([0.1, 0.1]))
    with torch.no_grad():
        means = generator(torch.randn(64, 8)).mean((0, 2, 3))
    torch.testing.assert_close(means, torch.tensor([0.5, -0.5]), atol=0.15, rtol=0)
    dense = DenseGenerator(2, 1, 4, 8)
    dense.start_from(torch.tensor([0.5, -0.5]), torch.tensor([0.0, 0.0]))
    assert dense(torch.randn(3, 8))[:, :, 0, 0].tolist() == [[0.5, -0.5]] * 3


def test_noise_fades_behind_an_asinh_stretch_as_the_real_sky_does() -> None:
    """Against noisy fluxes put through the stretch: softening of 3 sigma, white at 300 sigma."""
    stretched = torch.tensor([0.0, 0.2, 0.5, 0.9])
    white = math.asinh(100.0)
    flux = 3.0 * torch.sinh(stretched * white)
    draw = torch.Generator().manual_seed(1)
    real = torch.asinh((flux + torch.randn(20_000, 4, generator=draw)) / 3.0) / white

    head = PixelHead(1, 1, 4)
    head.start_from(torch.zeros(1), real[:, :1].std(0))
    nn.init.ones_(head.paint.weight)
    features = stretched.expand(2000, 1, 4, 4)
    with torch.no_grad():
        drawn = head(features, torch.randn(2000, *head.noise_shape, generator=draw))
        torch.testing.assert_close(head(features, None), features)
    torch.testing.assert_close(drawn.std((0, 1, 2)), real.std(0), rtol=0.15, atol=0)
    bright = head(torch.full((1, 1, 4, 4), 1e4), torch.randn(1, *head.noise_shape, generator=draw))
    assert torch.equal(bright, torch.full((1, 1, 4, 4), 1e4))


def test_latents_on_the_sphere() -> None:
    latents = torch.randn(3, 8)
    torch.testing.assert_close(on_sphere(latents), on_sphere(50 * latents), rtol=1e-4, atol=1e-5)
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
