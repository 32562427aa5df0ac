"""FFJORD: a continuous flow with a free-form Jacobian (Grathwohl+18), regularised as RNODE (Finlay+20).

Pixels are one flat vector here: for images of many pixels see ffjord_latent and ffjord_multiscale.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.continuous import Continuous, Solvers
from galflow.layers.flows.dynamics import DenseDynamics
from galflow.layers.flows.ode import Solver
from galflow.layers.flows.transform import Chain, Flatten
from galflow.models.shared.continuous import ContinuousFlow


class FFJORD(ContinuousFlow):
    """Free-form continuous dynamics over all pixels of an image (Grathwohl+18).

    d log p/dt = -tr(df/dz) with the exact trace, in training and in scores: with two hidden layers it costs no more
    than f itself (galflow.layers.flows.dynamics), in any number of dimensions. ``trace="hutchinson"`` trains on the
    paper's estimate instead, one random probe a solve; scores stay exact.
    Valid input: finite stretched pixels. Missing pixels: f and its trace are restricted to the observed ones.
    """

    source: ClassVar[str] = "Grathwohl+18"
    learning_rate = 5e-3

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: Annotated[int, "units in each of the two hidden layers"] = 64,
        waves: Annotated[int, "half waves of time in the gates: more are more flexible, and stiffer to solve"] = 1,
        kinetic: Annotated[float, "weight of the integral of |f|^2: straight paths"] = 0.01,
        jacobian: Annotated[float, "weight of the integral of |df/dz|^2: even flow"] = 0.01,
        tolerance: Annotated[float, "relative and absolute tolerance of densities and samples"] = 1e-5,
        training_tolerance: Annotated[float, "the same while training"] = 1e-3,
        trace: Annotated[str, "exact or hutchinson, in training"] = "exact",
    ) -> None:
        super().__init__(channels=channels, size=size)
        self.regularise(kinetic, jacobian)
        solvers = Solvers(
            Solver(tolerance), Solver(training_tolerance, together=True), trace, bool(kinetic or jacobian)
        )
        dynamics = DenseDynamics(self.dimensions, width, waves)
        self.transform = Chain([Flatten(channels, size), ActNorm(self.dimensions), Continuous(dynamics, solvers)])

    @classmethod
    def tiny(cls) -> Self:
        """Narrow dynamics for 8 x 8 pixels in one band."""
        return cls(channels=1, size=8, width=32, kinetic=0.05, jacobian=0.05)
