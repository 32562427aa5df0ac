"""What the sky around an object shows, and whether its bands agree on its place, as numbers, for many cutouts at once.

They answer to the faults that galflow.cutouts.sky_defects and galflow.cutouts.band_shifts flag, but decide nothing, and
tell of slighter ones; and to light that comes in from beyond the cutout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from galflow.layers.images.ordering import median_of_known

SURROUNDINGS = ("lowest line", "noise change", "band shift", "light from outside")
"""Columns of ``measure_surroundings``, in this order."""
_SQUARE = 8
_DARK, _DIFFERENCE_SIGMA = 0.5, 1.1284
"""A square is dark where its mean is below so many of its sigmas; mean difference of two pixels of noise, in sigmas."""
_LIT_SIGMA, _LEAST_LIGHT = 3.0, 30.0
"""Pixels with less are no light of the object's; a band with less in all has no place."""
_STRIP = 2


def measure_surroundings(light: Tensor, observed: Tensor) -> Tensor:
    """(B, len(SURROUNDINGS)) float32 of (B, C, H, W) light in sigmas above the sky, compressed where bright."""
    columns = [
        torch.log1p(_lowest_line(light)),
        _noise_change(light, observed),
        torch.log1p(_band_shift(light)),
        _from_outside(light),
    ]
    return torch.stack(columns, dim=1)


def _lowest_line(light: Tensor) -> Tensor:
    """How far the deepest run of some pixels in a row or column lies below the sky, over all bands."""
    height, width = ((side // _SQUARE or 1) for side in light.shape[2:])
    cut = light[..., : light.shape[2] // height * height, : light.shape[3] // width * width]
    columns = cut.unflatten(2, (height, -1)).mean(3).flatten(1).amin(1)
    rows = cut.unflatten(3, (width, -1)).mean(4).flatten(1).amin(1)
    return (-torch.minimum(columns, rows)).clamp_min(0)


def _noise_change(light: Tensor, observed: Tensor) -> Tensor:
    """Logarithm of the highest noise of a dark, observed square over the lowest, of the band where that is largest."""
    down, across = (side // _SQUARE for side in light.shape[2:])
    if min(down, across) < 2:
        return light.new_zeros(len(light))

    def squares(values: Tensor) -> Tensor:
        cut = values[..., : down * _SQUARE, : across * _SQUARE]
        return cut.unflatten(3, (across, _SQUARE)).unflatten(2, (down, _SQUARE)).mean((3, 5)).flatten(2)

    apart = torch.zeros_like(light)
    apart[..., 1:] = (light[..., 1:] - light[..., :-1]).abs()
    noise, level = squares(apart) / _DIFFERENCE_SIGMA, squares(light)
    usable = (squares(observed.float()) == 1) & (level.abs() < _DARK * noise) & (noise > 0)
    logs = noise.clamp_min(1e-3).log()
    highest = torch.where(usable, logs, -torch.inf).amax(2)
    lowest = torch.where(usable, logs, torch.inf).amin(2)
    return torch.where(usable.any(2), highest - lowest, 0.0).amax(1)


def _band_shift(light: Tensor) -> Tensor:
    """Largest distance in pixels between the centres of light of two bands, in the middle of the cutout."""
    rows, columns = (slice(side // 4, side - side // 4) for side in light.shape[2:])
    middle = light[..., rows, columns]
    lit = torch.where(middle > _LIT_SIGMA, middle, 0.0)
    total = lit.sum((2, 3))
    there = total > _LEAST_LIGHT
    spans = []
    for axis in (2, 3):
        place = torch.arange(lit.shape[axis], device=light.device, dtype=light.dtype)
        centre = (lit.sum(5 - axis) @ place) / total.clamp_min(1.0)
        span = torch.where(there, centre, -torch.inf).amax(1) - torch.where(there, centre, torch.inf).amin(1)
        spans.append(torch.where(there.any(1), span, 0.0))
    return torch.hypot(*spans)


def _from_outside(light: Tensor) -> Tensor:
    """Median light of a strip along one side of the cutout less that along the opposite one, bands' mean."""
    mean = light.mean(1)
    sides = (mean[:, :_STRIP], mean[:, -_STRIP:], mean[..., :_STRIP], mean[..., -_STRIP:])
    top, bottom, left, right = (median_of_known(side.flatten(1)) for side in sides)
    return torch.maximum((top - bottom).abs(), (left - right).abs())
