"""A model as a plug-in: probabilistic PCA (Tipping & Bishop 99), a Gaussian with a few directions of large variance.

It is here to be copied: every method that galflow asks of a model, in one file, with an exact likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.models.base import Density, Encodes, Player, Reconstructs


class ProbabilisticPCA(Density, Reconstructs, Encodes):
    """Probabilistic PCA (Tipping & Bishop 99, J. R. Stat. Soc. B 61, 611): x = mean + W z + noise.

    z is standard normal with ``components`` numbers, the noise is white. So x is normal with covariance
    W W^T + sigma^2, and the observed pixels alone are normal too: a missing pixel is integrated out exactly.
    Loss: -log p(observed pixels), in nats per observed pixel. Valid input: any finite stretched pixels.
    """

    source: ClassVar[str] = "Tipping & Bishop 99"
    scores: ClassVar[Mapping[str, str]] = {"bits_per_dim": "-log2 p per observed pixel and band, in the stretch"}
    free_form_jacobian: ClassVar[bool] = False
    loss_per_pixel: ClassVar[bool] = True

    def __init__(
        self, *, channels: int, size: int, components: Annotated[int, "directions of large variance"] = 8
    ) -> None:
        super().__init__(channels=channels, size=size)
        dims = channels * size * size
        if not 1 <= components < dims:
            raise SpecError(f"components is {components}; it must be 1 or more and less than the {dims} pixels")
        self.mean = nn.Parameter(torch.zeros(dims))
        self.directions = nn.Parameter(0.1 * torch.randn(dims, components))
        self.log_sigma = nn.Parameter(torch.tensor(math.log(0.1)))

    @property
    def players(self) -> tuple[Player, ...]:
        """One: all that is learnt."""
        return (Player("pca", ("mean", "directions", "log_sigma")),)

    @classmethod
    def tiny(cls) -> Self:
        """Three components of 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, components=3)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Mean, directions and noise of the first batch, with missing pixels filled with the mean image."""
        self.check(batch)
        pixels, observed = self._flat(batch)
        self.mean.copy_(pixels.sum(0) / observed.sum(0).clamp(min=1))
        residual = (pixels - self.mean) * observed
        _, strength, directions = torch.linalg.svd(residual, full_matrices=False)
        k = min(self.directions.shape[1], len(strength))
        self.directions[:, :k] = directions[:k].T * strength[:k] / math.sqrt(len(batch))
        left = strength[k:].square().sum() / observed.sum().clamp(min=1)
        self.log_sigma.copy_(0.5 * left.clamp(min=1e-6).log())

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) log-density in nats of the observed pixels, by the matrix inversion lemma: K x K and not D x D."""
        residual, observed, factor, latents = self._posterior(batch)
        variance = (2 * self.log_sigma).exp()
        explained = (latents * (residual @ self.directions)).sum(1)
        dims, k = observed.sum(1), latents.shape[1]
        log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1) + (dims - k) * 2 * self.log_sigma
        return -0.5 * ((residual.square().sum(1) - explained) / variance + log_det + dims * math.log(2 * math.pi))

    def loss(self, batch: Batch, player: str) -> Tensor:
        """-log p of the batch in nats, per observed pixel."""
        return -self.log_prob(batch).sum() / batch.observed.sum().clamp(min=1)

    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        """(B, components): the mean of z given the observed pixels."""
        return self._posterior(batch)[3]

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W): mean + W z at that z, missing pixels included."""
        return (self.mean + self.encode(batch) @ self.directions.T).view_as(batch.pixels)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) draws, with noise."""
        k, dims = self.directions.shape[1], len(self.mean)
        device = None if generator is None else generator.device
        z, noise = (torch.randn(n, d, generator=generator, device=device).to(self.mean) for d in (k, dims))
        flat = self.mean + z @ self.directions.T + self.log_sigma.exp() * noise
        return flat.view(n, self.channels, self.size, self.size)

    @staticmethod
    def _flat(batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, D) pixels, 0 where missing whatever stands there, and 1 or 0 for observed or not."""
        pixels = torch.where(batch.observed, batch.pixels, torch.zeros_like(batch.pixels))
        return pixels.flatten(1), batch.observed.flatten(1).to(batch.pixels.dtype)

    def _posterior(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Residuals (B, D), observed (B, D), Cholesky factor of M = sigma^2 + W^T W (B, K, K), mean of z (B, K).

        W has the rows of the observed pixels alone, so that M differs from object to object.
        """
        self.check(batch)
        pixels, observed = self._flat(batch)
        residual = (pixels - self.mean) * observed
        d, k = self.directions.shape
        products = (self.directions[:, :, None] * self.directions[:, None, :]).view(d, k * k)
        noise = (2 * self.log_sigma).exp() * torch.eye(k, dtype=pixels.dtype, device=pixels.device)
        factor = torch.linalg.cholesky((observed @ products).view(-1, k, k) + noise)
        latents = torch.cholesky_solve((residual @ self.directions)[:, :, None], factor)[:, :, 0]
        return residual, observed, factor, latents
