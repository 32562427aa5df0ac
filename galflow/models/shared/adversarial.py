"""What all adversarial models share: the networks, the encoder, f-AnoGAN's scores, samples and diagnostics.

A model derived from it is two players' losses. It refuses to score with the critic's output, which can rank outliers
backwards.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.blocks import mean_over_observed, observed_pixels
from galflow.layers.images.gan_networks import (
    SMALLEST_IMAGE,
    ConvolutionalGenerator,
    Critic,
    DenseGenerator,
    Encoder,
    ImageGenerator,
    frozen,
    on_sphere,
)
from galflow.layers.images.style_generator import StyleGenerator
from galflow.models.base import Encodes, Player, Reconstructs
from galflow.models.shared.gan_diagnostics import FEWEST_IMAGES, MOST_IMAGES, fidelity
from galflow.models.shared.inversion import check_mix, mean_per_object, refine_latents

GENERATORS = ("convolutional", "style")
GeneratorKind = Literal["convolutional", "style"]
MAD_TO_SIGMA = 1.4826
"""Standard deviations in one median absolute deviation of a Gaussian."""


class Adversarial(Reconstructs, Encodes):
    """A generator against a critic, then f-AnoGAN's encoder (Schlegl+19, izi_f) against the finished pair.

    Missing pixels are 0 in real and in generated images, by each object's own mask, so that the critic cannot learn the
    mask. Latents are Gaussian, and with ``spherical`` scaled to unit mean square. Samples carry noise at every noisy
    layer of the generator; whatever must be deterministic (scores, latents, reconstructions) uses none, so that G(z) is
    the object itself on a quiet sky.

    Encoder loss: mean |x - G(E(x))|^2 + kappa mean |f(x) - f(G(E(x)))|^2.

    Scores. G = mean |x - G(z*)| over observed pixels; C = mean |f(x) - f(G(z*))| with f the critic's last convolutional
    features, not its output; "anomaly" = mix * G + (1 - mix) * C. As in the papers G and C enter as they are, in
    different units, so ``mix`` is a weight and not a share. It weighs the residual: Storey-Fisher+21's l = 0.3 is
    mix = 0.7 (``inversion.mix_from_feature_weight``). z* = E(x), then ``refine`` steps down the anomaly score itself
    (0 for speed; 10 in Storey-Fisher+21, 500 in Schlegl+17).
    """

    scores: ClassVar[Mapping[str, str]] = {
        "anomaly": "mix * residual + (1 - mix) * feature, at the inverted latents",
        "residual": "mean |x - G(z*)| over observed pixels; finds noise and artefacts",
        "feature": "mean |f(x) - f(G(z*))| of the critic's last features; finds unusual objects",
    }
    logits: ClassVar[bool] = False
    """Whether the critic's value is a logit, whose zero means something."""

    generator: ImageGenerator

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        latent: int,
        width: int,
        generator: GeneratorKind,
        spherical: bool,
        mix: float,
        refine: int,
        refine_rate: float,
        kappa: float,
        encoder_learning_rate: float,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if latent < 2 or width < 1 or refine < 0:
            raise SpecError(
                f"a {type(self).__name__} needs latent of at least 2, width of at least 1 and refine of at least 0; "
                f"got latent={latent}, width={width}, refine={refine}"
            )
        if generator not in GENERATORS:
            raise SpecError(f"generator is {generator!r}; expected one of {', '.join(GENERATORS)}")
        self.latent = latent
        self.spherical = spherical
        self.mix = check_mix(mix)
        self.refine = refine
        self.refine_rate = refine_rate
        self.kappa = kappa
        self.encoder_learning_rate = encoder_learning_rate
        self.critic = Critic(channels, size, width, bias=self.logits)
        build: type[ImageGenerator] = DenseGenerator if size < SMALLEST_IMAGE else ConvolutionalGenerator
        if generator == "style":
            build = StyleGenerator
        self.generator = build(channels, size, width, latent)
        self.encoder = Encoder(channels, size, width, latent)

    @abstractmethod
    def critic_loss(self, real: Tensor, fake: Tensor, observed: Tensor) -> Tensor:
        """The critic's scalar for real and fake images (B, C, H, W), both 0 where not ``observed``."""

    @abstractmethod
    def generator_loss(self, values: Tensor) -> Tensor:
        """The generator's scalar for the critic's values (B,) of fakes."""

    @abstractmethod
    def _slopes(self, real: Tensor, fake: Tensor, observed: Tensor) -> dict[str, float]:
        """Norms of gradients worth a learning curve."""

    @property
    def _encoder_player(self) -> Player:
        # One step a batch, where a round of the first phase takes several batches for one generator step.
        return Player("encoder", ("encoder",), phase=1, learning_rate=self.encoder_learning_rate, effort=0.25)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Start the generator from the batch's sky, band by band: the median, and the robust scatter about it."""
        self.check(batch)
        bands = torch.where(batch.observed, batch.pixels, torch.nan).transpose(0, 1).flatten(1)
        centre = bands.nanmedian(1).values
        scatter = MAD_TO_SIGMA * (bands - centre[:, None]).abs().nanmedian(1).values
        if bool(scatter.isfinite().all()):
            self.generator.start_from(centre, scatter)

    def domain(self, latents: Tensor) -> Tensor:
        """Latents (B, latent) as the generator is to see them."""
        return on_sphere(latents) if self.spherical else latents

    def _redrawn(self, latents: Tensor) -> Tensor:
        """G(z) without noise, with gradients to the latents alone."""
        return frozen(self.generator, self.domain(latents))

    def _draw(self, n: int, like: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Latents in their domain and noise of n images."""
        device = like.device if generator is None else generator.device
        size = self.latent + self.generator.noise_size
        drawn = torch.randn(n, size, dtype=like.dtype, device=device, generator=generator).to(like.device)
        return self.domain(drawn[:, : self.latent]), drawn[:, self.latent :]

    def _fakes(self, n: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.generator(*self._draw(n, like, generator))

    def loss(self, batch: Batch, player: str) -> Tensor:
        """The players' losses; each touches the gradients of its own player's parameters alone."""
        self.check(batch)
        critic, generator, encoder = (p.name for p in self.players)
        real = observed_pixels(batch)
        if player == critic:
            with torch.no_grad():
                fake = self._fakes(len(batch), real) * batch.observed
            return self.critic_loss(real, fake, batch.observed)
        if player == generator:
            return self.generator_loss(frozen(self.critic, self._fakes(len(batch), real) * batch.observed))
        if player == encoder:
            return self._encoder_loss(real, batch.observed)
        raise ModelError(
            f"{type(self).__name__} has no player {player!r}; its players are {critic}, {generator}, {encoder}"
        )

    def _encoder_loss(self, real: Tensor, observed: Tensor) -> Tensor:
        redrawn = self._redrawn(self.encoder(real)) * observed
        with torch.no_grad():
            real_features = self.critic.features(real)
        features = frozen(self.critic.features, redrawn) - real_features
        pixel_loss = mean_over_observed((real - redrawn).square(), observed)
        return (pixel_loss + self.kappa * mean_per_object(features.square())).mean()

    def _parts(self, pixels: Tensor, observed: Tensor, features: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """G and C of each object at ``latents``."""
        redrawn = self._redrawn(latents) * observed
        residual = mean_per_object((pixels - redrawn).abs(), observed)
        return residual, mean_per_object((features - frozen(self.critic.features, redrawn)).abs())

    def _mixed(self, residual: Tensor, feature: Tensor) -> Tensor:
        return self.mix * residual + (1 - self.mix) * feature

    @torch.no_grad()
    def _invert(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """z* of each object, its pixels as seen, and their critic features."""
        self.check(batch)
        pixels = observed_pixels(batch)
        features = self.critic.features(pixels)
        latents = self.domain(self.encoder(pixels))
        if self.refine:
            with torch.inference_mode(False):
                fixed = pixels.clone(), batch.observed.clone(), features.clone()
                latents = refine_latents(
                    lambda z: self._mixed(*self._parts(*fixed, z)), latents, self.refine, self.refine_rate
                )
        return self.domain(latents), pixels, features

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Anomaly, residual and feature scores, (B,) each; 0 residual where no pixel was observed."""
        latents, pixels, features = self._invert(batch)
        residual, feature = self._parts(pixels, batch.observed, features, latents)
        return {"anomaly": self._mixed(residual, feature), "residual": residual, "feature": feature}

    def encode(self, batch: Batch) -> Tensor:
        """(B, latent) inverted latents z*; of unit mean square if ``spherical``."""
        return self._invert(batch)[0]

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) the generator's image G(z*), free of noise and with missing pixels filled in."""
        return self.generator(self._invert(batch)[0])

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) stretched pixels of n Gaussian latents, with noise."""
        return self._fakes(n, next(self.generator.parameters()), generator)

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """The players' gap and gradients, and how samples compare with at most 128 of the batch, at fixed draws.

        See ``gan_diagnostics.fidelity`` for the latter; a batch too small for it gets the former alone.
        """
        self.check(batch)
        batch = batch[:MOST_IMAGES]
        real = observed_pixels(batch)
        with torch.no_grad():
            latents, noise = self._draw(len(batch), real, torch.Generator().manual_seed(0))
            fake = self.generator(latents, noise) * batch.observed
            values, fake_values = self.critic(real), self.critic(fake)
            found = {"critic_gap": float(values.mean() - fake_values.mean())}
            if self.logits:
                right = torch.cat([values > 0, fake_values < 0])
                found["discriminator_accuracy"] = float(right.float().mean())
        found |= self._slopes(real, fake, batch.observed)
        if len(batch) >= FEWEST_IMAGES:
            with torch.no_grad():
                found |= fidelity(real, fake, self.generator(latents) * batch.observed)
        return found
