"""Density in an encoder's space: a normalizing flow on the latents of another model.

Raw likelihoods of pixels follow brightness and background, and simple images outrank the training set (Nalisnick+19);
a density of a few numbers that describe an object does not see the noise at all. It is no likelihood of the pixels, and
is never subtracted from one: what the encoder throws away, it cannot know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.flows.latent_flow import LatentFlow
from galflow.models.base import BringsWeights, Conditional, Encodes, Player, build_model

FLOW = "latent_flow"
"""The player that trains the flow."""
MOST_LATENTS = 256
_LEAST_SCALE = 1e-6


class LatentDensity(Encodes):
    """Neural spline flow on the latents of an inner encoder (Durkan+19; density in latent space as Boehm & Seljak 20).

    Loss: the inner model's while it is trained; then, with it frozen, -log p(z) of standardised latents, to which
    Gaussian noise of ``smoothing`` is added, lest a few objects become a few spikes. ``latent`` is -log p(z) in nats,
    in the latents' own units. Samples are the inner model's. Valid input: that of the inner model.
    """

    source: ClassVar[str] = "Durkan+19, Boehm & Seljak 20"
    scores: ClassVar[Mapping[str, str]] = {
        "latent": "negative log-density of the inner encoder's latents under a flow, in nats"
    }
    latent_log_density: ClassVar[str | None] = "latent"

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        inner: Annotated[str, "model whose latents are learnt"] = "vae.VAE",
        inner_options: Annotated[Mapping[str, Any] | None, "its options"] = None,
        transforms: Annotated[int, "spline layers of the flow"] = 3,
        width: Annotated[int, "width of the flow's networks"] = 64,
        smoothing: Annotated[float, "noise added in training, in standard deviations of a latent"] = 0.1,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if not 0 <= smoothing <= 1:
            raise SpecError(f"smoothing is {smoothing}; give a share of a latent's standard deviation, 0 to 1")
        self.inner = _encoder(inner, channels, size, inner_options)
        latents = self.inner.encode(Batch.of(torch.zeros(1, channels, size, size))).shape[1]
        if not 2 <= latents <= MOST_LATENTS:
            raise SpecError(
                f"inner {inner!r} gives {latents} latents; expected 2 to {MOST_LATENTS}. Give an encoder with a "
                "bottleneck, such as vae.VAE with latent: 16"
            )
        self.smoothing = smoothing
        self.latent_flow = LatentFlow(latent=latents, conditions=0, transforms=transforms, width=width)
        self.register_buffer("centre", torch.zeros(latents))
        self.register_buffer("scale", torch.ones(latents))
        self.loss_per_pixel = self.inner.loss_per_pixel  # type: ignore[misc] # as the inner model's loss is

    @property
    def players(self) -> tuple[Player, ...]:
        """The inner model's, then the flow."""
        inner = tuple(
            replace(player, modules=tuple(f"inner.{name}" for name in player.modules)) for player in self.inner.players
        )
        after = 1 + max(player.phase for player in inner)
        return (*inner, Player(FLOW, ("latent_flow",), phase=after, learning_rate=1e-3))

    @classmethod
    def tiny(cls) -> Self:
        """On sixteen principal components of 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, inner="pca.PCA", inner_options={"components": 16}, transforms=1, width=16)

    def initialise(self, batch: Batch) -> None:
        """The inner model's."""
        self.inner.initialise(batch)

    @torch.no_grad()
    def begin_phase(self, phase: int, batches: Iterable[Batch]) -> None:
        """The inner model's; before the flow's, let the inner model finish, and take the latents' mean and scatter."""
        if phase != self.players[-1].phase:
            self.inner.begin_phase(phase, batches)
            return
        self.inner.eval()
        self.inner.finish(batches)
        count, total, squares = 0, torch.zeros_like(self.centre).double(), torch.zeros_like(self.scale).double()
        for batch in batches:
            latents = self.encode(batch)[batch.observed.flatten(1).any(1)].double()
            count += len(latents)
            total += latents.sum(0)
            squares += latents.square().sum(0)
        if not count:
            raise ModelError("a latent density was given no observed object to learn from; give at least one")
        mean = total / count
        spread = (squares / count - mean.square()).clamp_min(0).sqrt()
        self.centre.copy_(mean)
        self.scale.copy_(torch.where(spread > _LEAST_SCALE, spread, torch.ones_like(spread)))

    def encode(self, batch: Batch) -> Tensor:
        """(B, D) the inner model's latents."""
        self.check(batch)
        return self.inner.encode(batch)

    def loss(self, batch: Batch, player: str) -> Tensor:
        """The inner model's; of the flow mean -log p of standardised, slightly smoothed latents, in nats."""
        if player != FLOW:
            return self.inner.loss(batch, player)
        with torch.no_grad():
            latents = self._standardised(self.encode(batch))
            latents = latents + self.smoothing * torch.randn_like(latents)
        return -self._log_prob(latents).mean()

    def _standardised(self, latents: Tensor) -> Tensor:
        return (latents - self.centre) / self.scale

    def _log_prob(self, standardised: Tensor) -> Tensor:
        return self.latent_flow.log_prob(standardised, standardised.new_zeros(len(standardised), 0))

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """``latent``, (B,)."""
        with torch.autocast(batch.pixels.device.type, enabled=False):
            return {"latent": self.scale.log().sum() - self._log_prob(self._standardised(self.encode(batch)))}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) of the inner model."""
        return self.inner.sample(n, generator)

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """The inner model's."""
        return self.inner.diagnostics(batch)


def _encoder(name: str, channels: int, size: int, options: Mapping[str, Any] | None) -> Encodes:
    found = build_model(name, channels=channels, size=size, **(options or {}))
    needs = isinstance(found, BringsWeights | Conditional) or found.needs_ivar or found.needs_psf
    if needs or not isinstance(found, Encodes) or not found.trains_on_data:
        raise SpecError(
            f"inner is {name!r}; expected an encoder that learns from pixels alone, such as vae.VAE or "
            "autoencoder.Autoencoder: none that needs weights of yours, inverse variance, PSF or conditions"
        )
    return found
