"""A conditional density of latents: which descriptions of a galaxy occur at a given magnitude and size.

A neural spline flow (Durkan+19): zuko's masked autoregressive flow over the latents, with the spline of the coupling
layers. Random numbers come from a given generator, and a value that the catalogue lacks is a fact that the flow is
told, not a number.
This file knows no image and is no model on its own.
"""

from __future__ import annotations

import torch
import zuko
from torch import Tensor
from torch.distributions import Transform, constraints

from galflow.errors import SpecError
from galflow.layers.catalogue_values import CatalogueValues
from galflow.layers.flows.bijectors import Spline
from galflow.layers.images.blocks import standard_normal

_SPLINE = Spline()


class SplineTransform(Transform):
    """The spline of ``bijectors`` on numbers (B, D), given parameters (B, D, P), as zuko's flows call it."""

    domain = constraints.real
    codomain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, numbers: Tensor, spline: Spline = _SPLINE) -> None:
        super().__init__()
        self.theta = numbers.movedim(-1, 1) if numbers.ndim > 1 else numbers
        self.spline = spline

    def _call(self, x: Tensor) -> Tensor:
        return self.call_and_ladj(x)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.spline.inverse(y, self.theta)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, D) log-slopes at ``x``."""
        return self.call_and_ladj(x)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """VelocityAndTrace numbers and their log-slopes, each (B, D)."""
        return self.spline.forward(x, self.theta)


class LatentFlow(CatalogueValues):
    """log p(latents | conditions), and draws from it.

    ``conditions`` (B, K) are raw catalogue values, NaN where unknown. The flow sees their ``context`` (B, 2 K).
    """

    def __init__(self, *, latent: int, conditions: int, transforms: int = 3, width: int = 64) -> None:
        if latent < 2 or conditions < 0 or transforms < 1 or width < 1:
            raise SpecError(
                f"a latent flow of {latent} latent(s), {conditions} condition(s), {transforms} transform(s) and width "
                f"{width} cannot be built; it needs two latents, one transform and a width of 1 at least"
            )
        super().__init__(conditions)
        self.latent = latent
        self.flow = zuko.flows.MAF(
            latent,
            2 * conditions,
            transforms=transforms,
            univariate=SplineTransform,
            shapes=[(_SPLINE.parameters,)],
            hidden_features=(width, width),
        )

    def _given(self, context: Tensor) -> zuko.distributions.NormalizingFlow:
        return self.flow(context if self.conditions else None)

    def log_prob(self, latents: Tensor, context: Tensor) -> Tensor:
        """(B,) log-density in nats of ``latents`` (B, D)."""
        return self._given(context).log_prob(latents)

    def sample(self, context: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, D) one draw for each row of ``context``."""
        return self.from_normal(standard_normal((len(context), self.latent), generator, self.scale), context)

    def from_normal(self, normal: Tensor, context: Tensor) -> Tensor:
        """(B, D) the draw that standard normal numbers (B, D) stand for, one for each row of ``context``."""
        return self._given(context).transform.inv(normal)
