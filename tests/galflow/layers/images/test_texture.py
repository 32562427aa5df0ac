"""Texture: each window finds what fills it, missing pixels count for nothing, and numbers are those of plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from galflow.batch import Batch
from galflow.layers.images.texture import largest_windows, texture, windows


def noise(n: int = 4, bands: int = 2, size: int = 16) -> Tensor:
    return 0.1 * torch.randn(n, bands, size, size, generator=torch.Generator().manual_seed(3))


def seen(pixels: Tensor) -> Tensor:
    return torch.ones_like(pixels, dtype=torch.bool)


def test_windows_are_those_of_numpy() -> None:
    maps = noise()
    found = largest_windows(maps, seen(maps))
    for number, shape in enumerate(windows(16)):
        means = sliding_window_view(maps.numpy(), shape, axis=(2, 3)).mean((-1, -2))
        np.testing.assert_allclose(found[:, number], np.log(np.abs(means).max((1, 2, 3))), rtol=1e-3)


@pytest.mark.parametrize(
    ("place", "window"),
    [((slice(5, 6), slice(9, 10)), 0), ((slice(3, 10), slice(3, 10)), 2), ((slice(None), slice(7, 8)), 4)],
    ids=["cosmic ray", "second nucleus", "dead column"],
)
def test_a_defect_stands_out_in_the_window_that_it_fills(place: tuple[slice, slice], window: int) -> None:
    maps = noise(64)
    plain = largest_windows(maps, seen(maps))
    maps[0, 1][place] += 0.4 if window == 0 else 0.1
    changed = largest_windows(maps, seen(maps))[0]
    above = (changed - plain.mean(0)) / plain.std(0)
    assert above[window] > 0.9 * above.max()
    assert above[window] > 3


def test_missing_pixels_count_for_nothing() -> None:
    pixels = noise()
    observed = seen(pixels)
    observed[:, :, 2:4, 2:4] = False
    spoilt = pixels.clone()
    spoilt[:, :, 2:4, 2:4] = 1e6
    one, other = (texture(Batch(pixels=torch.where(observed, p, 0.0), observed=observed)) for p in (pixels, spoilt))
    torch.testing.assert_close(one, other)
    whole = texture(Batch(pixels=pixels, observed=seen(pixels)))
    assert (one - whole).abs().max() < 1.5


def test_nothing_is_known_of_an_object_without_pixels() -> None:
    pixels = torch.zeros(2, 3, 12, 12)
    found = texture(Batch(pixels=pixels, observed=torch.zeros_like(pixels, dtype=torch.bool)))
    assert torch.isnan(found).all()
    assert torch.isfinite(texture(Batch(pixels=pixels, observed=seen(pixels)))).all()


def test_one_band_has_no_colours() -> None:
    one, two = (texture(Batch(pixels=p, observed=seen(p))) for p in (noise(bands=1), noise(bands=2)))
    assert two.shape[1] - one.shape[1] == len(windows(16)) + 2
    assert texture(Batch(pixels=noise(size=4), observed=seen(noise(size=4)))).shape[1] == 3 * len(windows(4)) + 4


def test_a_turned_image_has_the_same_asymmetry() -> None:
    pixels = noise()
    turned = pixels.flip((2, 3))
    torch.testing.assert_close(
        texture(Batch(pixels=pixels, observed=seen(pixels))), texture(Batch(pixels=turned, observed=seen(turned))),
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip
