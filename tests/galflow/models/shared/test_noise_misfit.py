"""Goodness of fit of a flow's base values: white noise fits, whatever the mask; what is smooth or quiet does not."""

from __future__ import annotations

import pytest
import torch

from galflow.layers.flows.transform import FlowState
from galflow.models.shared.flow import noise_misfit

SHAPES = [(2, 12, 12), (288,)]


def base(values: torch.Tensor, mask: torch.Tensor | None = None) -> FlowState:
    return FlowState(values, torch.ones_like(values) if mask is None else mask, torch.zeros(len(values)))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_four_numbers_of_white_noise_are_standard_normal(shape: tuple[int, ...]) -> None:
    values = torch.randn(4000, *shape, generator=torch.Generator().manual_seed(0))
    assert noise_misfit(base(values)).square().mean() == pytest.approx(1.0, abs=0.05)
    mask = (torch.rand(values.shape, generator=torch.Generator().manual_seed(1)) > 0.4).float()
    assert noise_misfit(base(values, mask)).square().mean() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_no_noise_has_a_high_misfit_however_probable_it_is(shape: tuple[int, ...]) -> None:
    values = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))
    smooth = (values + values.roll(1, -1)) / 2**0.5
    for other in (0 * values, 1.5 * values, 0.6 * values, values + 0.5, smooth):
        assert noise_misfit(base(other)).min() > 2.5


def test_missing_values_do_not_count() -> None:
    values, mask = torch.randn(3, 2, 8, 8), torch.ones(3, 2, 8, 8)
    mask[:, :, :3] = 0
    wild = torch.where(mask > 0, values, 1e6)
    torch.testing.assert_close(noise_misfit(base(wild, mask)), noise_misfit(base(values, mask)))
    assert noise_misfit(base(values, 0 * mask)).tolist() == [0.0, 0.0, 0.0]
