"""Variational autoencoder (Kingma & Welling 13).

It bounds the likelihood from below and never states it: this model is no ``Density``, and its main score is called a
proxy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.constants import SIGMA_PER_MAD
from galflow.errors import SpecError
from galflow.layers.bounds import soft_bounded
from galflow.layers.images.blocks import (
    ImageDecoder,
    ImageEncoder,
    mean_over_observed,
    observed_pixels,
    standard_normal,
)
from galflow.models.base import Encodes, Player, Reconstructs

LOG_VARIANCE_BOUND = 10.0
"""The posterior's log-variances stay within +-10, so that no image, however odd, makes their exponentials overflow."""
SIGMA_FLOOR = 1e-3
"""Least learnt noise, in stretched units: a noise-free simulation must not drive the likelihood to infinity."""


class VAE(Reconstructs, Encodes):
    """Convolutional VAE with a diagonal Gaussian posterior and a Gaussian likelihood (Kingma & Welling 13).

    Loss = -ELBO = -E_q[log p(x|z)] + KL(q(z|x) || N(0, 1)), with one reparametrised draw, summed over the batch's
    observed pixels and divided by their number: nats per observed pixel, of the same scale at every cutout size.
    ``sigma`` is the noise of the stretched pixels. With ``learn_sigma`` there is one per band, which starts from the
    first batch's sky and is learnt with the rest; otherwise ``sigma`` is declared and stays.
    Valid input: finite stretched pixels, about -0.2 to 1.3.
    """

    source: ClassVar[str] = "Kingma & Welling 13"
    scores: ClassVar[Mapping[str, str]] = {
        "neg_elbo": "negative ELBO with z at the posterior mean: a proxy of the bound, in nats per observed pixel",
        "reconstruction": "mean squared residual per observed pixel, in stretched units squared",
        "kl": "KL divergence of the posterior from the prior, in nats",
    }

    log_sigma: Tensor

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        latent: Annotated[int, "numbers that describe an object"] = 16,
        width: Annotated[int, "feature maps at full resolution; networks scale with it"] = 32,
        sigma: Annotated[float, "noise of a stretched pixel; with learn_sigma where it starts without a sky"] = 0.1,
        learn_sigma: Annotated[bool, "learn one sigma per band, starting from the first batch's sky"] = True,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if latent < 1:
            raise SpecError(f"latent is {latent}; a VAE needs at least one latent number, such as 16")
        if not (math.isfinite(sigma) and sigma > 0):
            raise SpecError(f"sigma is {sigma}; it is a noise in stretched units and must be positive, such as 0.1")
        self.encoder = ImageEncoder(channels=channels, size=size, features=2 * latent, width=width)
        self.decoder: nn.Module = ImageDecoder(features=latent, channels=channels, size=size, width=width)
        self.latent = latent
        self.learn_sigma = learn_sigma
        log_sigma = torch.full((channels,), math.log(sigma))
        if learn_sigma:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    @property
    def players(self) -> tuple[Player, ...]:
        """One: encoder, decoder and, where it is learnt, the noise."""
        modules = ("encoder", "decoder", "log_sigma") if self.learn_sigma else ("encoder", "decoder")
        return (Player("vae", modules, learning_rate=2e-3),)

    @classmethod
    def tiny(cls) -> Self:
        """Four latents for 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, latent=4, width=16)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Where the noise is learnt, start it at the robust scatter of the batch's observed pixels, band by band."""
        self.check(batch)
        if not self.learn_sigma:
            return
        bands = torch.where(batch.observed, batch.pixels, torch.nan).transpose(0, 1).flatten(1)
        deviation = (bands - bands.nanmedian(1, keepdim=True).values).abs().nanmedian(1).values
        scatter = (SIGMA_PER_MAD * deviation).clamp_min(SIGMA_FLOOR)
        self.log_sigma.copy_(torch.where(scatter.isfinite(), scatter.log(), self.log_sigma))

    def noise_variance(self) -> Tensor:
        """(C, 1, 1) variance of the likelihood, in stretched units squared."""
        variance = torch.exp(2 * self.log_sigma)
        return (variance + SIGMA_FLOOR**2 if self.learn_sigma else variance)[:, None, None]

    def posterior(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (B, latent)."""
        self.check(batch)
        mean, raw = self.encoder(observed_pixels(batch)).chunk(2, dim=1)
        return mean, soft_bounded(raw, LOG_VARIANCE_BOUND)

    def log_likelihood(self, batch: Batch, latents: Tensor) -> Tensor:
        """(B,) log p(x|z) in nats, summed over observed pixels."""
        variance = self.noise_variance()
        residual = observed_pixels(batch) - self.decoder(latents)
        log_density = -0.5 * (residual.square() / variance + torch.log(2 * math.pi * variance))
        return torch.where(batch.observed, log_density, torch.zeros_like(log_density)).sum((1, 2, 3))

    def elbo(self, batch: Batch) -> Tensor:
        """(B,) one-draw estimate of the lower bound on log p(x), in nats summed over observed pixels."""
        mean, log_variance = self.posterior(batch)
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return self.log_likelihood(batch, latents) - kl_to_standard_normal(mean, log_variance)

    def loss(self, batch: Batch, player: str) -> Tensor:
        """-ELBO of the batch in nats per observed pixel."""
        return -self.elbo(batch).sum() / batch.observed.sum().clamp_min(1)

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """``neg_elbo``, ``reconstruction`` and ``kl``, each (B,), with z at the posterior mean: no random numbers.

        At the mean, log p(x|z) misses the scatter of z, so ``neg_elbo`` is no bound; it ranks, it does not state log p.
        """
        mean, log_variance = self.posterior(batch)
        kl = kl_to_standard_normal(mean, log_variance)
        residual = observed_pixels(batch) - self.decoder(mean)
        variance = self.noise_variance()
        surprise = 0.5 * (residual.square() / variance + torch.log(2 * math.pi * variance))
        counted = batch.observed.sum((1, 2, 3)).clamp_min(1)
        return {
            "neg_elbo": mean_over_observed(surprise, batch.observed) + kl / counted,
            "reconstruction": mean_over_observed(residual.square(), batch.observed),
            "kl": kl,
        }

    def encode(self, batch: Batch) -> Tensor:
        """(B, latent) posterior means."""
        return self.posterior(batch)[0]

    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) decoded posterior mean, without noise."""
        return self.decoder(self.encode(batch))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) decoded draws of the prior, with the pixel noise of the likelihood."""
        clean = self.decoder(standard_normal((n, self.latent), generator, self.log_sigma))
        return clean + self.noise_variance().sqrt() * standard_normal(clean.shape, generator, clean)

    @torch.no_grad()
    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """Mean KL in nats, latents in use (more than 0.01 nats each on average) and the mean noise."""
        mean, log_variance = self.posterior(batch)
        return kl_diagnostics(mean, log_variance) | {"sigma": float(self.noise_variance().sqrt().mean())}


def kl_per_latent(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B, D) KL(N(mean, exp(log_variance)) || N(0, 1)) of each latent, in nats."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def kl_diagnostics(mean: Tensor, log_variance: Tensor) -> dict[str, float]:
    """Mean KL in nats of posteriors (B, D), and the latents in use: more than 0.01 nats each on average."""
    per_latent = kl_per_latent(mean, log_variance).mean(0)
    return {"kl_nats": float(per_latent.sum()), "active_latents": float((per_latent > 0.01).sum())}


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(B,) KL of the diagonal Gaussian posterior from the standard normal prior, in nats."""
    return kl_per_latent(mean, log_variance).sum(1)
