"""Autoencoder with a Gaussian mixture fitted to its latents afterwards.

The training asks only for good reconstructions; nothing asks the latents to follow any density, so the mixture may fit
them badly, and its samples may decode to no galaxy at all. The model is here to show that, beside the VAE, and it
refuses to call the mixture's number a likelihood of the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.blocks import (
    ImageDecoder,
    ImageEncoder,
    mean_over_observed,
    observed_pixels,
    random_choice,
    standard_normal,
)
from galflow.models.base import Encodes, Player, Reconstructs

COVARIANCE_FLOOR = 1e-4
"""Least variance of a component in any direction, in units of the latents' mean variance."""
EM_STEPS = 200
EM_TOLERANCE = 1e-6
"""EM ends when the bound on the mean log-density rises by less than this many nats."""
EM_SEED = 20
"""Of the k-means++ start: the same latents give the same mixture."""
MEAN_PRIOR_OBJECTS = 1e-2
"""A component's mean is drawn to the mean of all latents as by so many objects there."""


class GaussianMixture(nn.Module):
    """Mixture of ``components`` Gaussians with full covariances in ``dimensions`` dimensions, all in buffers.

    Until ``fit`` is called it is a standard normal.
    """

    log_weights: Tensor
    means: Tensor
    whitenings: Tensor

    def __init__(self, *, components: int, dimensions: int) -> None:
        super().__init__()
        if components < 1:
            raise SpecError(f"components is {components}; a mixture needs at least one, such as 8")
        self.register_buffer("log_weights", torch.full((components,), -math.log(components)))
        self.register_buffer("means", torch.zeros(components, dimensions))
        # Inverse Cholesky factors W with covariance (W^T W)^-1: a density is then one matrix product per component.
        self.register_buffer("whitenings", torch.eye(dimensions).expand(components, -1, -1).clone())

    def joint_log_prob(self, points: Tensor) -> Tensor:
        """(N, K) log of weight times density, in nats, of ``points`` (N, D)."""
        white = torch.einsum("kij,nkj->nki", self.whitenings, points[:, None, :] - self.means)
        log_det = self.whitenings.diagonal(dim1=1, dim2=2).log().sum(1)
        normal = -0.5 * white.square().sum(2) - 0.5 * points.shape[1] * math.log(2 * math.pi)
        return self.log_weights + log_det + normal

    def log_prob(self, points: Tensor) -> Tensor:
        """(N,) log-density in nats of ``points`` (N, D)."""
        return torch.logsumexp(self.joint_log_prob(points), dim=1)

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Expectation-maximisation on ``points`` (N, D) by scikit-learn, in double precision, with a fixed seed.

        Covariances carry the conjugate prior of Fraley & Raftery 07 (J. Classif. 24, 155): scale = the points'
        covariance / K^(2/D), D + 2 degrees of freedom. It fades with N and keeps small components from collapsing.
        Weights count one object more in each component: none dies out.
        """
        from sklearn.mixture import BayesianGaussianMixture

        components, dimensions = self.means.shape
        x = points.double().cpu()
        x = x.repeat(-(-components // len(x)), 1)  # scikit-learn wants as many points as components
        spread = torch.atleast_2d(torch.cov(x.T, correction=0))
        floor = float(COVARIANCE_FLOOR * spread.diagonal().mean() + 1e-12)
        prior = spread / components ** (2 / dimensions) + floor * torch.eye(dimensions, dtype=x.dtype)
        fitted = BayesianGaussianMixture(
            n_components=components,
            weight_concentration_prior_type="dirichlet_distribution",
            weight_concentration_prior=1.0,
            mean_precision_prior=MEAN_PRIOR_OBJECTS,
            covariance_prior=prior.numpy(),
            degrees_of_freedom_prior=dimensions + 2,
            reg_covar=floor,
            init_params="k-means++",
            max_iter=EM_STEPS,
            tol=EM_TOLERANCE * len(x),
            random_state=EM_SEED,
        ).fit(x.numpy())
        self.log_weights.copy_(torch.from_numpy(fitted.weights_).log())
        self.means.copy_(torch.from_numpy(fitted.means_))
        self.whitenings.copy_(torch.from_numpy(fitted.precisions_cholesky_).mT)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, D) draws."""
        chosen = random_choice(self.log_weights.exp(), n, generator)
        noise = standard_normal((n, self.means.shape[1]), generator, self.means)
        step = torch.linalg.solve_triangular(self.whitenings[chosen], noise[:, :, None], upper=False)[:, :, 0]
        return self.means[chosen] + step


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
