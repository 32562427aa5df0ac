"""Ready-made images of mixed sizes and scales: what is conserved, where the centre goes, what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from galflow.errors import DataError
from galflow.surveys.base import Plane
from galflow.surveys.reading.stamp_sizing import (
    SizeChange,
    Sizing,
    StampPlanes,
    centre_pixel,
    reshape,
    without_background,
)

NO_DATA = int(Plane.NO_DATA)


def shaped(pixels: np.ndarray, **how: Any) -> np.ndarray:
    return reshape(StampPlanes(pixels), Sizing(**how), 1.0, "a")[0].flux


def noisy(height: int, width: int, bands: int = 2) -> StampPlanes:
    """Pixels whose variance differs from one to the next, one of them missing, one saturated."""
    rng = np.random.default_rng(5)
    shape = (bands, height, width)
    ivar = rng.uniform(0.5, 2.0, shape).astype(np.float32)
    mask = np.zeros(shape, np.uint16)
    flux = rng.normal(3.0, 1.0, shape).astype(np.float32)
    flux[0, 1, 2], ivar[0, 1, 2], mask[0, 1, 2] = np.nan, 0, NO_DATA
    mask[1, 8, 9] = int(Plane.SATURATED)
    return StampPlanes(flux, ivar, mask)


def test_blocks_conserve_flux_or_level_and_keep_the_centre() -> None:
    pixels = np.random.default_rng(1).normal(10.0, 1.0, size=(2, 25, 26)).astype(np.float32)
    summed = shaped(pixels, block=4)
    assert summed.shape == (2, 6, 6)
    np.testing.assert_allclose(summed.sum(), pixels[:, :24, 1:25].sum(), rtol=1e-6)
    expected = np.array(
        [
            [[pixels[b, 4 * i : 4 * i + 4, 1 + 4 * j : 5 + 4 * j].mean() for j in range(6)] for i in range(6)]
            for b in range(2)
        ]
    )
    np.testing.assert_allclose(shaped(pixels, block=4, mode="mean"), expected, rtol=1e-5)
    for side, crop in ((25, 9), (26, 9), (26, 8), (25, 8)):
        marked = np.zeros((1, side, side), np.float32)
        marked[0, side // 2, side // 2] = 1.0
        cropped = shaped(marked, crop=crop)
        assert cropped.shape == (1, crop, crop)
        assert cropped[0, crop // 2, crop // 2] == 1.0
    with pytest.raises(DataError, match="a has 25 x 26 pixels, too few for crop = 30; lower the option, or pad: true"):
        shaped(pixels, crop=30)


def test_variances_of_blocks_add_and_flags_are_joined() -> None:
    planes = noisy(12, 12)
    for mode, share in (("sum", 1.0), ("mean", 1 / 16**2)):
        made, change = reshape(planes, Sizing(block=4, mode=mode), 1.0, "a")
        assert made.ivar is not None
        assert made.mask is not None
        assert change == SizeChange((12, 12), binned=True)
        with np.errstate(divide="ignore"):
            variance = (1 / planes.ivar.astype(float)).reshape(2, 3, 4, 3, 4).sum(axis=(2, 4)) * share
        expected = 1 / variance
        assert expected[0, 0, 0] == 0
        np.testing.assert_allclose(made.ivar, expected, rtol=1e-5)
        assert np.isnan(made.flux[0, 0, 0])
        assert made.mask[0, 0, 0] == NO_DATA
        assert made.mask[1, 2, 2] == int(Plane.SATURATED)
        assert np.count_nonzero(made.mask) == 2


def test_what_is_padded_is_missing_and_the_rest_is_as_it_was() -> None:
    planes = noisy(11, 20)
    made, change = reshape(planes, Sizing(crop=16, pad=True), 1.0, "a")
    assert change == SizeChange((11, 20), cropped=True, padded=True)
    assert made.flux.shape == (2, 16, 16)
    top, left = 8 - 11 // 2, 20 // 2 - 8
    inner = (slice(None), slice(top, top + 11))
    np.testing.assert_array_equal(made.flux[inner], planes.flux[:, :, left : left + 16])
    np.testing.assert_array_equal(made.ivar[inner], planes.ivar[:, :, left : left + 16])
    outer = np.ones(16, bool)
    outer[inner[1]] = False
    assert np.isnan(made.flux[:, outer]).all()
    assert (made.ivar[:, outer] == 0).all()
    assert (made.mask[:, outer] == NO_DATA).all()


@pytest.mark.parametrize("wanted", [0.5, 0.3, 0.168])
def test_resampling_conserves_flux_and_propagates_variance(wanted: float) -> None:
    """A star keeps its flux; the variance of the sum over many pixels stays what it was, but for what is correlated."""
    y, x = np.mgrid[:61, :61] - 30
    star = (1000 / (2 * np.pi * 9) * np.exp(-(x**2 + y**2) / 18)).astype(np.float32)[None]
    planes = StampPlanes(star, np.full(star.shape, 4.0, np.float32), np.zeros(star.shape, np.uint16))
    made, change = reshape(planes, Sizing(resample_arcsec=wanted), 0.2, "a")
    ratio = wanted / 0.2
    side = made.flux.shape[1]
    assert change == SizeChange((61, 61), resampled=True)
    assert abs(side * ratio - 61) <= 2 * ratio
    assert made.flux.sum() == pytest.approx(1000, rel=2e-3)
    assert np.unravel_index(made.flux[0].argmax(), (side, side)) == (side // 2, side // 2)
    assert (made.ivar > 0).all()
    if ratio > 1:  # of pixels that share none
        centre = made.ivar[0, side // 2, side // 2]
        weights = np.clip(ratio / 2 + 0.5 - np.abs(np.arange(-3, 4)), 0, 1)
        assert centre == pytest.approx(4.0 / (weights**2).sum() ** 2, rel=1e-3)
    level, _ = reshape(
        StampPlanes(np.full((1, 61, 61), 7, np.float32)), Sizing(resample_arcsec=wanted, mode="mean"), 0.2, "a"
    )
    np.testing.assert_allclose(level.flux, 7, rtol=1e-5)
    assert (level.ivar, level.mask) == (None, None)


def test_what_was_missing_is_missing_after_resampling() -> None:
    planes = noisy(24, 24)
    made, _ = reshape(planes, Sizing(resample_arcsec=0.4), 0.2, "a")
    assert ((made.ivar == 0) == np.isnan(made.flux)).all()
    assert 1 <= (made.ivar[0] == 0).sum() <= 4
    assert (made.ivar[1] > 0).all()
    assert (made.mask[1] & int(Plane.SATURATED)).any()


def test_the_background_is_the_rims_median_and_ignores_the_galaxy() -> None:
    pixels = np.full((2, 32, 32), 5.0, np.float32)
    pixels[1] = 9.0
    pixels[:, 8:24, 8:24] += 100.0
    pixels[0, 0, :4] = np.nan
    level = without_background(pixels)
    assert (level[:, 6, 6] == 0.0).all()
    assert (level[:, 16, 16] == 100.0).all()
    assert np.isnan(without_background(np.full((1, 8, 8), np.nan, np.float32))).all()


@pytest.mark.parametrize("side", [60, 61])
@pytest.mark.parametrize("crop", [None, 12, 13, 40])
@pytest.mark.parametrize("block", [1, 2, 3, 4])
@pytest.mark.parametrize("wanted", [None, 2.0, 3.0])
def test_the_centre_pixel_is_found_again_in_the_files_pixels(
    side: int, crop: int | None, block: int, wanted: float | None
) -> None:
    sizing = Sizing(wanted, crop, crop is not None, block, "mean")
    x = np.broadcast_to(np.arange(side, dtype=np.float32), (1, side, side))
    made = reshape(StampPlanes(x), sizing, 1.0, "a")[0].flux
    middle = made.shape[1] // 2
    assert centre_pixel((side, side), sizing, 1.0)[1] == pytest.approx(made[0, middle, middle], abs=1e-4)
