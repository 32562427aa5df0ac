"""Where an image is rougher, less symmetric or otherwise coloured than it should be, in a few numbers of each object.

Three maps are made of it: what it loses by smoothing, what it differs by from itself turned by half a turn, and what
neighbouring bands differ by. Of each map the largest mean within windows of many shapes is taken (a scan statistic;
Kulldorff 97, Commun. Stat. Theory Methods 26, 1481): a cosmic ray fills one pixel, a dead column a column, a second
nucleus a square. This file knows no PSF and judges nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from galflow.batch import Batch
from galflow.constants import SIGMA_PER_MAD
from galflow.layers.images.blocks import observed_pixels, smoothed

SQUARES = (1, 3, 7)
"""Sides of square windows, in pixels; others are a row, a column, and half of one."""
LEAST = 1e-6
"""Means and scatters count as at least this, in stretched units, before their logarithm is taken."""
_LEAST_SEEN = 0.5
"""Of a window's pixels at least this share must be observed."""


def texture(batch: Batch) -> Tensor:
    """(B, F) logarithms, float32: windows of each map, then scatter of fine structure, plain and robust, band by band.

    NaN where an object has too few pixels to tell.
    """
    with torch.autocast(batch.pixels.device.type, enabled=False):
        pixels, observed = observed_pixels(batch).float(), batch.observed
        fine, fine_seen = _fine(pixels, observed)
        turned_seen = observed & observed.flip((2, 3))
        parts = [
            largest_windows(fine, fine_seen),
            largest_windows((pixels - pixels.flip((2, 3))) * turned_seen, turned_seen),
        ]
        if batch.pixels.shape[1] > 1:
            both = observed[:, 1:] & observed[:, :-1]
            parts.append(largest_windows(pixels.diff(dim=1) * both, both))
        return torch.cat([*parts, *_scatters(fine, fine_seen)], dim=1)


def windows(size: int) -> list[tuple[int, int]]:
    """Height and width of all windows in a cutout of ``size`` pixels, the smallest first."""
    squares = [(side, side) for side in SQUARES if side <= size]
    half = max(1, size // 2)
    return [*squares, (1, size), (size, 1), (half, 1), (1, half)]


def largest_windows(maps: Tensor, seen: Tensor) -> Tensor:
    """(B, windows) log of the largest absolute mean in windows of ``maps`` (B, C, H, W), 0 where not ``seen``.

    Over all bands and places. NaN where no window of a shape is seen by half.
    """
    complete = bool(seen.all())
    weight = seen.to(maps.dtype)
    found = []
    for shape in windows(maps.shape[-1]):
        means = _window_means(maps, shape).abs()
        if not complete:
            share = _window_means(weight, shape)
            means = torch.where(share >= _LEAST_SEEN, means / share.clamp_min(_LEAST_SEEN), -1.0)
        largest = means.flatten(1).amax(1)
        found.append(torch.where(largest >= 0, largest.clamp_min(LEAST).log(), torch.nan))
    return torch.stack(found, dim=1)


def _window_means(maps: Tensor, shape: tuple[int, int]) -> Tensor:
    """Of every window that lies within: first along columns, then along rows."""
    for axis, length in ((2, shape[0]), (3, shape[1])):
        if length > 1:
            sums = F.pad(maps.cumsum(axis), (1, 0, 0, 0) if axis == 3 else (0, 0, 1, 0))
            count = maps.shape[axis] - length + 1
            maps = (sums.narrow(axis, length, count) - sums.narrow(axis, 0, count)) / length
    return maps


def _fine(pixels: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels less the mean of the nine around, 0 where one of these is missing; and where none is."""
    smooth = smoothed(pixels)
    if observed.all():
        return pixels - smooth, observed
    seen = smoothed(observed.to(pixels.dtype)) > 1 - 1e-3
    return (pixels - smooth) * seen, seen


def _scatters(fine: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Standard deviation and robust one, (B, C) logarithms each; NaN where fewer than two pixels are seen."""
    values, counted = fine.flatten(2), seen.flatten(2)
    number = counted.sum(2)
    plain = (values.square().sum(2) / number.clamp_min(1)).sqrt()
    known = values.abs() if bool(seen.all()) else torch.where(counted, values, torch.nan).abs()
    robust = SIGMA_PER_MAD * known.nanmedian(2).values
    enough = number > 1
    return tuple(torch.where(enough, v.clamp_min(LEAST).log(), torch.nan) for v in (plain, robust))  # type: ignore[return-value]
