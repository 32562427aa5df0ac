"""Gaps like those of real images, drawn anew for every object: a lost band, an edge, scattered pixels.

An encoder that has met them describes an object by what is left of it. It draws from torch's global generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LARGEST_SHARE = 0.5
"""Of an object's pixels, in a gap of scattered ones."""
KINDS = 4
"""No gap, a band, everything beyond a line, scattered pixels."""


def with_gaps(observed: Tensor) -> Tensor:
    """``observed`` (B, C, H, W) bool less a random gap of each object; one in four objects stays as it is.

    A line passes within half a side of the centre and leaves the larger part, the centre included. The only band of
    an object is never taken.
    """
    objects, bands, height, width = observed.shape
    device = observed.device
    kind = torch.randint(KINDS, (objects, 1, 1, 1), device=device)
    lost = torch.randint(bands, (objects, 1, 1, 1), device=device)
    angle, reach, share = torch.rand(objects, 3, 1, 1, device=device).split(1, dim=1)
    scattered = torch.rand(observed.shape, device=device) < LARGEST_SHARE * share
    band = (torch.arange(bands, device=device).view(1, -1, 1, 1) == lost) & (bands > 1)
    y = (torch.arange(height, device=device) - (height - 1) / 2).view(1, 1, -1, 1)
    x = (torch.arange(width, device=device) - (width - 1) / 2).view(1, 1, 1, -1)
    angle = 2 * math.pi * angle
    beyond = x * angle.cos() + y * angle.sin() > reach * max(height, width) / 2
    gap = (kind == 1) & band | (kind == 2) & beyond | (kind == 3) & scattered
    return observed & ~gap
