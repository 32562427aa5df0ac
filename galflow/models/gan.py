"""The adversarial network of Goodfellow+14: the cross-entropy losses. Networks and scores are in adversarial.py."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import softplus

from galflow.errors import SpecError
from galflow.models.base import Player
from galflow.models.shared.adversarial import Adversarial, GeneratorKind


class GAN(Adversarial):
    """Generative adversarial network (Goodfellow+14) with f-AnoGAN's encoder (Schlegl+19, izi_f).

    D(x) = sigmoid(critic(x)) is the probability that x is real. Losses. discriminator: the cross-entropy
    -E[log D(real)] - E[log(1 - D(fake))]; generator: the non-saturating -E[log D(fake)], whose gradient does not vanish
    where the discriminator is sure, as that of E[log(1 - D(fake))] does; encoder (second phase): see ``Adversarial``,
    as for the scores. Steps and rates are those of Radford+15.

    ``r1`` > 0 adds r1 / 2 E[||grad C(real)||^2] over observed pixels to the discriminator's loss (Mescheder+18), which
    takes away its gradient where the fakes are already as the data. What weight is right depends on how far apart
    images lie in stretched units.

    Without it nothing holds the discriminator back: where samples and data share no support it becomes sure of both
    (its accuracy is among the diagnostics), and a generator may collapse on a few images. WGAN-GP is the steadier
    choice.

    Valid input: stretched pixels of order one.
    """

    source: ClassVar[str] = "Goodfellow+14, Schlegl+19"
    version: ClassVar[str] = "2"
    logits: ClassVar[bool] = True

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
        average: Annotated[float, "memory of the generator's averaged weights; 0: the last ones"] = 0.999,
        band_contrast: Annotated[float, "how much the critic sees of the bands' differences beside the bands"] = 3.0,
        mix: Annotated[float, "weight of the residual in the anomaly score, 0 to 1"] = 0.5,
        refine: Annotated[int, "steps of inversion after the encoder's guess"] = 0,
        refine_rate: Annotated[float, "Adam's step size in the inversion"] = 0.02,
        kappa: Annotated[float, "weight of the feature term in the encoder's loss"] = 1.0,
        r1: Annotated[float, "weight of the penalty on the discriminator's slope at real images; 0: none"] = 0.0,
        learning_rate: Annotated[float, "Adam's step size of critic and generator"] = 2e-4,
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
        if r1 < 0:
            raise SpecError(
                f"r1 is {r1}; the weight of a penalty must not be negative: give 0 for none, or such as 0.3"
            )
        self.r1 = r1
        self.learning_rate = learning_rate

    @property
    def players(self) -> tuple[Player, ...]:
        """Discriminator and generator in turns, then the encoder alone."""
        rate, betas = self.learning_rate, (0.5, 0.999)
        return (
            Player("discriminator", ("critic",), learning_rate=rate, betas=betas, compiles=not self.r1),
            Player("generator", ("generator",), learning_rate=rate, betas=betas),
            self._encoder_player,
        )

    @classmethod
    def tiny(cls) -> Self:
        """For 8 x 8 pixels in one band."""
        return cls(channels=1, size=8, latent=8, width=8, learning_rate=1e-3)

    def critic_loss(self, real: Tensor, fake: Tensor, observed: Tensor) -> Tensor:
        """-E[log D(real)] - E[log(1 - D(fake))]; masked pixels are 0 in both, so ``observed`` adds nothing."""
        values = self.critic(torch.cat([fake, real]))
        loss = softplus(values[: len(real)]).mean() + softplus(-values[len(real) :]).mean()
        return loss + 0.5 * self.r1 * self._steepness(real, observed) if self.r1 else loss

    def _steepness(self, real: Tensor, observed: Tensor) -> Tensor:
        """E[||grad C||^2] at real images over observed pixels, even where the caller switched gradients off."""
        keep = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            points = real.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.critic(points).sum(), points, create_graph=keep)
            return (gradient * observed).flatten(1).square().sum(1).mean()

    def generator_loss(self, values: Tensor) -> Tensor:
        """-E[log D(fake)]."""
        return softplus(-values).mean()

    def _slopes(self, real: Tensor, fake: Tensor, observed: Tensor) -> dict[str, float]:
        """Mean norm of the gradient that a fake image gets from the generator's loss over observed pixels."""
        with torch.inference_mode(False), torch.enable_grad():
            points = fake.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(softplus(-self.critic(points)).sum(), points)
        return {"generator_gradient": float((gradient * observed).flatten(1).norm(dim=1).mean())}
