"""Light within circles and ellipses around each of many objects: growth curves, and radii read off them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PETROSIAN_RATIO = 0.2
"""Mean of an annulus over the mean within, at the Petrosian radius."""
_BIN = 0.1
"""Pixels of radius in a bin of a growth curve."""
_SUBPIXELS, _FINE_WITHIN = 3, 10
"""Pixels within so many pixels of the cutout's middle are split into 3 x 3 on their way into growth curves."""
_SEARCH = 5
"""Bins from one radius to the next at which the Petrosian ratio is looked at."""


class Frame:
    """Coordinates of a square picture's pixels, and of the subpixels of growth curves."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        axis = torch.arange(size, device=device, dtype=torch.float32)
        self.x, self.y = axis.expand(size, size), axis[:, None].expand(size, size)
        self.sample_x, self.sample_y, self.source, self.share = _samples(size, device)
        self.bins = math.ceil(size * math.sqrt(2) / _BIN)


def _samples(size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points that stand for the pixels in growth curves: x, y, number of the pixel, and the point's share of it."""
    middle = (size - 1) / 2
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    inner = torch.maximum((row - middle).abs(), (column - middle).abs()) <= _FINE_WITHIN
    offset = (torch.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS - 0.5
    split = torch.cartesian_prod(offset, offset)
    x = torch.cat([column[~inner].float(), (column[inner][:, None] + split[:, 0]).flatten()])
    y = torch.cat([row[~inner].float(), (row[inner][:, None] + split[:, 1]).flatten()])
    source = torch.cat([(row * size + column)[~inner], (row * size + column)[inner].repeat_interleave(len(split))])
    share = torch.where(inner.flatten()[source], 1 / len(split), 1.0)
    return x.to(device), y.to(device), source.to(device), share.to(device)


def reduced_radius(dx: Tensor, dy: Tensor, ellipse: Tensor) -> Tensor:
    """Semi-major axis of the ellipse through each offset (B, ...); ``ellipse`` (B, 2): 1 - b / a, angle."""
    shape, angle = ellipse.view(len(ellipse), 2, *[1] * (dx.ndim - 1)).unbind(1)
    cosine, sine = angle.cos(), angle.sin()
    return torch.hypot(dx * cosine + dy * sine, (dy * cosine - dx * sine) / (1 - shape))


def growth(frame: Frame, light: Tensor, seen: Tensor, centre: Tensor, ellipse: Tensor) -> tuple[Tensor, Tensor]:
    """(B, bins) light and observed area within the outer edge of each bin of semi-major axis."""
    radius = reduced_radius(frame.sample_x - centre[:, :1], frame.sample_y - centre[:, 1:], ellipse)
    place = (radius / _BIN).long().clamp_max(frame.bins - 1)

    def cumulated(values: Tensor) -> Tensor:
        parts = values.flatten(1)[:, frame.source] * frame.share
        return torch.zeros(len(light), frame.bins, device=light.device).scatter_add_(1, place, parts).cumsum(1)

    return cumulated(light), cumulated(seen.float())


def petrosian_radius(curve: tuple[Tensor, Tensor], ellipse: Tensor) -> Tensor:
    """(B,) where the mean of an annulus one pixel wide falls below a fifth of the mean within.

    NaN if it does nowhere before less than half of an annulus is observed.
    """
    light, area = curve
    half = round(0.5 / _BIN)
    at = torch.arange(round(1 / _BIN), light.shape[1] - half, _SEARCH, device=light.device)  # outer edges of bins
    in_ring = area[:, at + half - 1] - area[:, at - half - 1]
    ring = (light[:, at + half - 1] - light[:, at - half - 1]) / in_ring
    ratio = ring.abs() / (light[:, at - 1] / area[:, at - 1]).abs() - PETROSIAN_RATIO
    whole = 2 * math.pi * at * _BIN * (1 - ellipse[:, :1])
    known = (in_ring < 0.5 * whole).cumsum(1) == 0
    found = (ratio < 0) & known
    first = found.int().argmax(1)
    before = (first - 1).clamp_min(0)
    rows = torch.arange(len(light), device=light.device)
    high, low = ratio[rows, before], ratio[rows, first]
    share = torch.where(first > 0, high / (high - low), 1.0)
    radius = (at[before] + share * (at[first] - at[before])) * _BIN
    return torch.where(found.any(1), radius, torch.nan)


def radii_at(light: Tensor, outermost: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) radii that hold 20 and 80 per cent of the ``light`` (B, bins) within ``outermost``."""
    edge = (outermost.nan_to_num(1.0) / _BIN).long().clamp(1, light.shape[1]) - 1
    total = light.gather(1, edge[:, None])
    found = []
    for share in (0.2, 0.8):
        wanted = share * total
        after = (light >= wanted).int().argmax(1)
        rows = torch.arange(len(light), device=light.device)
        high, low = light[rows, after], torch.where(after > 0, light[rows, (after - 1).clamp_min(0)], 0)
        part = (wanted[:, 0] - low) / (high - low)
        radius = (after + part) * _BIN
        found.append(torch.where((total[:, 0] > 0) & outermost.isfinite(), radius, torch.nan))
    return found[0], found[1]
