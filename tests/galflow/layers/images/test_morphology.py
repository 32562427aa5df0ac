"""Measurements on images: against what is known of Gaussians and discs, turned images, missing pixels, odd input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.layers.images.morphology import SHAPES, feature_names, measure

SIZE = 64
AXIS = torch.arange(SIZE) - (SIZE - 1) / 2
Y, X = AXIS[:, None], AXIS[None, :]


def gaussian(sigma: float, q: float = 1.0, y: float = 0.0, x: float = 0.0) -> Tensor:
    """(SIZE, SIZE) of peak 1."""
    return torch.exp(-0.5 * ((X - x) ** 2 + ((Y - y) / q) ** 2) / sigma**2)


def features(*bands: Tensor, noise: float = 0.0) -> dict[str, float]:
    pixels = torch.stack(bands)[None]
    pixels = pixels + noise * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(1))
    [row] = measure(Batch.of(pixels)).tolist()
    return dict(zip(feature_names(len(bands)), row, strict=True))


def test_a_round_gaussian_has_its_known_size_and_concentration() -> None:
    found = features(gaussian(6.0))
    assert math.exp(found["log size"]) * SIZE / 2 == pytest.approx(6.0 * math.sqrt(2 * math.log(2)), rel=0.05)
    assert found["concentration"] == pytest.approx(5 * math.log10(math.sqrt(math.log(0.2) / math.log(0.8))), abs=0.15)
    assert found["ellipticity"] == pytest.approx(0, abs=1e-4)
    assert found["asymmetry"] == pytest.approx(0, abs=1e-3)
    assert found["offset"] == pytest.approx(0, abs=1e-4)
    # The brightest fifth of a Gaussian's light lies within r20, and has (1 - 0.8 (1 - ln 0.8)) of the second moment.
    share = 1 - 0.8 * (1 - math.log(0.8))
    assert found["M20"] == pytest.approx(math.log10(share), abs=0.1)


@pytest.mark.parametrize("q", [0.3, 0.6])
def test_ellipticity_is_that_of_second_moments(q: float) -> None:
    assert features(gaussian(7.0, q))["ellipticity"] == pytest.approx((1 - q**2) / (1 + q**2), abs=0.01)


def test_gini_tells_even_light_from_one_bright_pixel() -> None:
    disc = (torch.hypot(X, Y) < 12).float()
    spike = 0.01 * disc
    spike[SIZE // 2, SIZE // 2] = 100.0
    assert features(disc)["Gini"] < 0.2
    assert features(spike)["Gini"] > 0.9


def test_a_second_source_shows() -> None:
    one, two = features(gaussian(4.0)), features(gaussian(4.0) + 0.8 * gaussian(3.0, y=16, x=-14))
    for name in ("asymmetry", "offset", "M20", "light outside"):
        assert two[name] > one[name] + 0.1, name


def test_noise_is_no_asymmetry() -> None:
    assert abs(features(gaussian(6.0), noise=0.02)["asymmetry"]) < 0.05
    assert abs(features(torch.zeros(SIZE, SIZE), noise=0.1)["asymmetry"]) < 0.05


def test_colours_and_their_gradient() -> None:
    same = features(2 * gaussian(6.0), gaussian(6.0), noise=0.001)
    assert same["colour 0-1"] == pytest.approx(math.log(2), abs=0.01)
    assert same["colour gradient 0-1"] == pytest.approx(0, abs=0.01)
    assert features(gaussian(4.0), gaussian(8.0), noise=0.001)["colour gradient 0-1"] > 0.3
    assert features(torch.zeros(SIZE, SIZE), torch.zeros(SIZE, SIZE), noise=0.1)["colour 0-1"] == pytest.approx(
        0, abs=1.5
    )


def test_a_turned_or_mirrored_image_measures_the_same() -> None:
    draw = torch.Generator().manual_seed(2)
    pixels = torch.rand(1, 3, SIZE, SIZE, generator=draw) * gaussian(9.0, 0.5, y=5)
    expected = measure(Batch.of(pixels))
    for turned in (pixels.rot90(1, (2, 3)), pixels.flip(2), pixels.flip(3)):
        torch.testing.assert_close(measure(Batch.of(turned)), expected, atol=2e-3, rtol=2e-3)


def test_a_few_missing_pixels_change_little_and_are_never_read() -> None:
    pixels = torch.stack([gaussian(6.0, 0.7), 0.5 * gaussian(6.0, 0.7)])[None]
    pixels = pixels + 0.01 * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(3))
    observed = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(4)) > 0.03
    holes = Batch(torch.where(observed, pixels, torch.nan), observed)
    refilled = Batch(torch.where(observed, pixels, 7.0), observed)
    assert torch.equal(measure(holes), measure(refilled))
    torch.testing.assert_close(measure(holes), measure(Batch.of(pixels)), atol=0.15, rtol=0.1)


def test_every_number_is_finite() -> None:
    draw = torch.Generator().manual_seed(5)
    odd = {
        "nothing": torch.zeros(1, 3, 8, 8),
        "huge": 1e8 * torch.randn(1, 3, 8, 8, generator=draw),
        "negative": -torch.rand(1, 3, 8, 8, generator=draw),
        "one pixel": torch.ones(1, 3, 1, 1),
    }
    for what, pixels in odd.items():
        for observed in (torch.ones_like(pixels, dtype=torch.bool), torch.zeros_like(pixels, dtype=torch.bool)):
            found = measure(Batch(pixels, observed))
            assert found.shape == (1, len(feature_names(3))), what
            assert found.isfinite().all(), what
    assert len(feature_names(1)) == len(SHAPES)


@pytest.mark.parametrize("brightest", [1e18, 1e25])
def test_a_pixel_brighter_than_any_galaxy_leaves_every_number_finite(brightest: float) -> None:
    pixels = torch.randn(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    pixels[:, :, 8, 8] = brightest
    assert measure(Batch.of(pixels)).isfinite().all()
