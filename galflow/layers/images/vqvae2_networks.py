"""Encoder, two codebooks and decoder of the VQ-VAE-2: images to codes and back (Razavi+19, figure 2a).

No batch statistics: what is made of one object does not depend on which objects share its batch. This file knows no
probability, no noise and no loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.layers.images.quantiser import Quantised, Quantiser


class _Residual(nn.Module):
    """x + conv(silu(conv(silu(x)))): features stay as they are unless there is something to add."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class _ToVectors(nn.Conv2d):
    """1 x 1 convolution to vectors of length sqrt(D): their scale cannot run away from codes that follow slowly."""

    def forward(self, x: Tensor) -> Tensor:
        vectors = super().forward(x)
        return F.normalize(vectors, dim=1) * math.sqrt(self.out_channels)


def _residuals(width: int, layers: int) -> list[nn.Module]:
    return [*(_Residual(width) for _ in range(layers)), nn.SiLU()]


def _halve(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)


@dataclass(frozen=True)
class Levels:
    """An image as codes."""

    top: Quantised
    """At half the bottom's resolution."""
    bottom: Quantised


class TwoLevels(nn.Module):
    """Encoder, codebooks and decoder (Razavi+19, figure 2a and algorithm 1); codes, no probabilities."""

    def __init__(
        self, *, channels: int, halvings: int, codes: int, dimensions: int, width: int, layers: int, decay: float
    ) -> None:
        super().__init__()
        half = max(width // 2, 1)
        # Flags beside the pixels: 0 is a flux like any other, so the network is told what is missing.
        down: list[nn.Module] = [
            _halve(2 * channels, half) if halvings else nn.Conv2d(2 * channels, half, 3, padding=1)
        ]
        for _ in range(halvings - 1):
            down += [nn.SiLU(), _halve(half, half)]
        enter = [*down, nn.SiLU(), nn.Conv2d(half, width, 3, padding=1)]
        self.encode_bottom = nn.Sequential(*enter, *_residuals(width, layers))
        self.encode_top = nn.Sequential(_halve(width, width), *_residuals(width, layers))
        self.to_top = _ToVectors(width, dimensions, 1)
        self.top = Quantiser(codes=codes, dimensions=dimensions, decay=decay)
        self.decode_top = nn.Sequential(
            nn.Conv2d(dimensions, width, 3, padding=1), *_residuals(width, layers), _double(width, width), nn.SiLU()
        )
        self.to_bottom = _ToVectors(2 * width, dimensions, 1)
        self.bottom = Quantiser(codes=codes, dimensions=dimensions, decay=decay)
        self.lift_top = _double(dimensions, dimensions)
        leave = [nn.Conv2d(2 * dimensions, width, 3, padding=1), *_residuals(width, layers)]
        for _ in range(halvings - 1):
            leave += [_double(width, width), nn.SiLU()]
        # The last doubling rearranges four maps a band into pixels: no wide layer runs at full resolution.
        last = [nn.Conv2d(width, 4 * channels, 3, padding=1), nn.PixelShuffle(2)]
        self.decoder = nn.Sequential(*leave, *(last if halvings else [nn.Conv2d(width, channels, 3, padding=1)]))

    def vectors_of(self, pixels: Tensor, observed: Tensor) -> Tensor:
        """(B, width, h, w) features at the bottom's resolution of ``pixels`` (B, C, H, W), 0 where not ``observed``."""
        return self.encode_bottom(torch.cat([pixels, observed.to(pixels.dtype)], dim=1))

    def quantise(self, pixels: Tensor, observed: Tensor) -> Levels:
        """The codes of images; objects without any observed pixel move no codebook."""
        counted = observed.flatten(1).any(1)
        features = self.vectors_of(pixels, observed)
        top = self.top(self.to_top(self.encode_top(features)), counted)
        told = self.decode_top(top.vectors)
        return Levels(top, self.bottom(self.to_bottom(torch.cat([features, told], dim=1)), counted))

    @torch.no_grad()
    def start(self, pixels: Tensor, observed: Tensor) -> None:
        """Put both codebooks on what the untrained encoder makes of images, the top first: the bottom sees it."""
        features = self.vectors_of(pixels, observed)
        to_top = self.to_top(self.encode_top(features))
        self.top.start(to_top)
        told = self.decode_top(self.top(to_top).vectors)
        self.bottom.start(self.to_bottom(torch.cat([features, told], dim=1)))

    def decode(self, top: Tensor, bottom: Tensor) -> Tensor:
        """(B, C, H, W) of the levels' vectors, (B, D, h/2, w/2) and (B, D, h, w)."""
        return self.decoder(torch.cat([self.lift_top(top), bottom], dim=1))
