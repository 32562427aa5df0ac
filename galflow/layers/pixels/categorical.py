"""A softmax over the bins of each band, the bands of a pixel in turn: the head of PixelCNN (van den Oord+16).

It knows bins and nothing of their order: no two neighbouring levels share anything but what the network learns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.layers.pixels.distribution import Bins, PixelDistribution


class BandLogits(nn.Module):
    """(B, C * hidden, H, W) from the pixels before, and the earlier bands of the same pixel -> one band's logits.

    Each band has its own hidden units, which see the earlier bands alone: the masks of van den Oord+16, without the
    weights that they would set to zero.
    """

    def __init__(self, channels: int, hidden: int, levels: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.earlier = nn.ModuleList(nn.Conv2d(2 * band, hidden, 1) for band in range(1, channels))
        self.last = nn.ModuleList(nn.Conv2d(hidden, levels, 1) for _ in range(channels))

    def forward(self, shared: Tensor, told: Tensor, band: int) -> Tensor:
        """(B, levels, H, W) unnormalised log P; ``told`` (B, 2 * band, H, W): earlier bands' values and flags."""
        h = shared[:, band * self.hidden : (band + 1) * self.hidden]
        if band > 0:
            h = h + self.earlier[band - 1](told)
        return self.last[band](F.elu(h))


@dataclass(frozen=True)
class Categorical(PixelDistribution):
    """P(x_1 .. x_C) = prod_c softmax(logits_c(features, x_<c))[x_c]."""

    bins: Bins
    shared: Tensor
    """(B, C * hidden, H, W)."""
    band_logits: BandLogits

    @property
    def channels(self) -> int:
        """Bands C."""
        return len(self.band_logits.last)

    @property
    def uniforms(self) -> int:
        """One for each band."""
        return self.channels

    def _log_softmax(self, level: Tensor, observed: Tensor, band: int) -> Tensor:
        """(B, levels, H, W) log probability of each bin of ``band``; reads the earlier bands of ``level`` alone."""
        observed = observed[:, :band]
        values = self.bins.centre(level[:, :band], self.shared.dtype) / self.bins.half_range
        known = torch.where(observed, values, torch.zeros_like(values))
        told = torch.cat([known, observed.to(known.dtype)], dim=1)
        return F.log_softmax(self.band_logits(self.shared, told, band), dim=1)

    def log_prob(self, level: Tensor, observed: Tensor) -> Tensor:
        """(B, H, W) natural-log probability of each pixel's observed bands."""
        each = [
            self._log_softmax(level, observed, band).gather(1, level[:, band, None]) for band in range(self.channels)
        ]
        log_prob = torch.cat(each, dim=1)
        return torch.where(observed, log_prob, torch.zeros_like(log_prob)).sum(1)

    def expectation(self, level: Tensor, observed: Tensor) -> Tensor:
        """(B, C, H, W) expected stretched value of each band given the true earlier bands of the pixel."""
        centres = self.bins.centres(self.shared)[:, None, None]
        each = [(self.masses(level, observed, band) * centres).sum(1) for band in range(self.channels)]
        return torch.stack(each, dim=1)

    def masses(self, level: Tensor, observed: Tensor, band: int) -> Tensor:
        """(B, levels, H, W) probability of every bin of ``band`` given the true earlier bands of the pixel."""
        return self._log_softmax(level, observed, band).exp()

    def draw(self, uniform: Tensor) -> Tensor:
        """(B, C, H, W) bin numbers: ``uniform`` (B, C, H, W) against the distribution function of each band."""
        nothing = torch.zeros(uniform.shape, dtype=torch.long, device=uniform.device)
        return self.draw_given(uniform, nothing, nothing.bool())
