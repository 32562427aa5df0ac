"""Traces and directional derivatives in closed form against brute-force Jacobians."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from galflow.errors import SpecError
from galflow.layers.flows.continuous import Dynamics
from galflow.layers.flows.dynamics import Clock, ConvolutionalDynamics, DenseDynamics, PlanarDynamics

CASES = {"dense": (6,), "planar": (6,), "convolutional": (3, 4, 5)}


def build(kind: str) -> Dynamics:
    torch.manual_seed(1)
    if kind == "dense":
        made: Dynamics = DenseDynamics(6, 11)
    elif kind == "planar":
        made = PlanarDynamics(6, 4)
    else:
        made = ConvolutionalDynamics(3, 7)
    made.double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def places(kind: str, holes: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Times, places, keep and probe of five objects; with holes, another mask for each."""
    draw = torch.Generator().manual_seed(2)
    state, probe = (torch.randn(5, *CASES[kind], generator=draw, dtype=torch.float64) for _ in range(2))
    mask = torch.ones_like(state)
    if holes:
        mask = (torch.rand(state.shape, generator=draw) > 0.3).double()
        mask[0] = 1
        mask[1] = 0
    return torch.rand(5, generator=draw, dtype=torch.float64), state * mask, mask, probe * mask


def jacobians(dynamics: Dynamics, time: Tensor, state: Tensor, mask: Tensor) -> Tensor:
    """(B, D, D) by autograd, of the restricted velocity."""
    found = []
    for i in range(len(state)):

        def velocity(row: Tensor, i: int = i) -> Tensor:
            kept = mask[i : i + 1]
            return (dynamics.velocity(time[i : i + 1], row[None] * kept) * kept).flatten()

        found.append(torch.autograd.functional.jacobian(velocity, state[i]).flatten(1))
    return torch.stack(found)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("kind", CASES)
def test_trace_and_tangent_are_exact(kind: str, holes: bool) -> None:
    dynamics = build(kind)
    time, state, mask, probe = places(kind, holes)
    jacobian = jacobians(dynamics, time, state, mask)
    velocity_and_trace = dynamics.velocity_and_trace(time, state, mask, dynamics.trace_terms(mask), probe)
    torch.testing.assert_close(
        velocity_and_trace.trace, jacobian.diagonal(dim1=1, dim2=2).sum(1), rtol=1e-10, atol=1e-12
    )
    assert velocity_and_trace.tangent is not None
    expected = torch.einsum("bij,bj->bi", jacobian, probe.flatten(1))
    torch.testing.assert_close(velocity_and_trace.tangent.flatten(1), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        velocity_and_trace.velocity, dynamics.velocity(time, state) * mask, rtol=1e-12, atol=1e-12
    )
    assert velocity_and_trace.trace.abs().max() > 0.1
    assert dynamics.velocity_and_trace(time, state, mask, dynamics.trace_terms(mask), None).tangent is None


@pytest.mark.parametrize("kind", CASES)
def test_one_hole_in_a_batch_changes_nobody_else(kind: str) -> None:
    dynamics = build(kind)
    time, state, mask, _ = places(kind, holes=False)
    whole = dynamics.velocity_and_trace(time, state, mask, dynamics.trace_terms(mask), None).trace
    mask[2].view(-1)[0] = 0
    some = dynamics.velocity_and_trace(time, state * mask, mask, dynamics.trace_terms(mask), None).trace
    torch.testing.assert_close(some[[0, 1, 3, 4]], whole[[0, 1, 3, 4]], rtol=1e-12, atol=1e-12)
    assert (some[2] - whole[2]).abs() > 1e-3


def test_dense_dynamics_have_a_free_form_jacobian_and_planar_ones_do_not() -> None:
    time, state, mask, _ = places("dense", holes=False)
    free = jacobians(build("dense"), time, state, mask)
    assert (free.abs() > 1e-6).all()
    assert (torch.linalg.matrix_rank(free) == 6).all()
    assert (torch.linalg.matrix_rank(jacobians(build("planar"), time, state, mask)) == 4).all()


def test_planar_dynamics_are_the_published_sum() -> None:
    planar = build("planar")
    assert isinstance(planar, PlanarDynamics)
    time, state, mask, _ = places("planar", holes=False)
    gates = planar.controls(time)[0]
    assert ((gates > 0) & (gates < 2)).all()
    expected = torch.zeros_like(state)
    trace = torch.zeros(5, dtype=torch.float64)
    for n in range(4):
        w, u, b = planar.inwards.weight[n], planar.outwards.weight[:, n], planar.inwards.bias[n]
        wave = torch.tanh(state @ w + b)
        expected = expected + (gates[:, n] * wave)[:, None] * u
        trace = trace + gates[:, n] * (1 - wave.square()) * (u @ w)
    velocity_and_trace = planar.velocity_and_trace(time, state, mask, planar.trace_terms(mask), None)
    torch.testing.assert_close(velocity_and_trace.velocity, expected)
    torch.testing.assert_close(velocity_and_trace.trace, trace)


@pytest.mark.parametrize("kind", CASES)
def test_velocities_grow_at_most_linearly_however_far_the_place(kind: str) -> None:
    dynamics = build(kind)
    time, state, mask, _ = places(kind, holes=False)
    near, far = (
        dynamics.velocity_and_trace(time, state * factor, mask, dynamics.trace_terms(mask), None)
        for factor in (1.0, 1e8)
    )
    assert far.velocity.abs().max() < 20e8 * near.velocity.abs().max()
    assert far.trace.isfinite().all()


def test_dynamics_change_with_time() -> None:
    for kind in CASES:
        dynamics = build(kind)
        time, state, _, _ = places(kind, holes=False)
        assert (dynamics.velocity(time, state) - dynamics.velocity(1 - time, state)).abs().max() > 1e-2


def test_a_clock_follows_the_input_type() -> None:
    clock = Clock(3)
    assert clock(torch.rand(2)).dtype == torch.float32
    assert clock.double()(torch.rand(2).double()).dtype == torch.float64


def test_refuses_no_width() -> None:
    with pytest.raises(SpecError, match=r"width is 0; dynamics need at least one hidden unit, such as 64"):
        DenseDynamics(2, 0)
