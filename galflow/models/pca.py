"""Probabilistic principal component analysis: the linear baseline of what reconstructs or gives a density.

It is fitted exactly, in seconds, and knows what it does not see: where pixels are missing, its density is the marginal
of those observed. It aligns nothing and bends nowhere, and that is what makes it a baseline.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.blocks import observed_pixels, standard_normal
from galflow.models.base import Density, Encodes, Player, Reconstructs, bits_per_dim
from galflow.models.shared.linear_gaussian import cholesky_of_precision, log_determinants, posterior_mean
from galflow.models.shared.principal_components import LEAST_SIGMA, principal_components

DEFAULT_COMPONENTS = 64
START_SEED = 20
"""Of the sketch that ``initialise`` draws: the same objects give the same start."""
TYPICAL_SIGMA = 0.05
"""Noise before anything is measured, in stretched units."""
LEAST_SCATTER = 0.1
"""A pixel's residuals scatter at least by this share of the noise, lest a pixel that never varied rule the score."""


class PCA(Density, Encodes, Reconstructs):
    """Probabilistic PCA (Tipping & Bishop 99, JRSS B 61, 611): x = mean + z W + noise, z and noise Gaussian.

    Loss: negative log-likelihood per observed pixel, in nats. ``initialise`` starts from a random sketch of a batch,
    one epoch of gradient steps shows a curve, and ``finish`` puts the maximum of the likelihood in their place: exactly
    for complete images of up to 4096 pixels (or few of them), by passes over the training set otherwise. With missing
    pixels the density is the Gaussian's marginal over each object's own observed pixels. Valid input: any finite
    stretched pixels.

    ``residual`` weighs each pixel by the scatter of the training set's residuals there: galaxies differ most in their
    centres, and a faint neighbour counts for more than a bright core (benchmarks/labelled.py).
    """

    source: ClassVar[str] = "Tipping & Bishop 99"
    scores: ClassVar[Mapping[str, str]] = {
        "residual": "root-mean-square residual per observed pixel, in standard deviations of that pixel's residuals",
        "reconstruction": "mean squared residual per observed pixel, in stretched units squared",
        "bits_per_dim": "-log2 p per observed dimension",
    }
    free_form_jacobian: ClassVar[bool] = False
    loss_per_pixel: ClassVar[bool] = True

    scatter: Tensor

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        components: Annotated[int | None, "principal components; None: 64, or one fewer than there are pixels"] = None,
    ) -> None:
        super().__init__(channels=channels, size=size)
        pixels = channels * size**2
        if components is None:
            components = min(DEFAULT_COMPONENTS, pixels - 1)
        if not 1 <= components < pixels:
            raise SpecError(
                f"components is {components}, but a cutout of {channels} band(s) of {size} x {size} has {pixels} "
                "pixels; PCA takes at least 1 component, and one fewer than there are pixels at the most"
            )
        self.components = components
        self.mean = nn.Parameter(torch.zeros(channels, size, size))
        self.loadings = nn.Parameter(TYPICAL_SIGMA / math.sqrt(components) * torch.randn(components, pixels))
        self.log_sigma = nn.Parameter(torch.tensor(math.log(TYPICAL_SIGMA)))
        self.register_buffer("scatter", torch.full((channels, size, size), TYPICAL_SIGMA))

    @property
    def players(self) -> tuple[Player, ...]:
        """One, for a single epoch: ``finish`` finds the maximum by itself."""
        return (Player("pca", ("mean", "loadings", "log_sigma"), effort=0.0),)

    @classmethod
    def tiny(cls) -> Self:
        """Four components of 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, components=4)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Mean of ``batch``, and random sums of its objects as loadings: their covariance is that of the batch, nearly.

        The noise takes what a typical pixel scatters.
        """
        self.check(batch)
        counted = batch.observed.sum(0).clamp_min(1)
        mean = observed_pixels(batch).sum(0) / counted
        centred = torch.where(batch.observed, batch.pixels - mean, 0).flatten(1)
        draw = torch.Generator().manual_seed(START_SEED)
        shares = torch.randn(self.components, len(batch), generator=draw).to(centred)
        self.mean.copy_(mean)
        self.loadings.copy_(shares @ centred / math.sqrt(self.components * max(1, len(batch))))
        variance = centred.square().sum() / batch.observed.sum().clamp_min(1)
        self.log_sigma.copy_(0.5 * variance.clamp_min(LEAST_SIGMA**2).log())

    def _posterior(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Posterior mean of the latents (B, k); log|det M| (1 or B,), M as in ``cholesky_of_precision``; residual.

        The residual (B, P) is pixels less their reconstruction, 0 where not observed.
        """
        self.check(batch)
        observed = batch.observed.flatten(1)
        complete = bool(observed.all())
        with torch.autocast(batch.pixels.device.type, enabled=False):
            if complete:
                centred = (batch.pixels - self.mean).flatten(1)
            else:
                centred = torch.where(observed, (observed_pixels(batch) - self.mean).flatten(1), 0)
            factors = cholesky_of_precision(self.loadings, torch.exp(2 * self.log_sigma), observed)
            latents = posterior_mean(factors, (centred @ self.loadings.T).to(factors.dtype)).to(centred.dtype)
            residual = torch.addmm(centred, latents, self.loadings, alpha=-1)
        return latents, log_determinants(factors), residual if complete else residual * observed

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) log-density in nats of each object's observed pixels."""
        return self._log_prob(batch)[0]

    def _log_prob(self, batch: Batch) -> tuple[Tensor, Tensor]:
        latents, log_det, residual = self._posterior(batch)
        counted = batch.observed.sum((1, 2, 3))
        # x^T C^-1 x, by Woodbury and without a difference of large numbers.
        square = residual.square().sum(1) * torch.exp(-2 * self.log_sigma) + latents.square().sum(1)
        log_det = log_det + 2 * (counted - self.components) * self.log_sigma.to(log_det.dtype)
        log_prob = -0.5 * (counted * math.log(2 * math.pi) + log_det.to(square.dtype) + square)
        return torch.where(counted > 0, log_prob, 0), residual

    def loss(self, batch: Batch, player: str) -> Tensor:
        """Negative log-likelihood in nats per observed pixel, over the whole batch."""
        if player != "pca":
            raise ModelError(f"PCA has no player {player!r}; its only player is pca")
        return -self.log_prob(batch).sum() / batch.observed.sum().clamp_min(1)

    def encode(self, batch: Batch) -> Tensor:
        """(B, components) posterior mean of the latents, given the observed pixels."""
        return self._posterior(batch)[0]

    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) what the observed pixels say of the whole image, without noise."""
        return self.mean + (self.encode(batch) @ self.loadings).view_as(batch.pixels)

    def log_prob_and_scores(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """With ``residual``, ``reconstruction`` and ``bits_per_dim``, each (B,); 0 for an object without any pixel."""
        log_prob, residual = self._log_prob(batch)
        log_prob = log_prob.double()
        counted = batch.observed.sum((1, 2, 3)).clamp_min(1)
        squares = residual.square()
        return log_prob, {
            # One product for all pixels: the residual is 0 where nothing was observed.
            "residual": (squares @ self.scatter.flatten().square().reciprocal() / counted).sqrt(),
            "reconstruction": squares.sum(1) / counted,
            "bits_per_dim": bits_per_dim(log_prob, batch.observed),
        }

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """The maximum of the likelihood of all objects in ``batches``; then each pixel's scatter of residuals."""
        found = principal_components(batches, self.components, self.mean.device)
        self.mean.copy_(found.mean.view_as(self.mean))
        self.loadings.copy_(found.loadings)
        self.log_sigma.copy_(0.5 * found.variance.log())
        squares = torch.zeros_like(self.mean, dtype=torch.float64)
        counted = torch.zeros_like(squares)
        for given in batches:
            batch = given.to(self.mean.device)
            squares += self._posterior(batch)[2].square().sum(0).view_as(squares)
            counted += batch.observed.sum(0)
        noise = self.log_sigma.exp()
        scatter = torch.where(counted > 0, (squares / counted.clamp_min(1)).sqrt(), noise)
        self.scatter.copy_(scatter.clamp_min(LEAST_SCATTER * float(noise)))

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) draws of the density, noise included."""
        latents = standard_normal((n, self.components), generator, self.loadings)
        clean = self.mean + (latents @ self.loadings).view(n, *self.mean.shape)
        return clean + self.log_sigma.exp() * standard_normal(clean.shape, generator, clean)
