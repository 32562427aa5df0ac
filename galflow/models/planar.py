"""The two flows made of planar maps (Rezende+15), one for each direction.

A planar map costs one product one way and iterates the other way. Where the quick way leads from the base to the data,
samples and their densities are cheap, and the flow is trained on a target density; where it leads from the data to the
base, the flow is trained on data by maximum likelihood, and samples iterate.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.planar_map import PlanarMap
from galflow.layers.flows.transform import Chain, Flatten, FlowState, Transform
from galflow.layers.images.blocks import observed_pixels
from galflow.models.shared.flow import Flow

LEAST_VARIANCE = 1e-6
"""Of a pixel of the default target, in stretched units squared: a band that never varies keeps a density."""


class PlanarToBase(Transform):
    """A planar map from the data towards the base; the way back iterates."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.map = PlanarMap(dimensions)

    def forward(self, state: FlowState) -> FlowState:
        """One product."""
        values, log_det = self.map(state.values, state.mask)
        return FlowState(values, state.mask, state.log_det + log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """Found by bisection."""
        return self.map.back(values, torch.ones_like(values))[0]


class PlanarToData(Transform):
    """A planar map from the base towards the data; the way to the base iterates."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.map = PlanarMap(dimensions)

    def forward(self, state: FlowState) -> FlowState:
        """Found by bisection."""
        values, log_det = self.map.back(state.values, state.mask)
        return FlowState(values, state.mask, state.log_det - log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """One product."""
        return self.pushed(values)[0]

    def pushed(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """``inverse`` and its log|det| (B,)."""
        return self.map(values, torch.ones_like(values))


def _checked(layers: int) -> int:
    if layers < 1:
        raise SpecError(f"layers is {layers}; a planar flow needs at least one layer, such as 32")
    return layers


class ReverseFlow(Flow):
    """Planar maps run from the data to the base (reverse-NF in Grathwohl+18; the maps are of Rezende+15).

    ``loss`` is -log2 density per observed dimension: maximum likelihood on data. The base is a normal of diagonal
    covariance, learnt with the maps and started at each pixel's mean and variance in the first batch. Samples invert
    every map by bisection of one number an object, in double precision.

    A planar map acts along one direction, so that L of them shape at most L directions of the C * H * W: for images
    this flow is little better than independent pixels, and is here as the plainest of its kind. Valid input: finite
    stretched pixels. Missing pixels: each map is restricted to the observed ones (see PlanarMap).
    """

    source: ClassVar[str] = "Rezende+15, Grathwohl+18"
    one_pass_sampling: ClassVar[bool] = False
    free_form_jacobian: ClassVar[bool] = False
    learning_rate = 5e-3

    def __init__(
        self, *, channels: int, size: int, layers: Annotated[int, "planar maps after one another"] = 32
    ) -> None:
        super().__init__(channels=channels, size=size)
        maps = [PlanarToBase(self.dimensions) for _ in range(_checked(layers))]
        self.transform = Chain([Flatten(channels, size), ActNorm(self.dimensions), *maps])

    @classmethod
    def tiny(cls) -> Self:
        """Four maps of 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, layers=4)


