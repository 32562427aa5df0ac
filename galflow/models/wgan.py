"""WGAN-GP with an encoder, and the anomaly scores of f-AnoGAN.

It refuses to score with the critic's output, which can rank outliers backwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from galflow.errors import ModelError, SpecError
from galflow.models.base import Batch, Encodes, Player, Reconstructs
from galflow.models.gan_networks import Critic, Encoder, Generator, frozen, on_sphere
from galflow.models.inversion import check_mix, mean_per_object, refine_latents


class WGAN(Reconstructs, Encodes):
    """Wasserstein GAN with gradient penalty (Arjovsky+17, Gulrajani+17) and f-AnoGAN's encoder (Schlegl+19, izi_f).

    Valid input: stretched pixels of order one. Missing pixels are 0 in real and in generated images, by each object's
    own mask, so that the critic cannot learn the mask; its slope is measured over observed pixels.

    Losses. critic: E[C(fake)] - E[C(real)] + 10 E[(||grad C|| - 1)^2] at random points between the two; generator:
    -E[C(fake)]; encoder (second phase): mean |x - G(E(x))|^2 + kappa mean |f(x) - f(G(E(x)))|^2.

    Scores. G = mean |x - G(z*)| over observed pixels; C = mean |f(x) - f(G(z*))| with f the critic's last convolutional
    features, not its output; "anomaly" = mix * G + (1 - mix) * C. As in the papers G and C enter as they are, in
    different units, so ``mix`` is a weight and not a share. It weighs the residual: Storey-Fisher+21's l = 0.3 is
    mix = 0.7 (``inversion.mix_from_feature_weight``). z* = E(x), then ``refine`` steps down the anomaly score itself
    (0 for speed; 10 in Storey-Fisher+21, 500 in Schlegl+17).

    ``penalty_share`` < 1 estimates the penalty on that share of each batch, unbiased and faster.
    """

    source: ClassVar[str] = "Arjovsky+17, Gulrajani+17, Schlegl+19"
    scores: ClassVar[Mapping[str, str]] = {
        "anomaly": "mix * residual + (1 - mix) * feature, at the inverted latents",
        "residual": "mean |x - G(z*)| over observed pixels; finds noise and artefacts",
        "feature": "mean |f(x) - f(G(z*))| of the critic's last features; finds unusual objects",
    }

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        latent: int = 64,
        width: int = 32,
        gradient_penalty: float = 10.0,
        penalty_share: float = 1.0,
        mix: float = 0.5,
        refine: int = 0,
        refine_rate: float = 0.02,
        kappa: float = 1.0,
        learning_rate: float = 1e-4,
        encoder_learning_rate: float = 1e-3,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if size < 5 or latent < 2 or width < 1 or refine < 0:
            raise SpecError(
                f"a WGAN needs size of at least 5, latent of at least 2, width of at least 1 and refine of at least 0; "
                f"got size={size}, latent={latent}, width={width}, refine={refine}"
            )
        if not 0.0 < penalty_share <= 1.0 or gradient_penalty < 0:
            raise SpecError(
                f"penalty_share must lie in 0..1 (0 excluded) and gradient_penalty must not be negative; "
                f"got {penalty_share} and {gradient_penalty}"
            )
        self.latent = latent
        self.gradient_penalty = gradient_penalty
        self.penalty_share = penalty_share
        self.mix = check_mix(mix)
        self.refine = refine
        self.refine_rate = refine_rate
        self.kappa = kappa
        self.learning_rate = learning_rate
        self.encoder_learning_rate = encoder_learning_rate
        self.critic = Critic(channels, size, width)
        self.generator = Generator(channels, size, width, latent)
        self.encoder = Encoder(channels, size, width, latent)

    @property
    def players(self) -> tuple[Player, ...]:
        """Five critic steps to one of the generator, then the encoder alone."""
        return (
            Player("critic", ("critic",), steps=5, learning_rate=self.learning_rate, betas=(0.5, 0.9)),
            Player("generator", ("generator",), learning_rate=self.learning_rate, betas=(0.5, 0.9)),
            # One step a batch, where a round of the first phase takes six batches for one generator step.
            Player("encoder", ("encoder",), phase=1, learning_rate=self.encoder_learning_rate, effort=0.25),
        )

    @classmethod
    def tiny(cls) -> Self:
        """For 8 x 8 pixels in one band."""
        return cls(channels=1, size=8, latent=8, width=8, learning_rate=2e-3)

    @staticmethod
    def _seen(batch: Batch) -> Tensor:
        """Pixels with the missing ones at 0, whatever they hold."""
        return torch.where(batch.observed, batch.pixels, torch.zeros_like(batch.pixels))

    def _fakes(self, n: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        device = like.device if generator is None else generator.device
        latents = torch.randn(n, self.latent, dtype=like.dtype, device=device, generator=generator)
        return self.generator(latents.to(like.device))

    def loss(self, batch: Batch, player: str) -> Tensor:
        """The players' losses; each touches the gradients of its own player's parameters alone."""
        self.check(batch)
        real = self._seen(batch)
        if player == "critic":
            with torch.no_grad():
                fake = self._fakes(len(batch), real) * batch.observed
            values = self.critic(torch.cat([fake, real]))
            gap = values[: len(real)].mean() - values[len(real) :].mean()
            return gap + self.gradient_penalty * self._penalty(real, fake, batch.observed)
        if player == "generator":
            return -frozen(self.critic, self._fakes(len(batch), real) * batch.observed).mean()
        if player == "encoder":
            redrawn = frozen(self.generator, self.encoder(real)) * batch.observed
            with torch.no_grad():
                real_features = self.critic.features(real)
            features = frozen(self.critic.features, redrawn) - real_features
            pixel_loss = mean_per_object((real - redrawn).square(), batch.observed)
            return (pixel_loss + self.kappa * mean_per_object(features.square())).mean()
        names = ", ".join(p.name for p in self.players)
        raise ModelError(f"WGAN has no player {player!r}; its players are {names}")

    def _penalty(self, real: Tensor, fake: Tensor, observed: Tensor) -> Tensor:
        """E[(||grad C|| - 1)^2] on the segment between paired real and fake images (Gulrajani+17, algorithm 1)."""
        rows = max(1, round(self.penalty_share * len(real)))
        mixing = torch.rand(rows, 1, 1, 1, dtype=real.dtype, device=real.device)
        between = fake[:rows] + mixing * (real[:rows] - fake[:rows])
        norm = self._slope(between, observed[:rows], keep_graph=torch.is_grad_enabled())
        return (norm - 1).square().mean()

    def _slope(self, pixels: Tensor, observed: Tensor, *, keep_graph: bool) -> Tensor:
        """(B,) norms of the critic's gradient over observed pixels, even where the caller switched gradients off."""
        with torch.inference_mode(False), torch.enable_grad():
            points = pixels.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.critic(points).sum(), points, create_graph=keep_graph)
            # The small number keeps the root's derivative finite where the critic is flat.
            return ((gradient * observed).flatten(1).square().sum(1) + 1e-12).sqrt()

    def _parts(self, pixels: Tensor, observed: Tensor, features: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """G and C of each object at ``latents``."""
        redrawn = frozen(self.generator, latents) * observed
        residual = mean_per_object((pixels - redrawn).abs(), observed)
        return residual, mean_per_object((features - frozen(self.critic.features, redrawn)).abs())

    def _mixed(self, residual: Tensor, feature: Tensor) -> Tensor:
        return self.mix * residual + (1 - self.mix) * feature

    @torch.no_grad()
    def _invert(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """z* of each object, its pixels as seen, and their critic features."""
        self.check(batch)
        pixels = self._seen(batch)
        features = self.critic.features(pixels)
        latents = self.encoder(pixels)
        if self.refine:
            with torch.inference_mode(False):
                fixed = pixels.clone(), batch.observed.clone(), features.clone()
                latents = refine_latents(
                    lambda z: self._mixed(*self._parts(*fixed, z)), on_sphere(latents), self.refine, self.refine_rate
                )
        return on_sphere(latents), pixels, features

    @torch.no_grad()
    def score(self, batch: Batch) -> dict[str, Tensor]:
        """Anomaly, residual and feature scores, (B,) each; 0 residual where no pixel was observed."""
        latents, pixels, features = self._invert(batch)
        residual, feature = self._parts(pixels, batch.observed, features, latents)
        return {"anomaly": self._mixed(residual, feature), "residual": residual, "feature": feature}

    def encode(self, batch: Batch) -> Tensor:
        """(B, latent) inverted latents z*, of unit mean square."""
        return self._invert(batch)[0]

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """(B, C, H, W) the generator's image G(z*), missing pixels filled in."""
        return self.generator(self._invert(batch)[0])

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) stretched pixels of n Gaussian latents."""
        return self._fakes(n, self.generator.start.weight, generator)

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """Critic gap E[C(real)] - E[C(fake)] and mean gradient norm, at fixed random numbers.

        A gap that grows without bound, or norms far from 1, say that the players have lost their equilibrium.
        """
        self.check(batch)
        real = self._seen(batch)
        fixed = torch.Generator().manual_seed(0)
        with torch.no_grad():
            fake = self._fakes(len(batch), real, fixed) * batch.observed
            gap = self.critic(real).mean() - self.critic(fake).mean()
            mixing = torch.rand(len(batch), 1, 1, 1, generator=fixed).to(real)
        slope = self._slope(fake + mixing * (real - fake), batch.observed, keep_graph=False)
        return {"critic_gap": float(gap), "gradient_norm": float(slope.mean())}
