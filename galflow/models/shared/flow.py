"""What all normalizing flows share: pixels to a standard normal and back, with the exact density in between.

Missing pixels, the same for every flow: each layer holds them at 0 and leaves their terms out of its determinant, and
the base density skips them. What remains is an invertible map of the observed pixels alone, so that ``log_prob`` is a
normalised density over the observed pixels for the given mask. It is not the full density with the missing pixels
integrated out, which no flow of these can give in closed form.

This file knows no particular flow, and refuses to dequantise: its input is continuous flux in a stretch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError
from galflow.layers.flows.transform import FlowState, Transform
from galflow.layers.images.blocks import observed_pixels, standard_normal
from galflow.models.base import Density, Encodes, Player, bits_per_dim

_LEAST_SCALE = 1e-3
"""A band that never varies is not blown up beyond this, in stretched units."""


FLOW_SCORES: Mapping[str, str] = {
    "bits_per_dim": "-log2 density per observed pixel and band; follows brightness (Nalisnick+19)",
    "noise_misfit": "misfit of the base values to white standard normal noise, in standard errors: 1 fits",
}
"""Of every flow whose base is a standard normal."""


def _log_normal(base: FlowState) -> Tensor:
    values, mask, log_det = base
    normal = -0.5 * (values.square() + math.log(2 * math.pi)) * mask
    return normal.flatten(1).sum(1) + log_det


def noise_misfit(base: FlowState) -> Tensor:
    """(B,) float64 how ill the observed base values fit the noise that they are if the model is right.

    A test of goodness of fit beside the likelihood, which outliers may pass: an object can be as probable as others,
    or more, with base values that are no noise at all (Kirichenko+20, NeurIPS; Nalisnick+19b). Root mean square of
    four numbers that are standard normal for white noise: mean, variance, and the products of neighbours in the last
    axis and in the last but one (of flat base values: the next, and the next but one). 0 without an observed value.
    """
    values, mask = base.values.double(), base.mask.double()
    known = values * mask
    count = mask.flatten(1).sum(1).clamp_min(1)
    squares = known.square().flatten(1).sum(1)
    found = [known.flatten(1).sum(1) / count.sqrt(), (squares / count - 1) * (count / 2).sqrt()]
    if known.ndim > 2:
        shifts = [(known[..., 1:], known[..., :-1], mask[..., 1:] * mask[..., :-1]),
                  (known[..., 1:, :], known[..., :-1, :], mask[..., 1:, :] * mask[..., :-1, :])]  # fmt: skip
    else:
        shifts = [(known[:, k:], known[:, :-k], mask[:, k:] * mask[:, :-k]) for k in (1, 2)]
    for one, other, both in shifts:
        found.append((one * other).flatten(1).sum(1) / both.flatten(1).sum(1).clamp_min(1).sqrt())
    misfit = torch.stack(found).square().mean(0).sqrt()
    return torch.where(mask.flatten(1).any(1), misfit, 0.0)


class Flow(Density, Encodes):
    """A flow of images onto a standard normal; subclasses set ``self.transform`` and say which layers it has.

    ``transform`` takes images (B, C, H, W), standardised per band, and ends in any shape of as many entries (flat,
    say, where scales are factored out). ``loss`` is bits per observed dimension. The latents of ``encode`` are those
    entries, flattened.
    """

    scores: ClassVar[Mapping[str, str]] = FLOW_SCORES
    loss_per_pixel: ClassVar[bool] = True
    transform: Transform
    centre: Tensor
    scale: Tensor
    learning_rate = 1e-3

    def __init__(self, *, channels: int, size: int) -> None:
        super().__init__(channels=channels, size=size)
        self.register_buffer("centre", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))

    @property
    def players(self) -> tuple[Player, ...]:
        """One player: the flow."""
        return (Player("flow", ("transform",), learning_rate=self.learning_rate),)

    @property
    def dimensions(self) -> int:
        """Numbers in one image."""
        return self.channels * self.size**2

    def standardised(self, batch: Batch) -> FlowState:
        """The batch's observed pixels at zero mean and unit variance per band, with the log|det| of that."""
        self.check(batch)
        mask = batch.observed.to(self.scale.dtype)
        values = (observed_pixels(batch).to(self.scale.dtype) - self.centre) / self.scale * mask
        return FlowState(values, mask, -(mask * self.scale.log()).sum((1, 2, 3)))

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Take the bands' mean and standard deviation from the batch, then initialise layer after layer."""
        self.check(batch)
        for band in range(self.channels):
            known = batch.pixels[:, band][batch.observed[:, band]]
            if len(known) > 1:
                self.centre[band] = known.mean()
                self.scale[band] = known.std(correction=0).clamp_min(_LEAST_SCALE)
        self.transform.initialise(self.standardised(batch))

    def to_base(self, batch: Batch) -> FlowState:
        """The batch at the base: (B, ...) values that are standard normal if the model is right."""
        return self.transform(self.standardised(batch))

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) log-density in nats of the observed stretched pixels."""
        return _log_normal(self.to_base(batch))

    def log_prob_and_scores(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """With ``bits_per_dim`` and ``noise_misfit`` of the same base values."""
        base = self.to_base(batch)
        log_prob = _log_normal(base).double()
        scores = {"bits_per_dim": bits_per_dim(log_prob, batch.observed), "noise_misfit": noise_misfit(base)}
        return log_prob, scores

    def loss(self, batch: Batch, player: str) -> Tensor:
        """Bits per observed pixel and band, over the whole batch."""
        if player != "flow":
            raise ModelError(f"{type(self).__name__} has no player {player!r}; its only player is flow")
        log_prob, dimensions = self.log_prob(batch), batch.observed.sum().clamp_min(1)
        return -log_prob.sum() / (dimensions * math.log(2))

    def encode(self, batch: Batch) -> Tensor:
        """(B, C * H * W) the base values."""
        return self.to_base(batch).values.flatten(1)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, H, W) stretched pixels of base values (B, C * H * W)."""
        return self.transform.inverse(self._shaped(latents)) * self.scale + self.centre

    def _shaped(self, latents: Tensor) -> Tensor:
        """Latents in the shape in which ``transform`` ends; flat unless overridden."""
        return latents

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) stretched pixels of n normal latents."""
        return self.decode(standard_normal((n, self.dimensions), generator, self.scale))
