"""Continuous layers: an ordinary differential equation carries the data to the base, and its trace keeps the density.

dz/dt = f(z, t) from the data at t = 0 to a standard normal at t = 1; log|det| = integral of tr(df/dz) along the way
(Chen+18). Missing entries stay at 0 and count nowhere: f is restricted to the observed entries, and so is its trace,
so that the density over the observed entries is normalised.

This file knows no network (galflow.layers.flows.dynamics) and no model.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from galflow.errors import SpecError
from galflow.layers.flows.ode import Field, Solver
from galflow.layers.flows.transform import FlowState, Transform


class VelocityAndTrace(NamedTuple):
    """The dynamics at one time."""

    velocity: Tensor
    """(B, ...) dz/dt, 0 where missing."""
    trace: Tensor
    """(B,) tr(df/dz) over observed entries, exact."""
    tangent: Tensor | None
    """(B, ...) df/dz times the probe; None without a probe."""


class Dynamics(nn.Module, ABC):
    """A network f(z, t) whose trace has a closed form. Sampling needs no more than ``velocity``."""

    @abstractmethod
    def trace_terms(self, mask: Tensor) -> tuple[Tensor, ...]:
        """What of the trace is the same all along a solve, for entries kept as in ``mask`` (B, ...)."""

    @abstractmethod
    def velocity_and_trace(
        self, time: Tensor, at: Tensor, mask: Tensor, trace_terms: tuple[Tensor, ...], probe: Tensor | None
    ) -> VelocityAndTrace:
        """Velocity, trace and, if asked for, df/dz times ``probe``, at times (B,) or (1,) and places (B, ...)."""

    @abstractmethod
    def velocity(self, time: Tensor, at: Tensor) -> Tensor:
        """f itself, everything observed."""


class SolveStats(NamedTuple):
    """What one solve took; (B,) each."""

    nfe: Tensor
    """Function evaluations."""
    kinetic: Tensor
    """Integral of |f|^2 over time (Finlay+20); 0 where it was not asked for."""
    jacobian: Tensor
    """Integral of |df/dz e|^2 with e of unit covariance: an unbiased estimate of the squared Frobenius norm's."""


@dataclass(frozen=True)
class Solvers:
    """How a continuous layer is solved."""

    density: Solver
    training: Solver
    trace: str = "exact"
    """In training: "exact", or "hutchinson" for the estimate of Grathwohl+18, by one probe a solve."""
    regularised: bool = True
    """Whether training integrates the regularisers too."""

    @property
    def probes(self) -> bool:
        """Whether training needs a random direction."""
        return self.regularised or self.trace == "hutchinson"

    def __post_init__(self) -> None:
        if self.trace not in ("exact", "hutchinson"):
            raise SpecError(f"trace is {self.trace!r}; a continuous flow trains on the 'exact' or 'hutchinson' trace")


class SolveRecorder:
    """Takes down what the solves of a flow take, for as long as it is open, and how tightly they are to be done."""

    def __init__(self, flow: nn.Module, *, training: bool) -> None:
        self.training = training
        self.entries: list[SolveStats] = []
        self._layers = [layer for layer in flow.modules() if isinstance(layer, Continuous)]

    def __enter__(self) -> Self:
        for layer in self._layers:
            layer.recorder = self
        return self

    def __exit__(self, *_: object) -> None:
        for layer in self._layers:
            layer.recorder = None

    def total(self) -> SolveStats:
        """The sum over all solves."""
        return SolveStats(*(torch.stack(parts).sum(0) for parts in zip(*self.entries, strict=True)))


def in_full_precision(like: Tensor) -> torch.autocast:
    """Switches autocast off: an error estimate of 1e-5 drowns in the rounding of bfloat16, and steps shrink to none."""
    return torch.autocast(like.device.type, enabled=False)


class Continuous(Transform):
    """The solution of one ODE from t = 0 (data) to 1 (base)."""

    def __init__(self, dynamics: Dynamics, solvers: Solvers) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.solvers = solvers
        self.recorder: SolveRecorder | None = None

    def forward(self, at: FlowState) -> FlowState:
        """At the tolerance of densities, with the exact trace; in a training's journal, as training does it."""
        with in_full_precision(at.values):
            return self._solve(at._replace(values=at.values.to(at.mask.dtype)))

    def _solve(self, at: FlowState) -> FlowState:
        how, recorder, mask, shape = self.solvers, self.recorder, at.mask, at.values.shape[1:]
        training = recorder is not None and recorder.training
        solver, probe = how.density, None
        if training:
            solver = how.training
            # Signs, not normal numbers: the same expectation with the least scatter. Fixed for the whole solve.
            probe = (torch.randint_like(mask, 2) * 2 - 1) * mask if how.probes else None
        # log|det| is solved for per observed dimension, the unit in which likelihoods are compared.
        counted = mask.flatten(1).sum(1).clamp_min(1)
        field = self._field(mask, probe, counted, estimate=training and how.trace == "hutchinson")
        size = math.prod(shape)
        start = [at.values.flatten(1), at.values.new_zeros(len(mask), 1 if probe is None else 3)]
        state, nfe = solver.solve(field, torch.cat(start, 1), 0.0, 1.0, size)
        if recorder is not None:
            regularisers = (nfe.new_zeros(len(nfe), 2) if probe is None else state[:, size + 1 :]).unbind(1)
            recorder.entries.append(SolveStats(nfe, *regularisers))
        return FlowState(state[:, :size].unflatten(1, shape), mask, at.log_det + counted * state[:, size])

    def _field(self, mask: Tensor, probe: Tensor | None, counted: Tensor, estimate: bool) -> Field:
        """The derivative of a state: values, log|det| over ``counted`` and, with a probe, both regularisers."""
        trace_terms = self.dynamics.trace_terms(mask)
        shape, size = mask.shape[1:], math.prod(mask.shape[1:])

        def field(time: Tensor, state: Tensor) -> Tensor:
            at = state[:, :size].unflatten(1, shape)
            velocity, trace, tangent = self.dynamics.velocity_and_trace(time, at, mask, trace_terms, probe)
            velocity = velocity.flatten(1)
            if probe is None or tangent is None:
                return torch.cat([velocity, (trace / counted)[:, None]], 1)
            tangent = tangent.flatten(1)
            if estimate:
                trace = (tangent * probe.flatten(1)).sum(1)
            ends = torch.stack([trace / counted, velocity.square().sum(1), tangent.square().sum(1)], 1)
            return torch.cat([velocity, ends], 1)

        return field

    def inverse(self, values: Tensor) -> Tensor:
        """The same ODE from t = 1 to 0; without the trace, as nobody asks for it."""
        shape = values.shape[1:]

        def field(time: Tensor, state: Tensor) -> Tensor:
            velocity = self.dynamics.velocity(time, state[:, :-1].unflatten(1, shape)).flatten(1)
            return torch.cat([velocity, torch.zeros_like(state[:, -1:])], 1)

        start = torch.cat([values.flatten(1), values.new_zeros(len(values), 1)], 1)
        with in_full_precision(values):
            end = self.solvers.density.solve(field, start, 1.0, 0.0, math.prod(shape)).state
        return end[:, :-1].unflatten(1, shape)
