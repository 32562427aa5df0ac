"""What an autoregressive model says of one pixel: a probability for every bin of every band, band after band.

It refuses to approximate: the probabilities of all bins sum to one, and a draw follows them. It draws no random numbers
of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from galflow.errors import SpecError


@dataclass(frozen=True)
class Bins:
    """``levels`` bins of equal width over [low, high] stretched units; the outermost two also own the tails."""

    low: float
    high: float
    levels: int

    def __post_init__(self) -> None:
        if not (self.low < self.high and self.levels >= 2):
            raise SpecError(
                f"bins of low={self.low}, high={self.high}, levels={self.levels} cannot be made; "
                "give low < high and at least 2 levels"
            )

    @property
    def width(self) -> float:
        """Width of one bin in stretched units."""
        return (self.high - self.low) / self.levels

    @property
    def half_range(self) -> float:
        """Half of the range in stretched units."""
        return (self.high - self.low) / 2

    def level(self, pixels: Tensor) -> Tensor:
        """Bin numbers (int64, 0 .. levels-1) of stretched pixels; what lies outside [low, high] is in the edge bins."""
        return ((pixels - self.low) / self.width).floor().clamp(0, self.levels - 1).long()

    def centre(self, level: Tensor, dtype: torch.dtype) -> Tensor:
        """The stretched value at the middle of each bin."""
        return self.low + (level.to(dtype) + 0.5) * self.width

    def centres(self, like: Tensor) -> Tensor:
        """(levels,) the middle of every bin, in ``like``'s type on its device."""
        return self.centre(torch.arange(self.levels, device=like.device), like.dtype)


class PixelDistribution(ABC):
    """P(x_1 .. x_C) = prod_c P(x_c | x_<c) of the C bands of each pixel (B, H, W), over ``bins``.

    ``level`` (B, C, H, W) are bin numbers; ``observed`` (B, C, H, W) says which of them are data. A band that is not
    observed contributes no factor and tells the later bands nothing.
    """

    bins: Bins

    @property
    @abstractmethod
    def uniforms(self) -> int:
        """How many uniform random numbers U a pixel's draw takes."""

    @abstractmethod
    def log_prob(self, level: Tensor, observed: Tensor) -> Tensor:
        """(B, H, W) natural-log probability of each pixel's observed bands."""

    @abstractmethod
    def expectation(self, level: Tensor, observed: Tensor) -> Tensor:
        """(B, C, H, W) expected stretched value of each band given the true earlier bands of the pixel."""

    @abstractmethod
    def masses(self, level: Tensor, observed: Tensor, band: int) -> Tensor:
        """(B, levels, H, W) probability of every bin of ``band`` given the true earlier bands of the pixel."""

    def draw_given(self, uniform: Tensor, level: Tensor, known: Tensor) -> Tensor:
        """(B, C, H, W) ``level`` where a band is ``known``; elsewhere drawn in turn given all earlier bands.

        A band does not heed known ones that come after it.
        """
        level, every = level.clone(), torch.ones_like(known)
        for band, number in enumerate(uniform[:, -level.shape[1] :].unbind(1)):
            below = self.masses(level, every, band).cumsum(1)[:, :-1]
            drawn = (number[:, None] >= below).sum(1)
            level[:, band] = torch.where(known[:, band], level[:, band], drawn)
        return level

    @abstractmethod
    def draw(self, uniform: Tensor) -> Tensor:
        """(B, C, H, W) bin numbers by inversion of ``uniform`` (B, U, H, W) in [0, 1): equal numbers, equal draws."""
