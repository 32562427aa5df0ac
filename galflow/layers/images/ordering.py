"""Order statistics along the last axis: what torch sorts slowly on a CPU, numpy sorts with vector instructions.

Results are torch's own: the lower of two middle values is the median, NaN is left out, and equal values keep no order.
On a GPU torch sorts.
"""

from __future__ import annotations

import torch
from torch import Tensor


def median_of_known(values: Tensor) -> Tensor:
    """(...) median along the last axis of (..., P) float32, NaN left out; NaN where nothing else is."""
    if values.device.type != "cpu":
        return values.nanmedian(-1).values
    ordered = values.clone()
    ordered.numpy().sort(axis=-1)  # NaN lies last
    known = (~ordered.isnan()).sum(-1, keepdim=True)
    middle = (known - 1).clamp_min(0) // 2
    return ordered.gather(-1, middle)[..., 0]


def falling_order(values: Tensor) -> Tensor:
    """(..., P) int64 places of (..., P) values, the highest first."""
    if values.device.type != "cpu":
        return values.argsort(dim=-1, descending=True)
    return torch.from_numpy((-values).numpy().argsort(axis=-1))


def highest_around(images: Tensor, reach: int) -> Tensor:
    """(B, H, W) the highest value within ``reach`` pixels in row and column of each one."""
    for axis in (1, 2):
        images = _highest_along(images, min(reach, images.shape[axis] - 1), axis)
    return images


def _highest_along(images: Tensor, reach: int, axis: int) -> Tensor:
    found, side = images.clone(), images.shape[axis]
    for step in range(1, reach + 1):
        for to, other in ((0, step), (step, 0)):
            part = found.narrow(axis, to, side - step)
            torch.maximum(part, images.narrow(axis, other, side - step), out=part)
    return found
