"""The planar map z -> z + u tanh(w.z + b) of Rezende+15, and its inverse.

It bends space along one direction w. Its value and determinant cost one product. Its inverse has no formula, but only
the number w.z has to be found, from a monotone equation. This file knows no flow: which direction faces the data is
planar.py's business.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_SLOPE = 1e-2
"""A layer shrinks the direction it acts on by no more than 100 times, so that its inverse keeps its digits."""
_REST = math.log(math.expm1(1 - LEAST_SLOPE))
"""softplus(_REST) = 1 - LEAST_SLOPE: u = 0 is the identity."""
BISECTIONS = 64
"""Halvings of the interval that holds w.z: more than a double has digits."""


class Ridge(nn.Module):
    """A planar map as seen along its own direction: a = w.z goes to a + gain tanh(a + bias), with gain > -1."""

    def forward(self, along: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """(B,) numbers, strictly increasing in ``along``."""
        return along + gain * torch.tanh(along + bias)


class PlanarMap(nn.Module):
    """z + u tanh(w.z + b) on vectors (B, D), restricted to each object's observed entries.

    w and u are set to 0 where an object misses an entry, and only then is u corrected so that w.u > -1 (Rezende+15,
    appendix A.1): the restricted map is a planar map of the observed entries and invertible for every mask.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(dimensions) / math.sqrt(dimensions))
        self.u = nn.Parameter(0.01 * torch.randn(dimensions) / math.sqrt(dimensions))
        self.bias = nn.Parameter(torch.zeros(()))
        self.ridge = Ridge()

    def _restricted(self, keep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """w (B, D), corrected u (B, D) and gain = w.u (B,)."""
        w, u = self.w * keep, self.u * keep
        raw = (w * u).sum(1)
        gain = LEAST_SLOPE - 1 + F.softplus(raw + _REST)
        norm = w.square().sum(1).clamp_min(torch.finfo(w.dtype).tiny)
        return w, u + ((gain - raw) / norm)[:, None] * w, gain

    def forward(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """The moved values (B, D) and log|det| (B,)."""
        w, u, gain = self._restricted(keep)
        bend = torch.tanh((w * values).sum(1) + self.bias)
        return values + u * bend[:, None], torch.log1p(gain * (1 - bend.square()))

    def back(self, values: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """What ``forward`` moves to ``values``, and log|det| of ``forward`` there; exact to rounding.

        w.z is bisected in double precision. One Newton step then carries the gradient of the solution (the implicit
        function theorem), to all parameters and to ``values``.
        """
        w, u, gain = self._restricted(keep)
        goal, gain64, bias = (w * values).sum(1).double(), gain.double(), self.bias.double()
        with torch.no_grad():
            low, high = goal - gain64.abs(), goal + gain64.abs()
            for _ in range(BISECTIONS):
                middle = 0.5 * (low + high)
                below = self.ridge(middle, gain64, bias) < goal
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            along = 0.5 * (low + high)
            slope = 1 + gain64 * (1 - torch.tanh(along + bias).square())
        along = along - (self.ridge(along, gain64, bias) - goal) / slope
        bend = torch.tanh(along + bias).to(values.dtype)
        return values - u * bend[:, None], torch.log1p(gain * (1 - bend.square()))
