"""What is usual among latents: kept training objects, who of them is near, and a density of them all.

The density is of all latents, whatever their number: a Gaussian mixture on the leading principal axes, each brought to
unit variance, times one Gaussian for the distance from the space that they span. So what leaves that space is seen, and
a few thousand objects suffice for a thousand latents. This file knows no image and no network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from galflow.errors import ModelError, SpecError
from galflow.models.shared.gaussian_mixture import GaussianMixture
from galflow.models.shared.neighbours import Neighbours

LEAST_SHARE = 1e-6
"""Every direction varies at least by this share of the latents' mean variance, lest a latent that never moved rule."""


class LatentReference(nn.Module):
    """At most ``keep`` training objects of ``latents`` numbers each, and what ``fit`` found of them, in buffers."""

    centre: Tensor
    directions: Tensor
    spread: Tensor
    off_spread: Tensor
    unit: Tensor
    used: Tensor

    def __init__(self, *, latents: int, keep: int, neighbours: int, components: int, axes: int) -> None:
        super().__init__()
        if axes < 1:
            raise SpecError(f"axes is {axes}; the density needs at least one principal axis, such as 32")
        axes = min(axes, latents)
        self.register_buffer("centre", torch.zeros(latents))
        self.register_buffer("directions", torch.eye(axes, latents))
        self.register_buffer("spread", torch.ones(axes))
        self.register_buffer("off_spread", torch.ones(()))
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("used", torch.tensor(axes))
        self.neighbours = Neighbours(keep=keep, features=latents, neighbours=neighbours)
        self.mixture = GaussianMixture(components=components, dimensions=axes)

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Keep ``points`` (N, D), find their principal axes in double precision, and fit the mixture along them."""
        device = self.centre.device
        x = points.double().cpu()
        centre = x.mean(0)
        _, singular, directions = torch.linalg.svd(x - centre, full_matrices=False)
        variances = torch.zeros(x.shape[1], dtype=x.dtype)
        variances[: len(singular)] = singular.square() / len(x)
        total = float(variances.sum())
        least = LEAST_SHARE * total / x.shape[1] if total > 0 else 1.0
        # Half of the objects' degrees of freedom are left to tell how wide it is off the axes.
        axes = min(len(self.spread), len(singular), max(1, (len(x) - 1) // 2))
        self.used.fill_(axes)
        self.directions.zero_()
        self.directions[:axes].copy_(directions[:axes])
        self.centre.copy_(centre)
        self.spread.fill_(1.0)
        self.spread[:axes].copy_(variances[:axes].clamp_min(least).sqrt())
        off = variances[axes:].sum() * len(x) / max(1, len(x) - 1 - axes)
        self.off_spread.copy_((off / max(1, x.shape[1] - axes)).clamp_min(least).sqrt())
        self.unit.copy_(torch.tensor(math.sqrt(total) if total > 0 else 1.0))
        known = points.to(device)
        self.neighbours.fit((known - self.centre) / self.unit)
        self.mixture.fit(self._along(known)[0])

    def _along(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(N, axes) along the axes in units of their spread; (N, D) what lies off them."""
        centred = points - self.centre
        along = centred @ self.directions.T
        return along / self.spread, centred - along @ self.directions

    def distance(self, points: Tensor) -> Tensor:
        """(N,) distance to the k-th nearest kept object, in root-mean-square distances of kept objects from their mean.

        An object that was kept is not its own neighbour. 0 where nobody else was kept.
        """
        if int(self.neighbours.kept) == 0:
            raise ModelError("there are no training objects to compare with; train the model first (finish fits it)")
        distances, _ = self.neighbours.nearest((points - self.centre) / self.unit)
        return distances[:, -1] if distances.shape[1] else distances.new_zeros(len(points))

    def log_prob(self, points: Tensor) -> Tensor:
        """(N,) log-density in nats of ``points`` (N, D), in the units of the latents.

        But for a constant, where there were too few objects for all axes.
        """
        along, off = self._along(points)
        free = len(self.centre) - int(self.used)
        normal = -0.5 * off.square().sum(1) / self.off_spread.square()
        scale = self.spread.log().sum() + free * (self.off_spread.log() + 0.5 * math.log(2 * math.pi))
        return self.mixture.log_prob(along) + (normal if free else 0) - scale
