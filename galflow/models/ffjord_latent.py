"""FFJORD in a small latent space of images, so that scoring an image costs what a small ODE costs.

The latents are the image's own coarse means: no encoder is trained, nothing is approximated, and the density is that
of all pixels (galflow.layers.flows.pyramid).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.continuous import Continuous, Solvers
from galflow.layers.flows.dynamics import DenseDynamics
from galflow.layers.flows.ode import Solver
from galflow.layers.flows.pyramid import Pyramid, coarsest
from galflow.layers.flows.transform import Chain, Flatten
from galflow.models.shared.continuous import ContinuousFlow


class FFJORDLatent(ContinuousFlow):
    """FFJORD (Grathwohl+18) on an image's coarsest means, conditional Gaussians for the details around them.

    log p(x) = log p(coarse means) + sum over levels of log p(details | coarser image) + log|det| of the split: exact,
    with the ODE in ``channels * coarse**2`` dimensions or a few more. The means' dynamics are free-form and their trace
    is exact; the details' triangular map is not free-form, hence nor is the whole.
    Valid input: finite stretched pixels. Missing pixels: a mean is that of a block's observed pixels, a detail is there
    only with its pixel, and the density over the observed pixels stays normalised.
    """

    source: ClassVar[str] = "Grathwohl+18"
    free_form_jacobian: ClassVar[bool] = False
    learning_rate = 2e-3

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        coarse: Annotated[int, "least pixels on a side of the means that the ODE models"] = 4,
        width: Annotated[int, "units in each of the dynamics' two hidden layers"] = 128,
        detail_width: Annotated[int, "feature maps of the networks that predict the details"] = 32,
        kinetic: Annotated[float, "weight of the integral of |f|^2: straight paths"] = 0.01,
        jacobian: Annotated[float, "weight of the integral of |df/dz|^2: even flow"] = 0.01,
        tolerance: Annotated[float, "relative and absolute tolerance of densities and samples"] = 1e-5,
        training_tolerance: Annotated[float, "the same while training"] = 1e-3,
    ) -> None:
        super().__init__(channels=channels, size=size)
        self.regularise(kinetic, jacobian)
        training = Solver(training_tolerance, together=True)
        solvers = Solvers(Solver(tolerance), training, regularised=bool(kinetic or jacobian))
        side = coarsest(size, coarse)
        latents = channels * side**2
        dynamics = Continuous(DenseDynamics(latents, width), solvers)
        top = Chain([Flatten(channels, side), ActNorm(latents), dynamics])
        self.transform = Pyramid(channels, size, coarse, detail_width, top)

    @classmethod
    def tiny(cls) -> Self:
        """Sixteen latents of each of two bands of 8 x 8 pixels."""
        return cls(channels=2, size=8, width=32, detail_width=16, kinetic=0.05, jacobian=0.05)
