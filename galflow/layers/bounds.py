"""The smooth bound that keeps scales, slopes and variances of networks within reach, whatever an odd image does."""

from __future__ import annotations

import torch
from torch import Tensor


def soft_bounded(values: Tensor, bound: float) -> Tensor:
    """bound * tanh(values / bound): smoothly within +-bound, increasing, and the identity near 0."""
    return bound * torch.tanh(values / bound)
