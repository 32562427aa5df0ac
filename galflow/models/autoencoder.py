"""Autoencoder with a Gaussian mixture fitted to its latents afterwards.

The training asks only for good reconstructions; nothing asks the latents to follow any density, so the mixture may fit
them badly, and its samples may decode to no galaxy at all. The model is here to show that, beside the VAE, and it
refuses to call the mixture's number a likelihood of the pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.blocks import ImageDecoder, ImageEncoder, mean_over_observed, observed_pixels
from galflow.models.base import Encodes, Player, Reconstructs
from galflow.models.shared.gaussian_mixture import GaussianMixture


class Autoencoder(Reconstructs, Encodes):
    """Bottleneck autoencoder (Hinton & Salakhutdinov 06) with a Gaussian mixture on its latents.

    Loss: mean squared error of the reconstruction over observed pixels. ``finish`` encodes the training set and fits
    the mixture by expectation-maximisation. Neither score is a likelihood of the pixels: ``latent`` is a density in a
    space whose shape the training left free. Valid input: finite stretched pixels, about -0.2 to 1.3.
    """

    source: ClassVar[str] = "Hinton & Salakhutdinov 06"
    version: ClassVar[str] = "2"
    scores: ClassVar[Mapping[str, str]] = {
        "reconstruction": "mean squared residual per observed pixel, in stretched units squared",
        "latent": "negative log-density of the latents under the fitted mixture, in nats",
    }
    loss_per_pixel: ClassVar[bool] = True
    latent_log_density: ClassVar[str | None] = "latent"

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        latent: Annotated[int, "numbers that describe an object"] = 16,
        width: Annotated[int, "feature maps at full resolution; networks scale with it"] = 32,
        components: Annotated[int, "Gaussians of the mixture on the latents"] = 8,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if latent < 1:
            raise SpecError(f"latent is {latent}; an autoencoder needs at least one latent number, such as 16")
        self.encoder = ImageEncoder(channels=channels, size=size, features=latent, width=width)
        self.decoder = ImageDecoder(features=latent, channels=channels, size=size, width=width)
        self.mixture = GaussianMixture(components=components, dimensions=latent)

    @property
    def players(self) -> tuple[Player, ...]:
        """One: encoder and decoder together."""
        return (Player("autoencoder", ("encoder", "decoder"), learning_rate=2e-3),)

    @classmethod
    def tiny(cls) -> Self:
        """Four latents for 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, latent=4, width=16, components=2)

    def encode(self, batch: Batch) -> Tensor:
        """(B, latent) latents."""
        self.check(batch)
        return self.encoder(observed_pixels(batch))

    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) what survives the bottleneck."""
        return self.decoder(self.encode(batch))

    def loss(self, batch: Batch, player: str) -> Tensor:
        """Mean squared residual over the batch's observed pixels."""
        residual = (self.reconstruct(batch) - observed_pixels(batch)) * batch.observed
        return residual.square().sum() / batch.observed.sum().clamp_min(1)

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """``reconstruction`` and ``latent``, each (B,)."""
        latents = self.encode(batch)
        residual = self.decoder(latents) - observed_pixels(batch)
        return {
            "reconstruction": mean_over_observed(residual.square(), batch.observed),
            "latent": -self.mixture.log_prob(latents),
        }

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Fit the mixture to the latents of all objects in ``batches`` (kept in memory: 64 bytes an object)."""
        latents = [self.encode(batch)[batch.observed.flatten(1).any(1)] for batch in batches]
        if not sum(len(part) for part in latents):
            raise ModelError(
                "the autoencoder's mixture was given no observed object to fit; "
                "give the training set's batches, with at least one observed object"
            )
        self.mixture.fit(torch.cat(latents))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) decoded draws of the mixture, without pixel noise."""
        return self.decoder(self.mixture.draw(n, generator))
