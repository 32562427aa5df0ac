"""The planar continuous normalizing flow of Chen+18: shallow, time-gated dynamics with a trace in closed form.

It is the continuous limit of planar flows (Rezende+15): a step adds every unit's plane wave at once.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.continuous import Continuous, Solvers
from galflow.layers.flows.dynamics import PlanarDynamics
from galflow.layers.flows.ode import Solver
from galflow.layers.flows.transform import Chain, Flatten
from galflow.models.shared.continuous import ContinuousFlow


class PlanarCNF(ContinuousFlow):
    """dz/dt = sum over units n of s_n(t) u_n tanh(w_n . z + b_n) (Chen+18, section 4).

    Its Jacobian has at most the rank of the number of units, and d log p/dt = -sum of s_n tanh' u_n . w_n. The gates
    s_n are in 0..2. As published it has no regularisers.
    Valid input: finite stretched pixels. Missing pixels: f and its trace are restricted to the observed ones.
    """

    source: ClassVar[str] = "Chen+18"
    free_form_jacobian: ClassVar[bool] = False
    learning_rate = 3e-3

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        units: Annotated[int, "hidden units: the largest rank of the Jacobian"] = 64,
        tolerance: Annotated[float, "relative and absolute tolerance of densities and samples"] = 1e-5,
        training_tolerance: Annotated[float, "the same while training"] = 1e-3,
    ) -> None:
        super().__init__(channels=channels, size=size)
        solvers = Solvers(Solver(tolerance), Solver(training_tolerance, together=True), regularised=False)
        dynamics = Continuous(PlanarDynamics(self.dimensions, units), solvers)
        self.transform = Chain([Flatten(channels, size), ActNorm(self.dimensions), dynamics])

    @classmethod
    def tiny(cls) -> Self:
        """Sixteen units for 8 x 8 pixels in one band."""
        return cls(channels=1, size=8, units=16)
