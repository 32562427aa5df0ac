"""Three densities in the plane that are known exactly: ring of eight Gaussians, two moons, checkerboard.

Sizes are those of Grathwohl+18's pictures: everything lies within about +-4. The moons are mixtures of Gaussians along
two half circles, dense enough to look like one arc each, so that their density is a finite sum. Entropies are sums
over a fine grid, in float64, in nats.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

GRID_CELLS = 300
"""On a side. The checkerboard's edges fall between cells, and a Gaussian's sigma spans seven cells and more."""


class Target(ABC):
    """A density over (x, y) within +-half_width, but for a negligible part."""

    name: str
    half_width: float

    @abstractmethod
    def log_prob(self, points: Tensor) -> Tensor:
        """(N,) exact log-density in nats of points (N, 2); -inf where the density is 0."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, 2) independent points, float32."""

    def grid(self, cells: int = GRID_CELLS) -> tuple[Tensor, float]:
        """(cells^2, 2) float64 midpoints of the cells that tile the square, and the area of one."""
        step = 2 * self.half_width / cells
        axis = (torch.arange(cells, dtype=torch.float64) + 0.5) * step - self.half_width
        return torch.cartesian_prod(axis, axis), step**2

    def entropy(self) -> float:
        """-integral p log p in nats, by the midpoint rule."""
        points, area = self.grid()
        log_prob = self.log_prob(points)
        return -float(torch.special.xlogy(log_prob.exp(), log_prob.exp()).sum() * area)


class GaussianMixture(Target):
    """Equally weighted round Gaussians of one width."""

    def __init__(self, name: str, centres: Tensor, sigma: float) -> None:
        self.name = name
        self.centres = centres.double()
        self.sigma = sigma
        self.half_width = float(centres.abs().max()) + 6 * sigma

    def log_prob(self, points: Tensor) -> Tensor:
        """(N,) of points (N, 2)."""
        square = (points[:, None] - self.centres.to(points)).square().sum(2)
        constant = math.log(2 * math.pi * self.sigma**2 * len(self.centres))
        return torch.logsumexp(-0.5 * square / self.sigma**2, 1) - constant

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, 2) points."""
        chosen = torch.randint(len(self.centres), (n,), generator=generator)
        return self.centres[chosen].float() + self.sigma * torch.randn(n, 2, generator=generator)


class Checkerboard(Target):
    """Uniform on the eight dark squares of side 2 of a board of 4 x 4."""

    name = "checkerboard"
    half_width = 4.0
    side = 2.0
    dark_area = 32.0

    def log_prob(self, points: Tensor) -> Tensor:
        """(N,) -log 32 on dark squares, -inf elsewhere."""
        square = (points / self.side).floor().long()
        dark = (square.sum(1) % 2 == 0) & (points.abs() < self.half_width).all(1)
        outside = points.new_full((len(points),), -math.inf)
        return torch.where(dark, points.new_full((len(points),), -math.log(self.dark_area)), outside)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, 2) points."""
        column = torch.randint(-2, 2, (n,), generator=generator)
        row = 2 * torch.randint(-1, 1, (n,), generator=generator) + column % 2
        corner = torch.stack([column, row], 1)
        return self.side * (corner + torch.rand(n, 2, generator=generator))


def _ring() -> GaussianMixture:
    angle = torch.arange(8) * (2 * math.pi / 8)
    return GaussianMixture("ring", 2 * math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1), 0.5 / math.sqrt(2))


def _moons(each: int = 64) -> GaussianMixture:
    angle = (torch.arange(each) + 0.5) * (math.pi / each)
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    middle = torch.tensor([0.5, 0.25])
    return GaussianMixture("moons", 2 * (torch.cat([upper, lower]) - middle), 0.2)


def targets() -> tuple[Target, ...]:
    """The three."""
    return _ring(), _moons(), Checkerboard()
