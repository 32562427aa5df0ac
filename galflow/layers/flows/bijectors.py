"""How one number of a coupling layer moves, given its parameters: shifted, stretched, or along a monotone spline.

Every bijector is increasing, exactly invertible in closed form, and bounded in its slope, so that neither an odd image
nor a wild network makes numbers overflow. This file knows no image and no network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from galflow.errors import SpecError
from galflow.layers.bounds import soft_bounded

LOG_SCALE_BOUND = 2.0
"""An affine bijector stretches by at most exp(+-2)."""
SPLINE_EDGE = 4.0
"""Beyond 4 standard deviations a spline leaves numbers as they are: a straight line of slope 1."""
SPLINE_BINS = 8
_LOG_WIDTH_BOUND = 1.5
"""Bins are wide and high in proportions of at most exp(3) to each other."""
_LOG_SLOPE_BOUND = 2.0
"""Slopes at the knots lie within exp(+-2)."""


class Bijector(ABC):
    """How one number moves, increasingly, given its parameters."""

    parameters: int
    """Parameters of one number; all of them 0 mean that it stays."""

    @abstractmethod
    def forward(self, values: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """``values`` (B, ...) moved, and the log-slope there, by ``theta`` (B, parameters, ...)."""

    @abstractmethod
    def inverse(self, values: Tensor, theta: Tensor) -> Tensor:
        """What ``forward`` moved to ``values``."""


class Additive(Bijector):
    """x + t: keeps volumes (Dinh+14)."""

    parameters = 1

    def forward(self, values: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Shifted; the log-slope is 0."""
        return values + theta[:, 0], torch.zeros_like(values)

    def inverse(self, values: Tensor, theta: Tensor) -> Tensor:
        """Shifted back."""
        return values - theta[:, 0]


class Affine(Bijector):
    """x exp(s) + t with |s| below LOG_SCALE_BOUND (Dinh+17)."""

    parameters = 2

    def forward(self, values: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Stretched and shifted; the log-slope is s."""
        log_scale = soft_bounded(theta[:, 1], LOG_SCALE_BOUND)
        return values * log_scale.exp() + theta[:, 0], log_scale

    def inverse(self, values: Tensor, theta: Tensor) -> Tensor:
        """Shifted back and shrunk."""
        return (values - theta[:, 0]) * torch.exp(-soft_bounded(theta[:, 1], LOG_SCALE_BOUND))


class _Bin(NamedTuple):
    """The bin of each number: its lower left corner, width, height and the slopes at its two knots, each (B, ...)."""

    left: Tensor
    bottom: Tensor
    width: Tensor
    height: Tensor
    slope_left: Tensor
    slope_right: Tensor


class Spline(Bijector):
    """Monotone rational-quadratic spline on +-``edge`` (Durkan+19, equations 4 to 8), the identity beyond.

    Its parameters are the widths and heights of ``bins`` bins, then the slopes at the knots between them. Our own and
    not zuko's, whose inverse takes square roots of numbers that rounding made negative.
    """

    def __init__(self, bins: int = SPLINE_BINS, edge: float = SPLINE_EDGE) -> None:
        if bins < 2:
            raise SpecError(f"bins is {bins}; a spline needs at least two, such as {SPLINE_BINS}")
        self.bins = bins
        self.edge = edge
        self.parameters = 3 * bins - 1

    def forward(self, values: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Along the spline, with the log of its slope."""
        inside = values.clamp(-self.edge, self.edge)
        b = self._bins(inside, theta, by_height=False)
        at = ((inside - b.left) / b.width).clamp(0, 1)
        mean = b.height / b.width
        both, squared, rest = at * (1 - at), at.square(), (1 - at).square()
        below = mean + (b.slope_left + b.slope_right - 2 * mean) * both
        changed = b.bottom + b.height * (mean * squared + b.slope_left * both) / below
        slope = mean.square() * (b.slope_right * squared + 2 * mean * both + b.slope_left * rest) / below.square()
        is_inside = values.abs() < self.edge
        return torch.where(is_inside, changed, values), torch.where(is_inside, slope, torch.ones_like(slope)).log()

    def inverse(self, values: Tensor, theta: Tensor) -> Tensor:
        """Back along the spline: in each bin a root of a quadratic equation."""
        inside = values.clamp(-self.edge, self.edge)
        b = self._bins(inside, theta, by_height=True)
        mean, up = b.height / b.width, inside - b.bottom
        bend = up * (b.slope_left + b.slope_right - 2 * mean)
        square, linear, constant = b.height * (mean - b.slope_left) + bend, b.height * b.slope_left - bend, -mean * up
        root = (linear.square() - 4 * square * constant).clamp_min(0).sqrt()
        # The solution in [0, 1], written so that neither sign of ``linear`` cancels digits.
        at = torch.where(linear >= 0, -2 * constant / (linear + root), (root - linear) / (2 * square))
        return torch.where(values.abs() < self.edge, b.left + at.clamp(0, 1) * b.width, values)

    def _bins(self, values: Tensor, theta: Tensor, *, by_height: bool) -> _Bin:
        """The bins that hold ``values``, looked up by width (x), or by height (y)."""
        widths, heights, slopes = theta.split((self.bins, self.bins, self.bins - 1), dim=1)
        widths, heights = (2 * self.edge * soft_bounded(w, _LOG_WIDTH_BOUND).softmax(1) for w in (widths, heights))
        lefts, bottoms = (w.cumsum(1) - w - self.edge for w in (widths, heights))
        starts = bottoms if by_height else lefts
        # Slope 1 at both ends joins the straight lines beyond. Padding is of the dimension of bins alone.
        ends = [0, 0] * (theta.ndim - 2) + [1, 1]
        log_slopes = F.pad(soft_bounded(slopes, _LOG_SLOPE_BOUND), ends)
        index = (values[:, None] >= starts[:, 1:]).sum(1, keepdim=True)

        def pick(of: Tensor) -> Tensor:
            return of.gather(1, index).squeeze(1)

        slope_left, slope_right = pick(log_slopes[:, :-1]).exp(), pick(log_slopes[:, 1:]).exp()
        return _Bin(pick(lefts), pick(bottoms), pick(widths), pick(heights), slope_left, slope_right)


def bijector_of(coupling: str) -> Bijector:
    """The bijector that an option ``coupling`` names."""
    bijectors: dict[str, type[Bijector]] = {"additive": Additive, "affine": Affine, "spline": Spline}
    if coupling not in bijectors:
        raise SpecError(f"coupling is {coupling!r}; it must be one of {', '.join(bijectors)}")
    return bijectors[coupling]()
