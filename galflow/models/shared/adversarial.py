"""What all adversarial models share: the networks, the encoder, f-AnoGAN's scores, samples and diagnostics.

A model derived from it is two players' losses. It refuses to score with the critic's output, which can rank outliers
backwards.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.constants import SIGMA_PER_MAD
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
from galflow.layers.images.weight_average import WeightAverage
from galflow.models.base import Player
from galflow.models.shared.gan_diagnostics import FEWEST_IMAGES, MOST_IMAGES, fidelity
from galflow.models.shared.inversion import mean_per_object
from galflow.models.shared.inversion_score import InversionScore
from galflow.models.shared.random_gaps import with_gaps

GENERATORS = ("convolutional", "style")
GeneratorKind = Literal["convolutional", "style"]


class Adversarial(InversionScore):
    """A generator against a critic, then f-AnoGAN's encoder (Schlegl+19, izi_f) against the finished pair.

    Missing pixels are 0 in real and in generated images, by each object's own mask, so that the critic cannot learn the
    mask. Latents are Gaussian, and with ``spherical`` scaled to unit mean square. Samples carry noise at every noisy
    layer of the generator; whatever must be deterministic (scores, latents, reconstructions) uses none, so that G(z) is
    the object itself on a quiet sky.

    The critic sees ``seen(x)``. Draws and everything behind the encoder use an average of the generator's weights.

    Encoder loss: mean |x - G(E(x'))|^2 + kappa mean |f(x) - f(G(E(x')))|^2, where x' is x with a random gap, so that
    the encoder finds an object by what is left of it. Scores: see ``InversionScore``; f are the critic's last
    convolutional features.
    """

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
        average: float,
        band_contrast: float,
        mix: float,
        refine: int,
        refine_rate: float,
        kappa: float,
        encoder_learning_rate: float,
    ) -> None:
        super().__init__(channels=channels, size=size, mix=mix, refine=refine, refine_rate=refine_rate)
        if latent < 2 or width < 1 or refine < 0:
            raise SpecError(
                f"a {type(self).__name__} needs latent of at least 2, width of at least 1 and refine of at least 0; "
                f"got latent={latent}, width={width}, refine={refine}"
            )
        if generator not in GENERATORS:
            raise SpecError(f"generator is {generator!r}; expected one of {', '.join(GENERATORS)}")
        self.latent = latent
        self.spherical = spherical
        self.kappa = kappa
        self.encoder_learning_rate = encoder_learning_rate
        self.band_contrast = band_contrast if channels > 1 else 0.0
        self.critic = Critic(2 * channels if self.band_contrast else channels, size, width, bias=self.logits)
        build: type[ImageGenerator] = DenseGenerator if size < SMALLEST_IMAGE else ConvolutionalGenerator
        if generator == "style":
            build = StyleGenerator
        self.generator = build(channels, size, width, latent)
        self.average = WeightAverage(self.generator, average)
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
        scatter = SIGMA_PER_MAD * (bands - centre[:, None]).abs().nanmedian(1).values
        if bool(scatter.isfinite().all()):
            self.generator.start_from(centre, scatter)
        self.average.start(self.generator)

    def domain(self, latents: Tensor) -> Tensor:
        """Latents (B, latent) as the generator is to see them."""
        return on_sphere(latents) if self.spherical else latents

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, H, W) the averaged generator's images of latents (B, latent), free of noise.

        Gradients reach the latents alone.
        """
        return self.average.through(self.generator, self.domain(latents))

    def seen(self, images: Tensor) -> Tensor:
        """What the critic looks at: ``images`` (B, C, H, W), and with ``band_contrast`` each band less the mean of all.

        (B, 2C, H, W) then. Bands are alike but for a few per cent, in which colour lies.
        """
        if not self.band_contrast:
            return images
        return torch.cat([images, self.band_contrast * (images - images.mean(1, keepdim=True))], 1)

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
            return self.critic_loss(self.seen(real), self.seen(fake), self._seen_pixels(batch.observed))
        if player == generator:
            fake = self._fakes(len(batch), real) * batch.observed
            if self.training and torch.is_grad_enabled():
                self.average.update(self.generator)
            return self.generator_loss(frozen(self.critic, self.seen(fake)))
        if player == encoder:
            return self._encoder_loss(real, batch.observed)
        raise ModelError(
            f"{type(self).__name__} has no player {player!r}; its players are {critic}, {generator}, {encoder}"
        )

    def _seen_pixels(self, observed: Tensor) -> Tensor:
        return torch.cat([observed, observed], 1) if self.band_contrast else observed

    def _encoder_loss(self, real: Tensor, observed: Tensor) -> Tensor:
        redrawn = self.decode(self.encoder(real * with_gaps(observed)))
        whole = torch.where(observed, real, redrawn.detach())
        with torch.no_grad():
            real_features = self.features(whole)
        features = self.features(torch.where(observed, redrawn, whole)) - real_features
        pixel_loss = mean_over_observed((real - redrawn).square(), observed)
        return (pixel_loss + self.kappa * mean_per_object(features.square())).mean()

    def features(self, images: Tensor) -> Tensor:
        """The critic's last convolutional features, not its output; gradients reach the images alone."""
        return frozen(self.critic.features, self.seen(images))

    def first_guess(self, pixels: Tensor) -> Tensor:
        """E(x)."""
        return self.encoder(pixels)

    def finish(self, batches: Iterable[Batch]) -> None:
        """The average becomes the generator; then the scores' usual sizes."""
        self.average.store_in(self.generator)
        super().finish(batches)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) stretched pixels of n Gaussian latents, with noise."""
        like = next(self.generator.parameters())
        return self.average.through(self.generator, *self._draw(n, like, generator))

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
            values, fake_values = self.critic(self.seen(real)), self.critic(self.seen(fake))
            found = {"critic_gap": float(values.mean() - fake_values.mean())}
            if self.logits:
                right = torch.cat([values > 0, fake_values < 0])
                found["discriminator_accuracy"] = float(right.float().mean())
        found |= self._slopes(self.seen(real), self.seen(fake), self._seen_pixels(batch.observed))
        if len(batch) >= FEWEST_IMAGES:
            with torch.no_grad():
                drawn = self.average.through(self.generator, latents, noise) * batch.observed
                found |= fidelity(real, drawn, self.decode(latents) * batch.observed)
        return found
