"""Solving the ordinary differential equations of continuous flows: which solver, how tightly, at what cost.

torchode solves each object with steps of its own, so that a density does not depend on which objects share its batch,
and each object's number of function evaluations (NFE) is known. Gradients pass through the solver's steps; no adjoint
equation is solved backwards, whose errors would add to the gradient. This file knows no flow and no network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from galflow.errors import ModelError, SpecError

Field = Callable[[Tensor, Tensor], Tensor]
"""Times (B,), or one time (1,) for all, and states (B, F) -> the states' derivatives (B, F)."""

_STAGES = 6
"""Evaluations of a step of Tsitouras's method of order 5: the seventh is the first of the next step."""
_START = 2
"""Evaluations before the first step, which choose its length."""


class Solved(NamedTuple):
    """The end of a solve."""

    state: Tensor
    """(B, F)."""
    nfe: Tensor
    """(B,) float: function evaluations that each object needed. The network ran as often as the largest of them."""


@dataclass(frozen=True)
class Solver:
    """Tsitouras's Runge-Kutta pair of order 5(4), with an adaptive step for each object, or one for all.

    A step is taken if the error estimate is below ``tolerance * (1 + |value|)``: in the root mean square over the
    coordinates, and for the log-determinant alone. ``together`` takes the means over the whole batch and gives it one
    step: what Grathwohl+18 do. That is cheaper, as nobody waits for the slowest object, but then an object's value
    depends on its batch: for training only.
    """

    tolerance: float
    together: bool = False
    max_steps: int = 2000

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise SpecError(
                f"the tolerance of an ODE solver is {self.tolerance}; it must lie between 0 and 1, such as 1e-5"
            )

    def solve(self, field: Field, state: Tensor, start: float, end: float, coordinates: int) -> Solved:
        """The state (B, F) at time ``end`` of dy/dt = field(t, y (B, F)), given it at ``start``; t is (B,) or (1,).

        The first ``coordinates`` numbers and the next one (the log-determinant) control the error; further ones,
        regularisers, are carried along.
        """
        if len(state) == 0:
            return Solved(state, state.new_zeros(0))
        import torchode  # here: it brings SymPy, for which every process of a run would wait

        def one_field(time: Tensor, whole: Tensor) -> Tensor:
            return field(time, whole.view(state.shape)).view(whole.shape)

        def size_of(error: Tensor) -> Tensor:
            # (problems, objects of one, F); only one of the first two is not 1
            square = error.view(len(error), -1, state.shape[1]).square()
            moved = square[:, :, :coordinates].mean((1, 2))
            return torch.maximum(moved, square[:, :, coordinates].mean(1)).sqrt()

        values = state.view(1, -1) if self.together else state
        times = [values.new_full((len(values),), time) for time in (start, end)]
        term = torchode.ODETerm(one_field)
        control = torchode.IntegralController(self.tolerance, self.tolerance, term=term, norm=size_of)
        method = torchode.AutoDiffAdjoint(
            torchode.Tsit5(term), control, max_steps=self.max_steps, backprop_through_step_size_control=False
        ).to(state.device, state.dtype)
        found = method.solve(torchode.InitialValueProblem(values, *times), term)
        self._check(found.status, state)
        nfe = _START + _STAGES * found.stats["n_steps"].to(state.dtype)
        return Solved(found.ys[:, 0].view(state.shape), nfe.expand(len(state)))

    def _check(self, status: Tensor, state: Tensor) -> None:
        failed = int((status != 0).sum())
        if failed:
            raise ModelError(
                f"an ODE was not solved to a tolerance of {self.tolerance} within {self.max_steps} steps "
                f"({failed} of {len(status)} solves failed, "
                f"{int((~state.isfinite()).any(1).sum())} objects began at values that are not finite); "
                "train with a stronger regularisation or a lower learning rate, or loosen the tolerance"
            )
