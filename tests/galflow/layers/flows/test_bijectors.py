"""The bijectors of coupling layers: increasing, inverted, slopes against autograd and zuko, bounded everywhere."""

from __future__ import annotations

import math

import pytest
import torch

from galflow.errors import SpecError
from galflow.layers.flows.bijectors import (
    LOG_SCALE_BOUND,
    SPLINE_BINS,
    SPLINE_EDGE,
    Affine,
    Bijector,
    Spline,
    bijector_of,
)

BIJECTORS = pytest.mark.parametrize(
    "bijector", [bijector_of(name) for name in ("additive", "affine", "spline")], ids=type
)


@BIJECTORS
def test_a_law_is_increasing_with_the_slope_it_states(bijector: Bijector) -> None:
    torch.manual_seed(3)
    theta = (5 * torch.randn(50, bijector.parameters, 1, dtype=torch.float64)).expand(-1, -1, 400)
    values = torch.linspace(-8, 8, 400, dtype=torch.float64).repeat(50, 1).requires_grad_()
    changed, log_slope = bijector.forward(values, theta)
    assert (changed.diff(dim=1) > 0).all()
    slope = torch.autograd.grad(changed.sum(), values)[0]
    torch.testing.assert_close(log_slope, slope.log(), rtol=0, atol=1e-9)
    torch.testing.assert_close(bijector.inverse(changed, theta), values, rtol=0, atol=1e-9)


@BIJECTORS
def test_parameters_of_zero_leave_numbers_as_they_are(bijector: Bijector) -> None:
    values = torch.linspace(-6, 6, 101)[None]
    changed, log_slope = bijector.forward(values, torch.zeros(1, bijector.parameters, 101))
    torch.testing.assert_close(changed, values, rtol=0, atol=2e-6)
    torch.testing.assert_close(log_slope, torch.zeros(1, 101), rtol=0, atol=2e-6)


@BIJECTORS
def test_single_precision_stays_finite(bijector: Bijector) -> None:
    """Knots, edges, collapsed bins, huge parameters and outliers: finite both ways, with finite gradients."""
    torch.manual_seed(4)
    edge = SPLINE_EDGE
    values = torch.tensor([-1e8, -edge, -edge + 3e-7, -1e-7, 0.0, edge / 4, edge - 3e-7, edge, 1e8]).repeat(2000, 1)
    theta = (30 * torch.randn(2000, bijector.parameters, 9)).requires_grad_()
    changed, log_slope = bijector.forward(values, theta)
    back = bijector.inverse(changed.detach(), theta)
    for found in (changed, log_slope, back):
        assert found.isfinite().all()
    near = slice(1, -1)
    torch.testing.assert_close(
        back[:, near], values[:, near], rtol=0, atol=2e-3 if isinstance(bijector, Spline) else 1e-4
    )
    (changed[:, near].sum() + log_slope.sum()).backward()
    assert theta.grad is not None
    assert theta.grad.isfinite().all()


def test_spline_is_the_identity_beyond_its_edge_and_joins_it_smoothly() -> None:
    torch.manual_seed(5)
    bijector = Spline()
    theta = torch.randn(20, bijector.parameters, 1, dtype=torch.float64)
    for sign in (-1, 1):
        outside = torch.full((20, 1), sign * (SPLINE_EDGE + 0.5), dtype=torch.float64)
        changed, log_slope = bijector.forward(outside, theta)
        assert torch.equal(changed, outside)
        assert not log_slope.any()
        just_inside = torch.full((20, 1), sign * (SPLINE_EDGE - 1e-9), dtype=torch.float64)
        changed, log_slope = bijector.forward(just_inside, theta)
        torch.testing.assert_close(changed, just_inside, rtol=0, atol=1e-7)
        torch.testing.assert_close(log_slope, torch.zeros(20, 1, dtype=torch.float64), rtol=0, atol=1e-5)


def test_spline_agrees_with_zuko() -> None:
    """The same knots and slopes, each said in the other's parameters."""
    from zuko.transforms import MonotonicRQSTransform

    torch.manual_seed(6)
    k, weak = SPLINE_BINS, 1e-12
    # Small parameters: zuko bounds them by x / (1 + |x| c), we by tanh; with its floor at 1e-12 and ours small both
    # are close to x itself, and what is left of the difference is undone here.
    theta = 0.2 * torch.randn(40, 3 * k - 1, dtype=torch.float64)

    def bounded(raw: torch.Tensor, bound: float) -> torch.Tensor:
        return bound * torch.tanh(raw / bound)

    def unbounded_by_zuko(meant: torch.Tensor, factor: float) -> torch.Tensor:
        return meant / (1 - (factor * meant).abs() / abs(math.log(weak)))

    widths, heights, slopes = theta.split((k, k, k - 1), dim=1)
    other = MonotonicRQSTransform(
        unbounded_by_zuko(bounded(widths, 1.5), 2),
        unbounded_by_zuko(bounded(heights, 1.5), 2),
        unbounded_by_zuko(bounded(slopes, 2.0), 1),
        bound=SPLINE_EDGE,
        slope=weak,
    )
    values = torch.linspace(-5, 5, 40, dtype=torch.float64)
    changed, log_slope = Spline().forward(values[:, None], theta[:, :, None])
    expected, expected_slope = other.call_and_ladj(values)
    torch.testing.assert_close(changed[:, 0], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_slope[:, 0], expected_slope, rtol=0, atol=1e-9)


def test_affine_stretches_by_a_bounded_factor() -> None:
    theta = torch.tensor([[0.0, 1e9], [0.0, -1e9]]).view(2, 2, 1)
    _, log_scale = Affine().forward(torch.ones(2, 1), theta)
    assert log_scale.flatten().tolist() == pytest.approx([LOG_SCALE_BOUND, -LOG_SCALE_BOUND])


def test_far_conditions_never_make_the_way_back_nan() -> None:
    """Where zuko's own spline gives NaN: at knots, with strong parameters, in single precision."""
    torch.manual_seed(7)
    spline = Spline(5, edge=3.0)
    theta = 30 * torch.randn(20_000, spline.parameters)
    knots = 6 * torch.tanh(theta[:, 5:10] / 1.5).mul(1.5).softmax(1).cumsum(1)[:, 2] - 3
    assert spline.inverse(knots, theta).isfinite().all()


def test_a_spline_has_as_many_bins_and_as_wide_an_edge_as_asked() -> None:
    spline = Spline(3, edge=2.0)
    assert spline.parameters == 8
    theta = torch.ones(1, 8)
    theta[:, 0] = 2.0
    assert torch.equal(spline.forward(torch.tensor([2.5]), theta)[0], torch.tensor([2.5]))
    assert float(spline.forward(torch.tensor([1.5]), theta)[0]) != pytest.approx(1.5, abs=1e-3)
    with pytest.raises(SpecError, match=r"bins is 1; a spline needs at least two"):
        Spline(1)


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(SpecError, match=r"coupling is 'cubic'; it must be one of additive, affine, spline"):
        bijector_of("cubic")
