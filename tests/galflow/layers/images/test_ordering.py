"""Order statistics are torch's own, whatever sorts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from galflow.layers.images.ordering import falling_order, highest_around, median_of_known


@pytest.mark.parametrize("side", [1, 2, 7, 64])
def test_the_median_is_torchs_with_and_without_missing_values(side: int) -> None:
    values = torch.randn(50, 3, side)
    values[torch.rand(values.shape) < 0.3] = torch.nan
    values[0] = torch.nan
    torch.testing.assert_close(median_of_known(values), values.nanmedian(-1).values, rtol=0, atol=0, equal_nan=True)
    assert median_of_known(values)[0].isnan().all()


def test_the_order_falls() -> None:
    values = torch.randn(20, 33)
    ranked = values.gather(1, falling_order(values))
    torch.testing.assert_close(ranked, values.sort(dim=1, descending=True).values, rtol=0, atol=0)


@pytest.mark.parametrize("reach", [0, 1, 4, 9])
def test_the_highest_around_is_that_of_a_window(reach: int) -> None:
    images = torch.randn(5, 8, 6)
    expected = F.max_pool2d(F.pad(images, (reach,) * 4, value=-torch.inf), 2 * reach + 1, stride=1)
    torch.testing.assert_close(highest_around(images, reach), expected, rtol=0, atol=0)
