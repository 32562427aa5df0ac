"""VQ-VAE-2: galaxies as two grids of codes, and autoregressive priors over the codes (Razavi+19).

The exact probability of an image is a sum over all grids of codes; this model keeps one term of it, which is a bound,
and says so. It refuses to be a ``Density``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.constants import SIGMA_PER_MAD
from galflow.errors import ModelError, SpecError
from galflow.layers.images.blocks import mean_over_observed, observed_pixels, standard_normal
from galflow.layers.images.quantiser import code_counts, perplexity
from galflow.layers.images.vqvae2_networks import Levels, TwoLevels
from galflow.layers.pixels.code_prior import CodePrior
from galflow.models.base import Encodes, Player, Reconstructs

SMALLEST_BOTTOM_GRID = 8
"""A bottom code stands for 4 x 4 pixels, or for fewer where the bottom grid would have fewer cells on a side."""
LARGEST_HALVINGS = 2
SIGMA_FLOOR = 1e-3
"""Least noise, in stretched units: a noise-free simulation must not drive the bound to infinity."""


class VQVAE2(Reconstructs, Encodes):
    """Hierarchical vector-quantised autoencoder with PixelCNN priors (Razavi+19).

    Two grids of codes: the bottom's cells are 4 x 4 pixels (fewer for images below 32 pixels: the bottom grid has at
    least 8 cells on a side), the top's twice as wide; the bottom is encoded, and the image decoded, knowing the top.
    Phase 0 trains the autoencoder: mean squared residual over observed pixels in units of the sky's variance, plus
    ``commitment`` times the squared distance of vectors to their codes; codebooks follow by moving averages
    (galflow/layers/images/quantiser.py). Phase 1 freezes it and trains a prior over top codes and one over bottom codes
    given the top: bits per code. ``finish`` measures the noise per band: the root mean square residual of the training
    set.

    With codes z(x) and decoded image m(z), p(x) = sum over z of p(z) N(x | m(z), noise) is at least its one term
    p(z(x)) N(x | m(z(x)), noise). ``description`` is -log2 of that term: an upper bound on -log2 p(x), which is not
    known. Missing pixels: the encoder sees 0 and a flag; residuals and the bound count observed pixels only (codes
    always count whole); objects without any teach nothing. Valid input: finite stretched pixels, about -0.2 to 1.3.
    """

    source: ClassVar[str] = "Razavi+19"
    scores: ClassVar[Mapping[str, str]] = {
        "description": "bits per observed pixel for the codes and then the residual: an upper bound on -log2 density",
        "reconstruction": "mean squared residual per observed pixel, in stretched units squared",
        "code_nll": "-log2 probability of the codes under the priors, in bits per code; blind to the residual",
    }
    one_pass_sampling: ClassVar[bool] = False

    scale: Tensor
    noise: Tensor

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        codes: Annotated[int, "codes in each of the two codebooks"] = 128,
        dimensions: Annotated[int, "numbers in a code's vector"] = 16,
        width: Annotated[int, "feature maps of encoder and decoder"] = 48,
        layers: Annotated[int, "residual blocks in each part of encoder and decoder"] = 1,
        prior_width: Annotated[int, "features of each layer of the two priors"] = 48,
        prior_layers: Annotated[int, "gated layers of each prior"] = 4,
        commitment: Annotated[float, "weight of the pull of vectors to their codes"] = 0.25,
        decay: Annotated[float, "of the codebooks' moving averages, per batch; the paper's 0.99 starts slowly"] = 0.97,
        learning_rate: Annotated[float, "Adam's step size"] = 2e-3,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if min(width, layers, prior_width, prior_layers) < 1:
            raise SpecError(
                "width, layers, prior_width and prior_layers of a VQ-VAE-2 must be at least 1; "
                f"got {width}, {layers}, {prior_width}, {prior_layers}"
            )
        if not (math.isfinite(commitment) and commitment > 0):
            raise SpecError(
                f"commitment is {commitment}; it must be positive, such as 0.25, or vectors leave their codes"
            )
        halvings = bottom_halvings(size)
        grid = size >> halvings
        self.commitment, self.learning_rate = commitment, learning_rate
        self.levels = TwoLevels(
            channels=channels,
            halvings=halvings,
            codes=codes,
            dimensions=dimensions,
            width=width,
            layers=layers,
            decay=decay,
        )
        self.top_prior = CodePrior(codes=codes, grid=grid // 2, width=prior_width, layers=prior_layers)
        self.bottom_prior = CodePrior(
            codes=codes, grid=grid, width=prior_width, layers=prior_layers, coarser_codes=codes
        )
        self.register_buffer("scale", torch.full((channels,), 0.1))
        self.register_buffer("noise", torch.full((channels,), 0.1))

    @property
    def players(self) -> tuple[Player, ...]:
        """The autoencoder, then both priors over its codes."""
        return (
            Player("autoencoder", ("levels",), learning_rate=self.learning_rate),
            Player("prior", ("top_prior", "bottom_prior"), phase=1, learning_rate=self.learning_rate),
        )

    @classmethod
    def tiny(cls) -> Self:
        """Sixteen codes of four numbers for 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, codes=16, dimensions=4, width=16, prior_width=8, prior_layers=1, decay=0.9)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Measure the sky's scatter band by band (robustly: most pixels are sky), and put the codebooks on the data."""
        self.check(batch)
        bands = torch.where(batch.observed, batch.pixels, torch.nan).transpose(0, 1).flatten(1)
        deviation = (bands - bands.nanmedian(1, keepdim=True).values).abs().nanmedian(1).values
        scatter = (SIGMA_PER_MAD * deviation).clamp_min(SIGMA_FLOOR)
        self.scale.copy_(torch.where(scatter.isfinite(), scatter, self.scale))
        self.noise.copy_(self.scale)
        seen = batch[batch.observed.flatten(1).any(1)]
        self.levels.start(observed_pixels(seen), seen.observed)

    def quantise(self, batch: Batch) -> Levels:
        """Top (B, h/2, w/2) and bottom (B, h, w) codes with their vectors."""
        self.check(batch)
        return self.levels.quantise(observed_pixels(batch), batch.observed)

    def loss(self, batch: Batch, player: str) -> Tensor:
        """Of the autoencoder: mean residual in sky variances plus commitment. Of the prior: bits per code."""
        counted = batch.observed.flatten(1).any(1)
        objects = counted.sum().clamp_min(1)
        if player == "autoencoder":
            levels = self.quantise(batch)
            decoded = self.levels.decode(levels.top.vectors, levels.bottom.vectors)
            residual = (decoded - observed_pixels(batch)) / self.scale[:, None, None] * batch.observed
            strayed = (levels.top.commitment + levels.bottom.commitment) * counted
            fit = residual.square().sum() / batch.observed.sum().clamp_min(1)
            return fit + self.commitment * strayed.sum() / objects
        if player == "prior":
            with torch.no_grad():
                levels = self.quantise(batch)
            return (self._code_bits(levels) * counted).sum() / (objects * self.codes_per_object)
        raise ModelError(f"VQVAE2 has no player {player!r}; its players are autoencoder and prior")

    @property
    def codes_per_object(self) -> int:
        """Cells of both grids."""
        return self.top_prior.grid**2 + self.bottom_prior.grid**2

    def _code_bits(self, levels: Levels) -> Tensor:
        """(B,) -log2 probability of the codes under both priors."""
        top, bottom = levels.top.codes, levels.bottom.codes
        log_prob = self.top_prior.log_prob(top) + self.bottom_prior.log_prob(bottom, top)
        return -log_prob / math.log(2.0)

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """``description``, ``reconstruction`` and ``code_nll``, each (B,); no random numbers."""
        levels = self.quantise(batch)
        residual = observed_pixels(batch) - self.decode(levels.top.codes, levels.bottom.codes)
        code_bits = self._code_bits(levels)
        variance = self.noise[:, None, None].square()
        surprise = 0.5 * (residual.square() / variance + torch.log(2 * math.pi * variance)) / math.log(2.0)
        counted = batch.observed.sum((1, 2, 3)).clamp_min(1)
        return {
            "description": mean_over_observed(surprise, batch.observed) + code_bits / counted,
            "reconstruction": mean_over_observed(residual.square(), batch.observed),
            "code_nll": code_bits / self.codes_per_object,
        }

    def decode(self, top: Tensor, bottom: Tensor) -> Tensor:
        """(B, C, H, W) noise-free pixels of top (B, h/2, w/2) and bottom (B, h, w) codes."""
        return self.levels.decode(self.levels.top.lookup(top), self.levels.bottom.lookup(bottom))

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) what the codes say, without noise."""
        levels = self.quantise(batch)
        return self.decode(levels.top.codes, levels.bottom.codes)

    @torch.no_grad()
    def encode(self, batch: Batch) -> Tensor:
        """(B, 2 dimensions) mean top vector and mean bottom vector: what is there, not where."""
        levels = self.quantise(batch)
        return torch.cat([levels.top.vectors.mean((2, 3)), levels.bottom.vectors.mean((2, 3))], dim=1)

    @torch.no_grad()
    def finish(self, batches: Iterable[Batch]) -> None:
        """Measure the noise: per band, the root mean square residual over the training set's observed pixels."""
        total = torch.zeros_like(self.noise, dtype=torch.float64)
        number = torch.zeros_like(total)
        for batch in batches:
            residual = torch.where(batch.observed, observed_pixels(batch) - self.reconstruct(batch), 0.0)
            total += residual.double().square().sum((0, 2, 3))
            number += batch.observed.sum((0, 2, 3))
        rms = (total / number.clamp_min(1)).sqrt().clamp_min(SIGMA_FLOOR)
        self.noise.copy_(torch.where(number > 0, rms, self.noise.double()))

    @torch.no_grad()
    def draw_codes(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Top (n, h/2, w/2) and bottom (n, h, w) codes drawn from the priors, cell by cell."""
        top = self.top_prior.draw(n, generator)
        return top, self.bottom_prior.draw(n, generator, top)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) decoded draws of the priors, with Gaussian noise as the residuals' of the training set."""
        clean = self.decode(*self.draw_codes(n, generator))
        return clean + self.noise[:, None, None] * standard_normal(clean.shape, generator, clean)

    @torch.no_grad()
    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """Perplexity of each level's codes on this batch (at most the codes it holds), and in the training so far."""
        levels = self.quantise(batch[batch.observed.flatten(1).any(1)])
        found = {}
        for name, level, book in (
            ("top", levels.top, self.levels.top),
            ("bottom", levels.bottom, self.levels.bottom),
        ):
            found[f"perplexity_{name}"] = float(perplexity(code_counts(level.codes, book.codes)))
            found[f"perplexity_{name}_training"] = book.usage()
        return found


def bottom_halvings(size: int) -> int:
    """How often an image is halved on its way to the bottom codes; refuses a size that the grids do not divide."""
    halvings = 0
    while halvings < LARGEST_HALVINGS and size >> (halvings + 1) >= SMALLEST_BOTTOM_GRID:
        halvings += 1
    if size < SMALLEST_BOTTOM_GRID or size % 2 ** (halvings + 1):
        raise SpecError(
            f"cutouts of {size} pixels on a side have no whole number of cells for both levels of codes; "
            "choose a multiple of 8 such as 32, 48, 64 or 96, or 8, 12, 16, 20, 24, 28"
        )
    return halvings
