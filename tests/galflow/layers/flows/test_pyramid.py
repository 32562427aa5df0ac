"""The pyramid of means: an exact, volume-known split for any pattern of missing pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from galflow.errors import SpecError
from galflow.layers.flows.pyramid import Details, Pyramid, coarsest, merge, split
from galflow.layers.flows.transform import Flatten, FlowState


def image(n: int = 3, channels: int = 2, size: int = 8) -> Tensor:
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def seen(values: Tensor, keep: Tensor | None = None) -> FlowState:
    keep = torch.ones_like(values) if keep is None else keep
    return FlowState(values * keep, keep, values.new_zeros(len(values)))


def mask(like: Tensor) -> Tensor:
    """Every number of observed pixels in a block, none included."""
    keep = (torch.rand(like.shape, generator=torch.Generator().manual_seed(2)) > 0.5).double()
    keep[0, 0, :2, :2] = 0
    return keep


def test_merge_undoes_split_and_the_coarse_image_holds_means() -> None:
    values = image()
    coarse, contrast, keep = split(seen(values))
    assert contrast.shape == (3, 2, 3, 4, 4)
    assert keep.all()
    torch.testing.assert_close(coarse.values, torch.nn.functional.avg_pool2d(values, 2))
    torch.testing.assert_close(merge(coarse.values, contrast), values)


def test_a_block_splits_orthonormally() -> None:
    """Sum of squares = 4 mean^2 + contrasts^2."""
    values = image()
    coarse, contrast, _ = split(seen(values))
    total = 4 * coarse.values.square() + contrast.square().sum(2)
    torch.testing.assert_close(total, 4 * torch.nn.functional.avg_pool2d(values.square(), 2))
    torch.testing.assert_close(coarse.log_det, torch.full((3,), -32 * 0.5 * math.log(4), dtype=torch.float64))


def test_means_and_volumes_are_those_of_the_observed_pixels() -> None:
    values, keep = image(), mask(image())
    coarse, contrast, kept = split(seen(values, keep))
    number = 4 * torch.nn.functional.avg_pool2d(keep, 2)
    assert set(number.unique().tolist()) == {0, 1, 2, 3, 4}
    mean = 4 * torch.nn.functional.avg_pool2d(values * keep, 2) / number.clamp_min(1)
    torch.testing.assert_close(coarse.values, mean)
    assert torch.equal(coarse.mask, (number > 0).double())
    assert torch.equal(coarse.mask + kept.sum(2), number)
    assert not contrast[kept == 0].any()
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda v, i=i: both(v, keep[i : i + 1]), values[i]).flatten(1)
        rows = torch.cat([coarse.mask[i].flatten(), kept[i].flatten()]).bool()
        square = jacobian[rows][:, keep[i].flatten().bool()]
        assert float(coarse.log_det[i]) == pytest.approx(float(torch.linalg.slogdet(square).logabsdet), abs=1e-9)
        assert not jacobian[:, ~keep[i].flatten().bool()].any()


def both(values: Tensor, keep: Tensor) -> Tensor:
    coarse, contrast, _ = split(seen(values[None], keep))
    return torch.cat([coarse.values.flatten(), contrast.flatten()])


def test_details_are_conditional_gaussians() -> None:
    torch.manual_seed(3)
    details = Details(2, 6).double()
    coarse, contrast, keep = split(seen(image(), mask(image())))
    standardised, log_det = details(coarse, contrast, keep)
    jacobian = torch.autograd.functional.jacobian(lambda c: details(coarse, c * keep, keep)[0][1].flatten(), contrast)
    rows = keep[1].flatten().bool()
    square = jacobian[:, 1].flatten(1)[rows][:, rows]
    assert float(log_det[1].detach()) == pytest.approx(float(torch.linalg.slogdet(square).logabsdet), abs=1e-9)
    assert not standardised[keep == 0].any()


def test_the_pyramid_ends_flat_coarsest_first_and_comes_back() -> None:
    torch.manual_seed(4)
    pyramid = Pyramid(2, 8, 2, 6, Flatten(2, 2)).double()
    values = image()
    with torch.no_grad():
        state = pyramid(seen(values))
        assert state.values.shape == (3, 128)
        torch.testing.assert_close(state.values[:, :8], torch.nn.functional.avg_pool2d(values, 4).flatten(1))
        torch.testing.assert_close(pyramid.inverse(state.values), values)


def test_sizes() -> None:
    assert [coarsest(*c) for c in ((32, 4), (8, 4), (96, 4), (48, 4), (6, 4), (1, 1), (2, 1), (7, 4))] == [
        4, 4, 6, 6, 6, 1, 1, 7,
    ]  # fmt: skip
    assert Pyramid(1, 7, 4, 4, Flatten(1, 7))(seen(image(2, 1, 7))).values.shape == (2, 49)
    with pytest.raises(SpecError, match=r"coarse is 0; the coarsest image needs at least one pixel"):
        coarsest(8, 0)
