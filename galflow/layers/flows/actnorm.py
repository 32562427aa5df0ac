"""Activation normalisation (Kingma+18): a learnt scale and shift that start from the first batch.

It stands in for batch normalisation, which would make what a flow says of one object depend on the others in its
batch; so this file refuses to look at a batch after ``initialise``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from galflow.layers.flows.transform import FlowState, Transform

LEAST_SPREAD = 0.05
"""An entry that hardly varies in the first batch is stretched by no more than 1 / 0.05 to begin with."""


class ActNorm(Transform):
    """(x + shift) * exp(log_scale), with zero mean and unit variance on the first batch.

    ``shape`` says who shares a scale: (C, 1, 1) the pixels of a channel (Kingma+18), (C, H, W) or (D,) nobody.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(shape))
        self.log_scale = nn.Parameter(torch.zeros(shape))

    def forward(self, state: FlowState) -> FlowState:
        """Shifted and scaled where observed."""
        values = (state.values + self.shift) * self.log_scale.exp() * state.mask
        return FlowState(values, state.mask, state.log_det + (state.mask * self.log_scale).flatten(1).sum(1))

    def inverse(self, values: Tensor) -> Tensor:
        """Scaled and shifted back."""
        return values * torch.exp(-self.log_scale) - self.shift

    @torch.no_grad()
    def initialise(self, state: FlowState) -> FlowState:
        """Zero mean and unit variance over the observed entries; an entry never observed twice keeps its values."""
        shared = [0, *(1 + i for i, n in enumerate(self.shift.shape) if n == 1)]
        count = state.mask.sum(shared).view_as(self.shift)
        mean = state.values.sum(shared).view_as(self.shift) / count.clamp_min(1)
        square = ((state.values - mean).square() * state.mask).sum(shared).view_as(self.shift) / count.clamp_min(1)
        known = count > 1
        self.shift.copy_(torch.where(known, -mean, self.shift))
        self.log_scale.copy_(torch.where(known, -square.sqrt().clamp_min(LEAST_SPREAD).log(), self.log_scale))
        return self(state)
