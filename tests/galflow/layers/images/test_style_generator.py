"""The style-based generator: styles against modulated kernels, noise in every layer, and training by WGAN's losses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from galflow.errors import SpecError
from galflow.layers.images.style_generator import StyledConvolution, StyleGenerator
from galflow.models.wgan import WGAN


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_a_style_modulates_the_kernels_of_each_object() -> None:
    """Karras+20, equations 1 and 3, written out kernel by kernel."""
    layer = StyledConvolution(3, 5, style=4, noise=2)
    maps, style = torch.randn(2, 3, 6, 6), torch.randn(2, 4)
    with torch.no_grad():
        found = layer(maps, style, None)
        for image in range(2):
            kernel = layer.weight * (1 + layer.style(style[image]))[None, :, None, None]
            kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            expected = nn.functional.conv2d(maps[image], kernel, padding=1)
            torch.testing.assert_close(found[image], 2**0.5 * nn.functional.leaky_relu(expected, 0.2))


@pytest.mark.parametrize("size", [5, 8, 11, 32, 96])
def test_any_size_fits(size: int) -> None:
    generator = StyleGenerator(3, size, 4, 6)
    noise = torch.randn(2, generator.noise_size)
    assert generator(torch.randn(2, 6), noise).shape == (2, 3, size, size)
    assert generator(torch.randn(2, 6)).shape == (2, 3, size, size)


def test_every_layers_noise_reaches_the_image() -> None:
    generator = StyleGenerator(1, 16, 4, 6)
    for layer in generator.layers:
        assert not layer.noise.weight.any()  # type: ignore[union-attr, operator]
        nn.init.ones_(layer.noise.weight)  # type: ignore[union-attr, arg-type]
    noise = torch.zeros(1, generator.noise_size, requires_grad=True)
    generator(torch.randn(1, 6), noise).square().sum().backward()
    assert noise.grad is not None
    assert len(generator.noise_shapes) == len(generator.sides) + 1
    for maps in generator.noise_maps(noise.grad):
        assert maps is not None
        assert (maps != 0).any()


def test_an_image_is_its_own_latents_and_nothing_else() -> None:
    generator = StyleGenerator(2, 16, 4, 6)
    latents = torch.randn(4, 6)
    images = generator(latents)
    assert torch.equal(images, generator(latents))
    torch.testing.assert_close(images[1:2], generator(latents[1:2]), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(images[0], images[1], atol=1e-3)


def test_all_follows_the_inputs_dtype() -> None:
    generator = StyleGenerator(1, 8, 4, 6).double()
    assert generator(torch.randn(2, 6).double(), torch.randn(2, generator.noise_size).double()).dtype == torch.float64


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(SpecError, match=r'at least 5 pixels on a side; got size=4.*generator="convolutional"'):
        WGAN(channels=1, size=4, generator="style")
    with pytest.raises(SpecError, match="mapping_layers is 0"):
        StyleGenerator(1, 8, 4, 6, mapping_layers=0)
