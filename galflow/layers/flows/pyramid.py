"""A pyramid of means for flows: an image splits exactly into a coarse one and details, whatever pixels are missing.

Of each 2 x 2 block the mean of its observed pixels goes on to the coarser image; every observed pixel but the first
keeps its contrast with the mean of those before it, scaled so that block -> (sqrt(n) mean, contrasts) is orthonormal
(Helmert; with n = 4 a Haar-like wavelet). A block with nothing observed is a missing pixel of the coarser image. So
the restricted map stays invertible, with the known log|det| -log(n) / 2 per block, and a density made from it counts
observed pixels only. A fixed rotation of the image (PCA, plain wavelets) could not do that.

This file models the details, given the coarser image, as Gaussians; the coarsest image is any flow's business.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from galflow.errors import SpecError
from galflow.layers.bounds import soft_bounded
from galflow.layers.flows.transform import FlowState, Transform

BLOCK = 4
"""Pixels of a block."""
_LOG_SCALE_BOUND = 5.0
"""A detail's spread stays within a factor exp(+-5) of the standardised pixels', so that no image makes it vanish."""


def split(state: FlowState) -> tuple[FlowState, Tensor, Tensor]:
    """The coarse image (B, C, h, w) of means, with its log|det|; the contrasts and their keep, (B, C, 3, h, w)."""
    values = F.pixel_unshuffle(state.values, 2).unflatten(1, (-1, BLOCK))
    mask = F.pixel_unshuffle(state.mask, 2).unflatten(1, (-1, BLOCK))
    count = mask.cumsum(2)
    mean = (values * mask).cumsum(2) / count.clamp_min(1)
    before = count[:, :, :-1]
    has = mask[:, :, 1:] * (before > 0)
    contrast = (values[:, :, 1:] - mean[:, :, :-1]) * (before / (before + 1)).sqrt() * has
    number = count[:, :, -1]
    log_det = state.log_det - 0.5 * number.clamp_min(1).log().sum((1, 2, 3))
    return FlowState(mean[:, :, -1], (number > 0).to(mask.dtype), log_det), contrast, has


def merge(coarse: Tensor, contrast: Tensor) -> Tensor:
    """The image (B, C, 2h, 2w) of means (B, C, h, w) and contrasts (B, C, 3, h, w), everything observed."""
    # The last pixel differs from the mean of all by its contrast alone, the one before it from what is then left.
    pixels = []
    mean = coarse
    for before in range(BLOCK - 1, 0, -1):
        pixel = mean + contrast[:, :, before - 1] * math.sqrt(before / (before + 1))
        mean = ((before + 1) * mean - pixel) / before
        pixels.append(pixel)
    block = torch.stack([mean, *reversed(pixels)], 2)
    return F.pixel_shuffle(block.flatten(1, 2), 2)


class Details(nn.Module):
    """Standardises the contrasts of one level, each given the coarser image and the block's earlier contrasts."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.networks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d((2 + 2 * step) * channels, width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 1),
                nn.SiLU(),
                nn.Conv2d(width, 2 * channels, 3, padding=1),
            )
            for step in range(BLOCK - 1)
        )

    def _law(self, step: int, seen: list[Tensor]) -> tuple[Tensor, Tensor]:
        mean, raw = self.networks[step](torch.cat(seen, 1)).chunk(2, 1)
        return mean, soft_bounded(raw, _LOG_SCALE_BOUND)

    def forward(self, coarse: FlowState, contrast: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised contrasts (B, C, 3, h, w) and their log|det| (B,)."""
        seen, found, log_det = [coarse.values, coarse.mask], [], torch.zeros_like(coarse.log_det)
        for step in range(BLOCK - 1):
            mean, log_scale = self._law(step, seen)
            found.append((contrast[:, :, step] - mean) * torch.exp(-log_scale) * mask[:, :, step])
            log_det = log_det - (log_scale * mask[:, :, step]).sum((1, 2, 3))
            seen += [contrast[:, :, step], mask[:, :, step]]
        return torch.stack(found, 2), log_det

    def inverse(self, coarse: Tensor, standardised: Tensor) -> Tensor:
        """The contrasts (B, C, 3, h, w)."""
        seen, found = [coarse, torch.ones_like(coarse)], []
        for step in range(BLOCK - 1):
            mean, log_scale = self._law(step, seen)
            found.append(mean + log_scale.exp() * standardised[:, :, step])
            seen += [found[-1], torch.ones_like(coarse)]
        return torch.stack(found, 2)


def coarsest(size: int, smallest: int) -> int:
    """Pixels on a side of the coarsest image: halved while it is even and stays at ``smallest`` or more."""
    if smallest < 1:
        raise SpecError(f"coarse is {smallest}; the coarsest image needs at least one pixel on a side, such as 4")
    while size % 2 == 0 and size // 2 >= smallest:
        size //= 2
    return size


class Pyramid(Transform):
    """Means down to ``smallest`` pixels on a side or more, ``top`` for those, Gaussians for the details. Ends flat.

    ``top`` takes images (B, C, h, w) of ``coarsest(size, smallest)`` pixels on a side and ends flat. The coarsest
    numbers stand first.
    """

    def __init__(self, channels: int, size: int, smallest: int, width: int, top: Transform) -> None:
        super().__init__()
        end = coarsest(size, smallest)
        self.channels = channels
        self.sides = [size >> level for level in range((size // end).bit_length())]
        self.details = nn.ModuleList(Details(channels, width) for _ in self.sides[1:])
        self.top = top

    def forward(self, state: FlowState) -> FlowState:
        """Images (B, C, H, W) to (B, D)."""
        return self._down(state, initialise=False)

    def initialise(self, state: FlowState) -> FlowState:
        """Initialise ``top`` on the coarsest means of the batch."""
        return self._down(state, initialise=True)

    def _down(self, state: FlowState, *, initialise: bool) -> FlowState:
        parts: list[tuple[Tensor, Tensor]] = []
        for details in self.details:
            state, contrast, mask = split(state)
            standardised, log_det = details(state, contrast, mask)
            state = state._replace(log_det=state.log_det + log_det)
            parts.append((standardised.flatten(1), mask.flatten(1)))
        state = self.top.initialise(state) if initialise else self.top(state)
        parts.append((state.values, state.mask))
        values, kept = zip(*reversed(parts), strict=True)
        return FlowState(torch.cat(values, 1), torch.cat(kept, 1), state.log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """(B, D) to images, coarsest first."""
        numbers = [self.channels * side**2 for side in reversed(self.sides)]
        first, *rest = values.split([numbers[0], *(b - a for a, b in pairwise(numbers))], 1)
        image = self.top.inverse(first)
        for details, part in zip(reversed(list(self.details)), rest, strict=True):
            side = image.shape[-1]
            standardised = part.unflatten(1, (self.channels, BLOCK - 1, side, side))
            image = merge(image, details.inverse(image, standardised))  # type: ignore[operator]
        return image
