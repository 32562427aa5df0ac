"""Which scales there are, and that squeezing and factoring out only move numbers about."""

from __future__ import annotations

import pytest
import torch

from galflow.errors import SpecError
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.multiscale import MultiScale, Scale, Squeeze, scales
from galflow.layers.flows.transform import Chain, FlowState


@pytest.mark.parametrize(
    ("channels", "size", "levels", "expected"),
    [
        (1, 8, None, [(4, 4, True)]),
        (3, 32, None, [(12, 16, True), (24, 8, True), (48, 4, True)]),
        (1, 2, None, [(4, 1, True)]),
        (2, 1, None, [(2, 1, False)]),
        (3, 15, None, [(3, 15, False)]),
        (1, 12, None, [(4, 6, True)]),
        (1, 12, 2, [(4, 6, True), (8, 3, True)]),
        (1, 8, 0, [(1, 8, False)]),
    ],
)
def test_scales(channels: int, size: int, levels: int | None, expected: list[tuple[int, int, bool]]) -> None:
    assert scales(channels, size, levels=levels) == [Scale(*scale) for scale in expected]


def test_scales_that_keep_all_numbers() -> None:
    assert scales(1, 8, levels=2, factor_out=False) == [Scale(4, 4, True), Scale(16, 2, True)]


def test_more_levels_than_factors_of_two_are_refused() -> None:
    with pytest.raises(SpecError, match=r"levels is 3, but a size of 12 can be halved 2 times; give 0 to 2, or None"):
        scales(1, 12, levels=3)
    with pytest.raises(SpecError, match=r"levels is -1"):
        scales(1, 12, levels=-1)


def test_multiscale_is_a_permutation_of_values_and_mask() -> None:
    found = scales(3, 16, levels=None)
    transform = MultiScale(found, [Squeeze() for _ in found])
    values = torch.arange(2 * 3 * 256.0).view(2, 3, 16, 16)
    mask = (values % 5 > 0).float()
    state = transform(FlowState(values * mask, mask, torch.zeros(2)))
    assert state.values.shape == (2, 768)
    assert torch.equal(state.values.sort(1).values, (values * mask).flatten(1).sort(1).values)
    assert torch.equal(transform.inverse(state.values), values * mask)
    assert torch.equal(transform.inverse(state.mask), mask), "the mask took another way than the values"
    assert torch.equal(state.log_det, torch.zeros(2))


def test_what_leaves_early_is_not_touched_later() -> None:
    found = scales(1, 8, levels=2)
    last = ActNorm(found[1].channels, 1, 1)
    with torch.no_grad():
        last.shift.fill_(7.0)
    transform = MultiScale(found, [Squeeze(), Chain([Squeeze(), last])])
    ends = transform(FlowState(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8), torch.zeros(1))).values[0]
    assert ends.tolist() == [0.0] * 32 + [7.0] * 32


def test_actnorm_starts_at_zero_mean_and_unit_variance_of_what_was_observed() -> None:
    torch.manual_seed(1)
    mask = (torch.rand(50, 3, 6, 6) > 0.3).double()
    values = (5 + torch.tensor([1.0, 3.0, 0.5]).view(3, 1, 1) * torch.randn(50, 3, 6, 6)).double() * mask
    for shape, shared in (((3, 1, 1), (0, 2, 3)), ((3, 6, 6), (0,))):
        norm = ActNorm(*shape).double()
        state = norm.initialise(FlowState(values, mask, torch.zeros(50).double()))
        count = mask.sum(shared)
        mean = state.values.sum(shared) / count
        variance = state.values.square().sum(shared) / count - mean.square()
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-12)
        torch.testing.assert_close(variance, torch.ones_like(variance), rtol=0, atol=1e-12)
        torch.testing.assert_close(state.log_det, (mask * norm.log_scale).sum((1, 2, 3)))
        full = torch.randn(4, 3, 6, 6).double()
        there = norm(FlowState(full, torch.ones_like(full), torch.zeros(4).double())).values
        torch.testing.assert_close(norm.inverse(there), full)


def test_actnorm_leaves_alone_what_it_has_not_seen() -> None:
    norm = ActNorm(2, 1, 1)
    mask = torch.ones(4, 2, 3, 3)
    mask[:, 1] = 0
    norm.initialise(FlowState(torch.ones(4, 2, 3, 3) * mask, mask, torch.zeros(4)))
    assert norm.shift.flatten().tolist() == [-1.0, 0.0]
    assert norm.log_scale[1].item() == 0
    assert 0 < norm.log_scale[0].item() < 4, "a constant channel is not blown up"
