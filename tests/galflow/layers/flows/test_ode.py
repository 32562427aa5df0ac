"""The solver against equations whose solutions are known, and its count of function evaluations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from galflow.errors import ModelError, SpecError
from galflow.layers.flows.ode import Solver


def linear(matrix: Tensor) -> tuple[list[int], object]:
    """dz/dt = A z and dlogdet/dt = tr A, and the list that grows with each call."""
    calls: list[int] = []

    def field(time: Tensor, state: Tensor) -> Tensor:
        calls.append(len(time))
        trace = matrix.diagonal().sum().expand(len(state), 1)
        return torch.cat([state[:, :-1] @ matrix.T, trace], 1)

    return calls, field


@pytest.fixture
def matrix() -> Tensor:
    return torch.randn(3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture
def start() -> Tensor:
    values = torch.randn(7, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return torch.cat([values, torch.zeros(7, 1, dtype=torch.float64)], 1)


def test_linear_dynamics_follow_the_matrix_exponential(matrix: Tensor, start: Tensor) -> None:
    _, field = linear(matrix)
    end = Solver(1e-10).solve(field, start, 0.0, 1.0, 3).state
    torch.testing.assert_close(end[:, :3], start[:, :3] @ torch.matrix_exp(matrix).T, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(end[:, 3], matrix.trace().expand(7), rtol=1e-8, atol=1e-8)
    back = Solver(1e-10).solve(field, start, 1.0, 0.0, 3).state
    torch.testing.assert_close(back[:, :3], start[:, :3] @ torch.matrix_exp(-matrix).T, rtol=1e-8, atol=1e-8)


def test_time_is_what_the_field_is_told() -> None:
    field = lambda time, state: torch.stack([time.cos(), time.square()], 1)  # noqa: E731
    end = Solver(1e-9).solve(field, torch.zeros(2, 2, dtype=torch.float64), 0.0, 1.0, 1).state
    expected = torch.tensor([math.sin(1), 1 / 3], dtype=torch.float64).expand(2, 2)
    torch.testing.assert_close(end, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_evaluations_are_counted(matrix: Tensor, start: Tensor, tolerance: float) -> None:
    for rows in (start, start[:1], start[4:5]):
        calls, field = linear(matrix)
        nfe = Solver(tolerance).solve(field, rows, 0.0, 1.0, 3).nfe
        assert nfe.max() == len(calls)


def test_a_tighter_tolerance_costs_more_and_errs_less(matrix: Tensor, start: Tensor) -> None:
    _, field = linear(matrix)
    expected = start[:, :3] @ torch.matrix_exp(matrix).T
    loose, tight = (Solver(tolerance).solve(field, start, 0.0, 1.0, 3) for tolerance in (1e-3, 1e-7))
    assert (tight.nfe > loose.nfe).all()
    errors = [(solved.state[:, :3] - expected).abs().max() for solved in (loose, tight)]
    assert errors[1] < 1e-2 * errors[0]
    assert errors[1] < 1e-5


def test_each_object_has_steps_of_its_own(matrix: Tensor, start: Tensor) -> None:
    _, still = linear(0.001 * matrix)
    _, fast = linear(30 * (matrix - matrix.T))

    def mixed(time: Tensor, state: Tensor) -> Tensor:
        rows = torch.arange(len(state))[:, None]
        return torch.where(rows % 2 == 0, still(time, state), fast(time, state))

    together = Solver(1e-6).solve(mixed, start, 0.0, 1.0, 3)
    alone = Solver(1e-6).solve(still, start[::2], 0.0, 1.0, 3)
    assert torch.equal(together.nfe[::2], alone.nfe)
    assert (together.nfe[1::2] > 5 * together.nfe[0]).all()
    torch.testing.assert_close(together.state[::2], alone.state, rtol=1e-14, atol=1e-14)


def test_together_a_batch_has_one_step_and_nearly_the_same_end(matrix: Tensor, start: Tensor) -> None:
    calls, field = linear(matrix)
    together = Solver(1e-6, together=True).solve(field, start, 0.0, 1.0, 3)
    assert calls == [1] * int(together.nfe[0])
    assert torch.equal(together.nfe, together.nfe[:1].expand(7))
    alone = Solver(1e-6).solve(field, start, 0.0, 1.0, 3)
    assert together.nfe[0] <= alone.nfe.max()
    torch.testing.assert_close(together.state, alone.state, rtol=1e-4, atol=1e-4)


def test_the_log_determinant_controls_the_error_too() -> None:
    """z stands still; only the log-determinant, the integral of 20 cos(20 t), needs small steps."""
    field = lambda time, state: torch.stack([torch.zeros_like(time), 20 * torch.cos(20 * time)], 1)  # noqa: E731
    solved = Solver(1e-7).solve(field, torch.zeros(1, 2, dtype=torch.float64), 0.0, 1.0, 1)
    assert abs(float(solved.state[0, 1]) - math.sin(20)) < 1e-5


def test_a_regulariser_does_not_control_the_error() -> None:
    def field(time: Tensor, state: Tensor) -> Tensor:
        return torch.stack([-state[:, 0], torch.ones_like(time), 100 * torch.cos(100 * time)], 1)

    zeros = torch.ones(1, 3, dtype=torch.float64)
    with_it, without = (Solver(1e-6).solve(f, zeros[:, :n], 0.0, 1.0, 1) for f, n in ((field, 3), (no_third, 2)))
    assert torch.equal(with_it.nfe, without.nfe)


def no_third(time: Tensor, state: Tensor) -> Tensor:
    return torch.stack([-state[:, 0], torch.ones_like(time)], 1)


def test_gradients_pass_through_the_solver() -> None:
    """z(1) = z0 exp(a): its derivative by a is z(1), that by z0 exp(a)."""
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    start = torch.tensor([[1.5, 0.0]], dtype=torch.float64, requires_grad=True)

    def field(time: Tensor, state: Tensor) -> Tensor:
        return torch.stack([a * state[:, 0], a.expand(len(state))], 1)

    state = Solver(1e-8).solve(field, start, 0.0, 1.0, 1).state
    by_a, by_start = torch.autograd.grad(state[0, 0], (a, start))
    assert float(by_a) == pytest.approx(1.5 * math.exp(0.7), rel=1e-6)
    assert float(by_start[0, 0]) == pytest.approx(math.exp(0.7), rel=1e-6)


def test_refusals() -> None:
    for tolerance in (0.0, 1.0, -1e-3, float("nan")):
        with pytest.raises(SpecError, match=r"must lie between 0 and 1, such as 1e-5"):
            Solver(tolerance)
    _, field = linear(200 * torch.tensor([[0.0, 1.0], [-1.0, 0.0]]))
    with pytest.raises(ModelError, match=r"was not solved to a tolerance of 1e-06 within 5 steps \(2 of 2 solves"):
        Solver(1e-6, max_steps=5).solve(field, torch.ones(2, 3), 0.0, 1.0, 2)
    with pytest.raises(ModelError, match=r"1 of 1 solves failed, 1 objects began at values that are not finite"):
        Solver(1e-3).solve(field, torch.full((1, 3), float("nan")), 0.0, 1.0, 2)
