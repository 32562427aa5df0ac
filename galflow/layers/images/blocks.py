"""Convolution blocks and masked sums that the image models share.

No batch statistics anywhere: what a model says of one object must not depend on which objects share its batch. This
file knows no loss and no score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import SpecError

SMALLEST_GRID = 4
"""An encoder halves the image until one more halving would go below this many cells on a side."""
LARGEST_GRID = 15
"""Beyond this many cells the dense layer behind the convolutions would hold most of the network."""


def observed_pixels(batch: Batch) -> Tensor:
    """(B, C, H, W) pixels with 0 where nothing was observed, whatever stands there (NaN included)."""
    return torch.where(batch.observed, batch.pixels, torch.zeros_like(batch.pixels))


def smoothed(images: Tensor) -> Tensor:
    """(B, C, H, W) mean of each pixel and the eight around it; pixels at the edge stand for those beyond."""
    wide = F.pad(images, (1, 1, 1, 1), mode="replicate")
    rows = wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]  # eight times the rate of avg_pool2d on a CPU
    return (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9


def mean_over_observed(values: Tensor, observed: Tensor) -> Tensor:
    """(B,) mean of ``values`` (B, C, H, W) over each object's observed pixels; 0 for an object without any."""
    total = torch.where(observed, values, torch.zeros_like(values)).sum((1, 2, 3))
    return total / observed.sum((1, 2, 3)).clamp_min(1)


def standard_normal(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """N(0, 1) numbers of ``like``'s type on its device, drawn where ``generator`` lives."""
    device = like.device if generator is None else generator.device
    return torch.randn(tuple(shape), generator=generator, device=device, dtype=like.dtype).to(like.device)


def random_choice(weights: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """(n,) int64 indices drawn in proportion to ``weights`` (K,), where ``generator`` lives; on the weights' device."""
    if n == 0:  # which torch refuses
        return torch.empty(0, dtype=torch.int64, device=weights.device)
    device = weights.device if generator is None else generator.device
    return torch.multinomial(weights.to(device), n, replacement=True, generator=generator).to(weights.device)


def halvings(size: int) -> int:
    """How often an image of ``size`` pixels on a side is halved; refuses a size with too few factors of two."""
    levels, grid = 0, size
    while grid % 2 == 0 and grid // 2 >= SMALLEST_GRID:
        levels, grid = levels + 1, grid // 2
    if levels < 1 or grid > LARGEST_GRID:
        raise SpecError(
            f"cutouts of {size} pixels on a side cannot be halved down to {SMALLEST_GRID}-{LARGEST_GRID} cells; "
            "choose a size with more factors of two, such as 16, 32, 48, 64, 96 or 128"
        )
    return levels


def level_widths(width: int, levels: int) -> list[int]:
    """Feature maps of each level, fine to coarse: doubling, but never beyond four times ``width``."""
    if width < 1:
        raise SpecError(f"width is {width}; a network needs at least one feature map, such as 32")
    return [width * min(2**level, 4) for level in range(levels)]


def group_norm(features: int) -> nn.GroupNorm:
    """Normalisation over up to 8 groups of the features of one object."""
    return nn.GroupNorm(math.gcd(features, 8), features)


def _activated(layer: nn.Module, features: int, normalise: bool) -> list[nn.Module]:
    return [layer, *([group_norm(features)] if normalise else []), nn.SiLU()]


class ImageEncoder(nn.Sequential):
    """(B, channels, size, size) -> (B, features): strided convolutions, then one dense layer.

    ``normalise`` puts a GroupNorm behind each convolution. It steadies deep or adversarial training, but takes out
    part of an object's brightness, which a reconstruction needs; hence it is off unless asked for.
    """

    def __init__(self, *, channels: int, size: int, features: int, width: int = 32, normalise: bool = False) -> None:
        levels = halvings(size)
        layers: list[nn.Module] = []
        before = channels
        for after in level_widths(width, levels):
            layers += _activated(nn.Conv2d(before, after, 4, stride=2, padding=1), after, normalise)
            before = after
        grid = size >> levels
        super().__init__(*layers, nn.Flatten(), nn.Linear(before * grid * grid, features))


class ImageDecoder(nn.Sequential):
    """(B, features) -> (B, channels, size, size): one dense layer, then doublings; linear at the end.

    The last doubling rearranges four maps per band into pixels, so that no wide layer runs at full resolution.
    """

    def __init__(self, *, features: int, channels: int, size: int, width: int = 32, normalise: bool = False) -> None:
        levels = halvings(size)
        widths = level_widths(width, levels)
        grid = size >> levels
        deepest = widths[-1]
        layers: list[nn.Module] = [nn.Linear(features, deepest * grid * grid), nn.Unflatten(1, (deepest, grid, grid))]
        layers.append(nn.SiLU())
        before = deepest
        for after in reversed(widths[:-1]):
            layers += _activated(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), after, normalise)
            before = after
        layers += [nn.Conv2d(before, 4 * channels, 3, padding=1), nn.PixelShuffle(2)]
        super().__init__(*layers)