class PlanarFlow(Flow):
    """Planar normalizing flow (Rezende+15): planar maps run from the base to the data.

    It is trained on a density, not on data: ``loss`` estimates KL(q || target) = E_q[log q(x) - log target(x)] with as
    many draws of q as the batch has objects, in bits per dimension; of the batch it uses nothing else. What it is for
    in a survey is a density that one can evaluate but not draw from, such as the posterior of an emulator: override
    ``log_target``, and after training samples cost one pass. Until somebody does, its target is a Gaussian with the
    mean, the ``rank`` main directions and the remaining variance of each pixel of the first training batch
    (``initialise``), so that it can stand in one table with the others; as a model of galaxies it is no better than
    that Gaussian.

    ``log_prob`` of any image is exact: each map is inverted by bisection of one number an object in double precision.
    The base has a diagonal covariance, learnt with the maps and started like ReverseFlow's. Rezende+15's annealing of
    the target is left out: the loss would depend on when it is called, and no target of ours needs it. Valid input:
    finite stretched pixels. Missing pixels: each map is restricted to the observed ones (see PlanarMap).
    """

    source: ClassVar[str] = "Rezende+15"
    trains_on_data: ClassVar[bool] = False
    free_form_jacobian: ClassVar[bool] = False
    learning_rate = 5e-3

    target_mean: Tensor
    target_directions: Tensor
    target_variance: Tensor

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        layers: Annotated[int, "planar maps after one another"] = 32,
        rank: Annotated[int, "main directions of the Gaussian that is the default target"] = 8,
    ) -> None:
        super().__init__(channels=channels, size=size)
        d = self.dimensions
        if rank < 1:
            raise SpecError(f"rank is {rank}; the default target needs at least one main direction, such as 8")
        self.rank = min(rank, d)
        base, maps = ActNorm(d), [PlanarToData(d) for _ in range(_checked(layers))]
        self.transform = Chain([Flatten(channels, size), base, *maps])
        self._layers = (base, tuple(maps))  # in a tuple, so that torch does not take them for a second set of parts
        self.register_buffer("target_mean", torch.zeros(d))
        self.register_buffer("target_directions", torch.zeros(d, self.rank))
        self.register_buffer("target_variance", torch.ones(d))

    @classmethod
    def tiny(cls) -> Self:
        """Four maps of 8 x 8 pixels in two bands, and a target of two directions."""
        return cls(channels=2, size=8, layers=4, rank=2)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Fit the default target to the batch, then start the base at its pixels' means and variances.

        A missing pixel stands at its mean. The main directions are those of the observed pixels' covariance, each with
        its variance in excess of the mean of the rest (probabilistic PCA, Tipping & Bishop 99).
        """
        super().initialise(batch)
        mask = batch.observed.flatten(1).to(self.target_mean.dtype)
        pixels = observed_pixels(batch).flatten(1).to(mask)
        mean = pixels.sum(0) / mask.sum(0).clamp_min(1)
        deviation = (pixels - mean) * mask
        total = deviation.square().sum(0) / mask.sum(0).clamp_min(1)
        lengths, directions = torch.linalg.svd(deviation / math.sqrt(max(len(pixels), 1)), full_matrices=False)[1:]
        rank = min(self.rank, len(lengths))
        noise = lengths[rank:].square().sum() / max(self.dimensions - rank, 1)
        spread = (lengths[:rank].square() - noise).clamp_min(0).sqrt()
        self.target_mean.copy_(mean)
        self.target_directions.zero_()
        self.target_directions[:, :rank] = directions[:rank].T * spread
        rest = total - self.target_directions.square().sum(1)
        self.target_variance.copy_(rest.clamp_min(LEAST_VARIANCE))

    def log_target(self, pixels: Tensor) -> Tensor:
        """(B,) log-density of the target, up to a constant, at stretched pixels (B, C, H, W). Override for your own."""
        gaussian = LowRankMultivariateNormal(
            self.target_mean, self.target_directions, self.target_variance, validate_args=False
        )
        return gaussian.log_prob(pixels.flatten(1))

    def drawn(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) of base values (B, D) in one pass, and the flow's own log-density there (B,)."""
        log_prob = -0.5 * (latents.square() + math.log(2 * math.pi)).sum(1)
        values, log_det = latents, latents.new_zeros(len(latents))
        base, maps = self._layers
        for layer in reversed(maps):
            values, more = layer.pushed(values)
            log_det = log_det + more
        values = base.inverse(values)
        log_det = log_det - base.log_scale.sum() + self.size**2 * self.scale.log().sum()
        return values.unflatten(1, (self.channels, self.size, self.size)) * self.scale + self.centre, log_prob - log_det

    def loss(self, batch: Batch, player: str) -> Tensor:
        """One-draw-an-object estimate of KL(q || target), in bits per dimension."""
        self.check(batch)
        if player != "flow":
            raise ModelError(f"{type(self).__name__} has no player {player!r}; its only player is flow")
        latents = torch.randn(len(batch), self.dimensions, device=self.scale.device, dtype=self.scale.dtype)
        pixels, log_prob = self.drawn(latents)
        return (log_prob - self.log_target(pixels)).mean() / (self.dimensions * math.log(2))
