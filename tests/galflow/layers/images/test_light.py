"""The decoder of light: positive, bounded, of the same brightness however finely it is drawn."""

from __future__ import annotations

import pytest
import torch

from galflow.errors import SpecError
from galflow.layers.images.light import LightDecoder, smooth_interpolation
from galflow.photometry import AsinhStretch


def decoder(**options: int) -> LightDecoder:
    torch.manual_seed(0)
    return LightDecoder(
        **({"latent": 4, "channels": 2, "size": 16, "width": 4, "oversample": 1} | options),
        stretch=AsinhStretch(3.0, 1000.0, (1.0, 1.0)),
    )


@torch.no_grad()
def test_light_is_never_negative_and_never_overflows() -> None:
    for size in (3.0, 1e6):
        light = decoder().forward(size * torch.randn(50, 4, generator=torch.Generator().manual_seed(0)))
        assert (light >= 0).all()
        assert light.isfinite().all()
        assert light.square().sum((1, 2, 3)).isfinite().all()


@torch.no_grad()
@pytest.mark.parametrize("oversample", [1, 2, 3, 4])
def test_it_starts_dark(oversample: int) -> None:
    light = decoder(oversample=oversample).forward(torch.randn(20, 4, generator=torch.Generator().manual_seed(0)))
    assert light.shape == (20, 2, 20 * oversample, 20 * oversample)
    per_pixel = light.sum((1, 2, 3)) / (2 * 20 * 20)
    assert float(per_pixel.max()) < 1.0


def test_a_dark_start_still_learns() -> None:
    made = decoder()
    made.forward(torch.zeros(1, 4)).sum().backward()
    gradients = [p.grad for p in made.parameters() if p.grad is not None]
    assert max(float(g.abs().max()) for g in gradients) > 0.1


@pytest.mark.parametrize("oversample", [1, 2, 3, 4])
def test_interpolation_keeps_slopes_and_removes_the_networks_own_pattern(oversample: int) -> None:
    matrix = smooth_interpolation(20, oversample).double()
    torch.testing.assert_close(matrix.sum(1), torch.ones(20 * oversample).double())
    middle = slice(4 * oversample, 16 * oversample)
    place = (torch.arange(20 * oversample).double() + 0.5) / oversample - 0.5
    torch.testing.assert_close((matrix @ torch.arange(20.0).double())[middle], place[middle])
    alternating = (-1.0) ** torch.arange(20).double()
    assert (matrix @ alternating)[middle].abs().max() < 1e-6
    torch.testing.assert_close(matrix.flip(0, 1), matrix, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [8, 16, 20, 32, 48, 64, 96, 128])
def test_usual_cutout_sizes_can_be_built(size: int) -> None:
    assert decoder(size=size).canvas == size + 2 * (size // 8)


def test_too_fine_a_light_is_refused() -> None:
    with pytest.raises(SpecError, match=r"oversample is 9; give 1 to 4"):
        decoder(oversample=9)
