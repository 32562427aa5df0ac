"""k-means on pixels: the baseline that the other models must beat (Margalef-Bentabol+20).

It aligns nothing: an object counts as far from a centroid when it is merely shifted or turned, and that is what makes
it a baseline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.blocks import observed_pixels, random_choice, standard_normal
from galflow.models.base import GenerativeModel, Player

START_SEED = 20
"""Seed of the k-means++ draws: the same objects give the same start."""
LLOYD_PASSES = 100
"""Passes over the training set at most; a hundred is far beyond what convergence has taken."""
TYPICAL_SKY_SIGMA = 0.05
"""Pixel noise of samples before ``finish`` has measured it, in stretched units."""


def plus_plus_rows(points: Tensor, k: int) -> Tensor:
    """(k,) rows of ``points`` (N, P) far from each other: k-means++ (Arthur & Vassilvitskii 07), a fixed seed.

    Each next row is drawn with a probability proportional to its squared distance to the nearest row drawn before.
    Where fewer than ``k`` rows differ, some are returned more than once.
    """
    if len(points) == 0:
        raise ModelError("k-means++ was given no objects; it needs at least one, so check the training selection")
    generator = torch.Generator().manual_seed(START_SEED)
    rows = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = torch.full((len(points),), torch.inf, dtype=torch.float64)
    for _ in range(k - 1):
        squares = (points - points[rows[-1]]).square().sum(1)
        nearest = torch.minimum(nearest, squares.double().cpu())
        chances = nearest if float(nearest.sum()) > 0 else torch.ones_like(nearest)
        rows.append(int(torch.multinomial(chances / chances.sum(), 1, generator=generator)))
    return torch.tensor(rows, device=points.device)


@dataclass(frozen=True)
class _Sums:
    """What one pass over the training set adds up, per cluster k."""

    weight: Tensor
    """(K, P): summed weights of the observed pixels."""
    pixels: Tensor
    """(K, P): weighted sum of the pixels."""
    objects: Tensor
    """(K,): objects in the cluster."""
    squares: Tensor
    """(K, C): sum of squared residuals per band."""
    counted: Tensor
    """(K, C): observed pixels per band."""
    error: float
    """Summed quantisation error."""


class KMeans(GenerativeModel):
    """Distance to the nearest of k centroid images, the baseline of Margalef-Bentabol+20 (MNRAS 496, 2346).

    Loss: the quantisation error, i.e. the squared distance per observed pixel to the nearest centroid, averaged over
    objects. ``initialise`` places the centroids by k-means++, the gradient steps move them, and ``finish`` runs Lloyd's
    iterations to convergence, so the trained model is an ordinary k-means. Valid input: any finite stretched pixels.

    Not a density: the Gaussian noise that ``sample`` adds to a centroid is only the cluster's spread, one variance per
    cluster and band.
    """

    source: ClassVar[str] = "Margalef-Bentabol+20"
    scores: ClassVar[Mapping[str, str]] = {
        "distance": "root-mean-square distance per observed pixel to the nearest centroid, in stretched units"
    }

    variances: Tensor
    weights: Tensor

    def __init__(self, *, channels: int, size: int, clusters: Annotated[int, "mean galaxies"] = 10) -> None:
        super().__init__(channels=channels, size=size)
        if clusters < 1:
            raise SpecError(f"clusters is {clusters}; k-means needs at least one, such as 10")
        self.clusters = clusters
        self.centroids = nn.Parameter(TYPICAL_SKY_SIGMA * torch.randn(clusters, channels, size, size))
        self.register_buffer("weights", torch.full((clusters,), 1.0 / clusters))
        self.register_buffer("variances", torch.full((clusters, channels), TYPICAL_SKY_SIGMA**2))

    @property
    def players(self) -> tuple[Player, ...]:
        """One: the centroids."""
        return (Player("centroids", ("centroids",), learning_rate=3e-3),)

    @classmethod
    def tiny(cls) -> Self:
        """Three clusters of 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, clusters=3)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Centroids = objects of ``batch`` chosen by k-means++, missing pixels filled with the batch's mean image."""
        self.check(batch)
        pixels = observed_pixels(batch)
        mean = pixels.sum(0) / batch.observed.sum(0).clamp_min(1)
        filled = torch.where(batch.observed, pixels, mean)
        self.centroids.copy_(filled[plus_plus_rows(filled.flatten(1), self.clusters)])

    def nearest(self, batch: Batch) -> Tensor:
        """(B,) index of the nearest centroid over each object's observed pixels."""
        self.check(batch)
        centroids = self.centroids.detach().flatten(1)
        # |x - c|^2 less |x|^2, which is the same for all centroids: two matrix products instead of a (B, K, P) array.
        if batch.observed.all():
            squares = centroids.square().sum(1)
        else:
            squares = batch.observed.flatten(1).to(batch.pixels.dtype) @ centroids.square().T
        return torch.addmm(squares, observed_pixels(batch).flatten(1), centroids.T, alpha=-2).argmin(1)

    def _mean_squares(self, batch: Batch) -> Tensor:
        """(B,) mean squared residual over observed pixels from the nearest centroid."""
        nearest = self.centroids[self.nearest(batch)]
        if batch.observed.all():
            return (batch.pixels - nearest).square().mean((1, 2, 3))
        total = ((observed_pixels(batch) - nearest) * batch.observed).square().sum((1, 2, 3))
        return total / batch.observed.sum((1, 2, 3)).clamp_min(1)

    def loss(self, batch: Batch, player: str) -> Tensor:
        """Mean over objects of the mean squared distance per observed pixel to the nearest centroid."""
        seen = batch.observed.flatten(1).any(1).sum()
        return self._mean_squares(batch).sum() / seen.clamp_min(1)

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """``distance``, (B,)."""
        return {"distance": self._mean_squares(batch).sqrt()}

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Lloyd's iterations until the error stops falling; then each cluster's weight and pixel variance.

        A cluster without objects keeps its centroid. Objects count equally, however many pixels they miss.
        """
        sums = self._one_pass(batches)
        for _ in range(LLOYD_PASSES):
            means = sums.pixels / sums.weight.clamp_min(torch.finfo(torch.float64).tiny)
            old = self.centroids.flatten(1)
            self.centroids.copy_(torch.where(sums.weight > 0, means.to(old.dtype), old).view_as(self.centroids))
            before, sums = sums.error, self._one_pass(batches)
            if sums.error >= before:
                break
        self.weights.copy_(sums.objects / sums.objects.sum())
        overall = sums.squares.sum(0) / sums.counted.sum(0).clamp_min(1)
        own = sums.squares / sums.counted.clamp_min(1)
        self.variances.copy_(torch.where(sums.counted > 0, own, overall))

    def _one_pass(self, batches: Iterable[Batch]) -> _Sums:
        """Streamed sums over all batches with the present centroids, in double precision."""
        k, c, p = self.clusters, self.channels, self.centroids[0].numel()
        device = self.centroids.device
        double = torch.float64
        weight, pixel_sum = (torch.zeros(k, p, dtype=double, device=device) for _ in range(2))
        objects = torch.zeros(k, dtype=double, device=device)
        squares, counted = (torch.zeros(k, c, dtype=double, device=device) for _ in range(2))
        error = 0.0
        for given in batches:
            batch = given.to(device)
            nearest = self.nearest(batch)
            pixels, observed = observed_pixels(batch).double(), batch.observed.double()
            count = observed.sum((1, 2, 3))
            share = 1.0 / count.clamp_min(1.0)
            residual = (pixels - self.centroids[nearest].double()) * observed
            objects.index_add_(0, nearest, (count > 0).to(double))
            weight.index_add_(0, nearest, observed.flatten(1) * share[:, None])
            pixel_sum.index_add_(0, nearest, pixels.flatten(1) * share[:, None])
            squares.index_add_(0, nearest, residual.square().sum((2, 3)))
            counted.index_add_(0, nearest, observed.sum((2, 3)))
            error += float((residual.square().sum((1, 2, 3)) * share).sum())
        if float(objects.sum()) == 0:
            raise ModelError(
                "k-means met no observed object in a pass over the training set; "
                "give batches that can be read several times (a list or a stream), with at least one observed object"
            )
        return _Sums(weight, pixel_sum, objects, squares, counted, error)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W): centroids drawn by weight, plus white noise of the cluster's variance."""
        chosen = random_choice(self.weights, n, generator)
        centroids = self.centroids[chosen]
        noise = standard_normal(centroids.shape, generator, centroids)
        return centroids + self.variances[chosen].sqrt()[:, :, None, None] * noise
