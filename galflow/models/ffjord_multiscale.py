"""FFJORD for images, from fine to coarse, with convolutional dynamics.

The paper's multi-scale FFJORD estimates traces; here each dynamics has one hidden layer, so that they are exact.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from galflow.errors import SpecError
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.continuous import Continuous, Solvers
from galflow.layers.flows.dynamics import ConvolutionalDynamics
from galflow.layers.flows.multiscale import MultiScale, Scale, Squeeze, scales
from galflow.layers.flows.ode import Solver
from galflow.layers.flows.transform import Chain, Transform
from galflow.models.shared.continuous import ContinuousFlow


class FFJORDMultiscale(ContinuousFlow):
    """ODEs on images that are squeezed and halved from scale to scale (Grathwohl+18, section 4.2; Dinh+17).

    Each scale solves ``blocks`` ODEs one after another, with convolutions around one hidden layer. Their trace is exact
    and costs a convolution, for any pattern of missing pixels, so ``log_prob`` is a density, not an estimate of one.
    Valid input: finite stretched pixels. Missing pixels: f and its trace are restricted to the observed ones.
    """

    source: ClassVar[str] = "Grathwohl+18"
    learning_rate = 2e-3

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: Annotated[int, "hidden feature maps of the dynamics"] = 64,
        blocks: Annotated[int, "ODEs on each scale"] = 1,
        levels: Annotated[int | None, "scales; None: as many as leave 4 pixels on a side"] = None,
        kinetic: Annotated[float, "weight of the integral of |f|^2: straight paths"] = 0.01,
        jacobian: Annotated[float, "weight of the integral of |df/dz|^2: even flow"] = 0.01,
        tolerance: Annotated[float, "relative and absolute tolerance of densities and samples"] = 1e-5,
        training_tolerance: Annotated[float, "the same while training"] = 1e-3,
        trace: Annotated[str, "exact or hutchinson, in training"] = "exact",
    ) -> None:
        super().__init__(channels=channels, size=size)
        if blocks < 1:
            raise SpecError(f"blocks is {blocks}; each scale needs at least one ODE")
        self.regularise(kinetic, jacobian)
        solvers = Solvers(
            Solver(tolerance), Solver(training_tolerance, together=True), trace, bool(kinetic or jacobian)
        )

        def one(scale: Scale) -> Chain:
            layers: list[Transform] = [Squeeze()] if scale.squeezed else []
            layers.append(ActNorm(scale.channels, 1, 1))
            layers += [Continuous(ConvolutionalDynamics(scale.channels, width), solvers) for _ in range(blocks)]
            return Chain(layers)

        found = scales(channels, size, levels=levels)
        self.transform = MultiScale(found, [one(scale) for scale in found])

    @classmethod
    def tiny(cls) -> Self:
        """One ODE on the one scale of 8 x 8 pixels in one band."""
        return cls(channels=1, size=8, width=16, kinetic=0.05, jacobian=0.05, training_tolerance=1e-2)
