"""The convolutional networks of adversarial models: critic, generator, encoder.

No batch normalisation anywhere: a gradient penalty and a score are per object. No loss and no score here.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

_SLOPE = 0.2
"""Of the leaky rectifiers, as in Radford+15."""


def _sides(size: int) -> list[int]:
    """Pixels on a side at each resolution, halved (rounding up) until 4 or less: 32 -> [32, 16, 8, 4]."""
    sides = [size]
    while sides[-1] > 4:
        sides.append((sides[-1] + 1) // 2)
    return sides


def _widths(width: int, stages: int) -> list[int]:
    """Feature maps after each halving: ``width``, doubled at each stage, at most eightfold."""
    return [width * min(2**stage, 8) for stage in range(stages)]


class _Convolutions(nn.Sequential):
    """Strided convolutions from (B, C, size, size) to the last feature maps (B, F, side, side)."""

    def __init__(self, channels: int, size: int, width: int) -> None:
        widths = [channels, *_widths(width, len(_sides(size)) - 1)]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
        super().__init__(*layers)
        self.flat = widths[-1] * _sides(size)[-1] ** 2


class Critic(nn.Module):
    """A real number for each image; ``features`` are its last convolutional features."""

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.features = _Convolutions(channels, size, width)
        # Only differences of its values mean anything: a bias would never learn.
        self.head = nn.Linear(self.features.flat, 1, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B,) values of (B, C, H, W) pixels."""
        return self.head(self.features(pixels).flatten(1)).squeeze(1)


class Encoder(nn.Module):
    """Latents of an image: the critic's shape with a wider end."""

    def __init__(self, channels: int, size: int, width: int, latent: int) -> None:
        super().__init__()
        self.features = _Convolutions(channels, size, width)
        self.head = nn.Linear(self.features.flat, latent)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, latent) of (B, C, H, W) pixels."""
        return self.head(self.features(pixels).flatten(1))


class Generator(nn.Module):
    """An image for each latent vector; only the vector's direction counts."""

    def __init__(self, channels: int, size: int, width: int, latent: int) -> None:
        super().__init__()
        sides = _sides(size)[::-1]
        widths = [*_widths(width, len(sides) - 1)[::-1], channels]
        self.sides = sides
        self.start = nn.Linear(latent, widths[0] * sides[0] ** 2)
        # Kernel 4 at stride 2 overlaps evenly: no checkerboard, and less than half the work of upsample-and-convolve.
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(widths)
        )

    def forward(self, latents: Tensor) -> Tensor:
        """(B, C, H, W) stretched pixels of (B, latent)."""
        x = self.start(on_sphere(latents)).unflatten(1, (-1, self.sides[0], self.sides[0]))
        for layer, side in zip(self.grow, self.sides[1:], strict=True):
            x = layer(nn.functional.leaky_relu(x, _SLOPE))[:, :, :side, :side]
        return x


def on_sphere(latents: Tensor) -> Tensor:
    """Latents scaled to unit mean square, where almost all of a Gaussian's mass lies in many dimensions.

    So an encoder or a refinement cannot leave the generator's domain to reach an outlier.
    """
    return latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)


def frozen(module: nn.Module, inputs: Tensor) -> Tensor:
    """``module(inputs)`` with gradients to the inputs alone: saves the weights' backward, and leaves them untouched."""
    return functional_call(module, {name: p.detach() for name, p in module.named_parameters()}, (inputs,))
