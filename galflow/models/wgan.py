"""WGAN-GP with an encoder: the Wasserstein losses. Networks and scores are in adversarial.py."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor

from galflow.errors import SpecError
from galflow.models.base import Player
from galflow.models.shared.adversarial import Adversarial, GeneratorKind


class WGAN(Adversarial):
    """Wasserstein GAN with gradient penalty (Arjovsky+17, Gulrajani+17) and f-AnoGAN's encoder (Schlegl+19, izi_f).

    Losses. critic: E[C(fake)] - E[C(real)] + 10 E[(||grad C|| - 1)^2] at random points between the two, the slope
    measured over observed pixels; generator: -E[C(fake)]; encoder (second phase): see ``Adversarial``, as for the
    scores. ``penalty_share`` < 1 estimates the penalty on that share of each batch, unbiased and faster.

    Valid input: stretched pixels of order one.
    """

    source: ClassVar[str] = "Arjovsky+17, Gulrajani+17, Schlegl+19"
    version: ClassVar[str] = "3"

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        latent: Annotated[int, "numbers that describe an object"] = 64,
        width: Annotated[int, "feature maps at full resolution, up to eightfold below; networks scale with it"] = 32,
        generator: Annotated[
            GeneratorKind, "plain convolutions, or styles and noise in every layer (Karras+19; slower)"
        ] = "convolutional",
        spherical: Annotated[bool, "only the direction of a latent vector counts; not for a handful of latents"] = True,
        critic_steps: Annotated[int, "optimiser steps of the critic to one of the generator"] = 1,
        gradient_penalty: Annotated[float, "weight of the penalty on slopes other than 1"] = 10.0,
        penalty_share: Annotated[float, "share of each batch on which the penalty is estimated"] = 1.0,
        average: Annotated[float, "memory of the generator's averaged weights; 0: the last ones"] = 0.999,
        band_contrast: Annotated[float, "how much the critic sees of the bands' differences beside the bands"] = 3.0,
        mix: Annotated[float, "weight of the residual in the anomaly score, 0 to 1"] = 0.5,
        refine: Annotated[int, "steps of inversion after the encoder's guess"] = 0,
        refine_rate: Annotated[float, "Adam's step size in the inversion"] = 0.02,
        kappa: Annotated[float, "weight of the feature term in the encoder's loss"] = 1.0,
        learning_rate: Annotated[float, "Adam's step size of critic and generator"] = 1e-4,
        encoder_learning_rate: Annotated[float, "Adam's step size of the encoder"] = 1e-3,
    ) -> None:
        super().__init__(
            channels=channels,
            size=size,
            latent=latent,
            width=width,
            generator=generator,
            spherical=spherical,
            average=average,
            band_contrast=band_contrast,
            mix=mix,
            refine=refine,
            refine_rate=refine_rate,
            kappa=kappa,
            encoder_learning_rate=encoder_learning_rate,
        )
        if critic_steps < 1:
            raise SpecError(f"critic_steps is {critic_steps}; a round needs at least one, such as 1 or 5")
        if not 0.0 < penalty_share <= 1.0 or gradient_penalty < 0:
            raise SpecError(
                f"penalty_share must lie in 0..1 (0 excluded) and gradient_penalty must not be negative; "
                f"got {penalty_share} and {gradient_penalty}"
            )
        self.critic_steps = critic_steps
        self.gradient_penalty = gradient_penalty
        self.penalty_share = penalty_share
        self.learning_rate = learning_rate

    @property
    def players(self) -> tuple[Player, ...]:
        """``critic_steps`` of the critic to one of the generator, then the encoder alone."""
        return (
            Player(
                "critic",
                ("critic",),
                steps=self.critic_steps,
                learning_rate=self.learning_rate,
                betas=(0.5, 0.9),
                compiles=False,  # its penalty is a gradient, which it follows downhill
            ),
            Player("generator", ("generator",), learning_rate=self.learning_rate, betas=(0.5, 0.9)),
            self._encoder_player,
        )

    @classmethod
    def tiny(cls) -> Self:
        """For 8 x 8 pixels in one band."""
        return cls(channels=1, size=8, latent=8, width=8, learning_rate=2e-3)

    def critic_loss(self, real: Tensor, fake: Tensor, observed: Tensor) -> Tensor:
        """E[C(fake)] - E[C(real)] and the gradient penalty."""
        values = self.critic(torch.cat([fake, real]))
        gap = values[: len(real)].mean() - values[len(real) :].mean()
        return gap + self.gradient_penalty * self._penalty(real, fake, observed)

    def generator_loss(self, values: Tensor) -> Tensor:
        """-E[C(fake)]."""
        return -values.mean()

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

    def _slopes(self, real: Tensor, fake: Tensor, observed: Tensor) -> dict[str, float]:
        """Mean norm of the critic's gradient between real and fake images; far from 1, the critic has not settled."""
        mixing = torch.rand(len(real), 1, 1, 1, generator=torch.Generator().manual_seed(0)).to(real)
        slope = self._slope(fake + mixing * (real - fake), observed, keep_graph=False)
        return {"gradient_norm": float(slope.mean())}
