"""The smooth bound: the identity near 0, increasing, never beyond."""

from __future__ import annotations

import torch

from galflow.layers.bounds import soft_bounded


def test_small_numbers_stay_and_none_leaves_the_bound() -> None:
    small = torch.linspace(-1e-3, 1e-3, 11, dtype=torch.float64)
    torch.testing.assert_close(soft_bounded(small, 2.0), small, rtol=1e-6, atol=0)
    every = torch.tensor([-1e30, -50.0, -2.0, 0.0, 2.0, 50.0, 1e30])
    assert soft_bounded(every, 5.0).abs().max() <= 5.0
    moved = soft_bounded(torch.linspace(-9, 9, 100), 5.0)
    assert (moved.diff() > 0).all()


def test_its_slope_at_0_is_1() -> None:
    zero = torch.zeros((), requires_grad=True)
    soft_bounded(zero, 0.3).backward()
    assert zero.grad is not None
    assert float(zero.grad) == 1.0
