"""The sky is that of observed pixels: pixels without exposure, or without noise, must be neither measured nor lost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from galflow.errors import DataError
from galflow.surveys.base import Image, Plane
from galflow.surveys.reading.background import sky_level, subtract_background
from galflow.surveys.reading.sky import NOMINAL_NOISE, complete_image, look_at_sky, measure_sky, with_ivar
from galflow.surveys.reading.unexposed import LEAST_AREA, equal_areas

SIDE = 320


def noise(level: float, sigma: float = 2.0, seed: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(level, sigma, (SIDE, SIDE)).astype(np.float32)


def without_exposure(flux: np.ndarray, share: float, how: str) -> np.ndarray:
    """The pixels that a share of a tile loses: one side of it, or pixels here and there."""
    lost = np.zeros(flux.shape, bool)
    if how == "side":
        lost[:, : round(share * SIDE)] = True
    else:
        lost[:] = np.random.default_rng(9).random(flux.shape) < share
    flux[lost] = 0
    return lost


@pytest.mark.parametrize("how", ["side", "scattered"])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("level", [0.0, 3.0, 5.0, 10.0, -700.0])
def test_zeros_without_exposure_bias_neither_level_nor_noise(level: float, share: float, how: str) -> None:
    flux = noise(level)
    without_exposure(flux, share, how)
    sky = measure_sky(flux)
    assert sky.level == pytest.approx(level, abs=0.06)
    assert sky.sigma == pytest.approx(2.0, rel=0.03)
    assert sky_level(flux, None) == sky.level


@pytest.mark.parametrize("weightless", [0.0, -1.0, np.nan, np.inf, 1e-33])
def test_pixels_without_a_weight_take_no_part_whatever_they_hold(weightless: float) -> None:
    flux, ivar = noise(10.0), np.full((SIDE, SIDE), 0.25, np.float32)
    flux[:200], ivar[:200] = np.random.default_rng(1).normal(40, 5, (200, SIDE)), weightless
    assert measure_sky(flux).level > 30, "their values matter for this test"
    sky = measure_sky(flux, None, ivar)
    assert (sky.level, sky.sigma) == pytest.approx((10.0, 2.0), abs=0.1)
    assert sky_level(flux, None, ivar) == sky.level
    np.testing.assert_array_equal(subtract_background(flux, None, "constant", ivar=ivar), flux - np.float32(sky.level))
    mesh = subtract_background(flux, None, "mesh", 64, ivar)
    assert abs(np.median(mesh[220:])) < 0.2
    image, sigma = with_ivar(Image(flux, "nJy", 0.2, ivar=ivar))
    assert image.ivar is not None
    assert sigma == pytest.approx(2.0, rel=0.03)
    assert (image.ivar[:200] == 0).all()
    assert (image.ivar[200:] == 0.25).all()


def test_a_tile_whose_weights_all_stand_for_no_exposure_is_lost_in_words() -> None:
    complete = complete_image(Image(noise(0.0), "nJy", 0.2, ivar=np.full((SIDE, SIDE), 1e-33, np.float32)))
    assert complete.image.ivar is not None
    assert not complete.image.ivar.any()
    assert complete.lost == "none of its pixels has a weight"


@pytest.mark.parametrize("level", [-0.5, 0.0, 10.0])
def test_connected_zeros_of_a_survey_without_weights_are_no_data_and_single_ones_stay(level: float) -> None:
    flux = noise(level)
    lost = without_exposure(flux, 0.2, "side")
    flux[100, 200], flux[50:52, 150:152] = 0, 0
    flux[7, 64:200] = 0  # a row of a dead amplifier, one pixel high
    lost[7, 64:200] = True
    image, sigma = with_ivar(Image(flux, "nJy", 0.2))
    assert image.mask is not None
    assert image.ivar is not None
    np.testing.assert_array_equal(image.mask == Plane.NO_DATA, lost)
    np.testing.assert_array_equal(image.ivar == 0, lost)
    assert image.ivar[~lost] == pytest.approx(sigma**-2)
    constant = subtract_background(flux, None, "constant")
    again, _ = with_ivar(Image(constant, "nJy", 0.2))
    np.testing.assert_array_equal(again.ivar == 0, lost)  # the order of reading and subtracting does not matter
    mesh, _ = with_ivar(Image(subtract_background(flux, None, "mesh", 64), "nJy", 0.2))
    np.testing.assert_array_equal(mesh.ivar == 0, lost)


def test_an_undeclared_ceiling_is_not_sky_but_stays_data() -> None:
    flux = noise(10.0)
    flux[:40, :40] = 65535
    image, sigma = with_ivar(Image(flux, "nJy", 0.2))
    assert sigma == pytest.approx(2.0, rel=0.03)
    assert image.mask is not None
    assert not image.mask.any()


@pytest.mark.parametrize(("level", "sigma"), [(0.0, 0.4), (0.3, 0.6), (12.0, 3.0), (100.0, 5.0), (0.0, 20.0)])
def test_values_of_quantised_pixels_are_equal_by_nature(level: float, sigma: float) -> None:
    flux = np.round(noise(level, sigma))
    assert look_at_sky(flux).unexposed == ()
    assert measure_sky(flux).sigma == pytest.approx(math.hypot(sigma, 0.29), rel=0.35)
    assert with_ivar(Image(flux, "count", 0.2))[0].ivar.strides == (0, 0)  # type: ignore[union-attr]


@pytest.mark.parametrize(("level", "sigma"), [(100.0, 10.0), (0.0, 20.0)])
def test_whole_numbers_with_a_hole_are_told_from_those_without(level: float, sigma: float) -> None:
    flux = np.round(noise(level, sigma))
    lost = without_exposure(flux, 0.25, "side")
    sky = measure_sky(flux)
    assert (sky.level, sky.sigma) == pytest.approx((level, sigma), abs=0.08 * sigma)
    image, _ = with_ivar(Image(flux, "count", 0.2))
    assert (np.asarray(image.ivar == 0) == lost).mean() > 0.999


def test_photon_counts_keep_their_zeros() -> None:
    for mean in (0.05, 0.5, 3.0):
        flux = np.random.default_rng(3).poisson(mean, (SIDE, SIDE)).astype(np.float32)
        image, sigma = with_ivar(Image(flux, "count", 0.2))
        assert sigma == pytest.approx(math.sqrt(mean), rel=0.3)
        assert image.ivar is not None
        assert (image.ivar > 0).all()


# --- images without noise


def galaxies(fwhm: float, cut: float = 0.0, sky: float = 0.0, gap: bool = False) -> np.ndarray:
    """A mosaic of noise-free round galaxies, exactly ``sky`` where they are below ``cut``; NaN between the stamps."""
    rng, width = np.random.default_rng(5), fwhm / 2.3548
    y, x = np.mgrid[:64, :64]
    mosaic = np.full((SIDE, SIDE), float(sky))
    for row in range(0, SIDE, 64):
        for column in range(0, SIDE, 64):
            r2 = (y - 32 - rng.uniform(-0.5, 0.5)) ** 2 + (x - 32 - rng.uniform(-0.5, 0.5)) ** 2
            light = rng.uniform(100, 1000) * np.exp(-0.5 * r2 / width**2)
            mosaic[row : row + 64, column : column + 64] += np.where(light < cut, 0, light)
    if gap:
        mosaic[np.arange(SIDE) % 64 < 4] = np.nan
    return mosaic.astype(np.float32)


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize(
    ("fwhm", "cut", "sky"), [(6, 0, 0), (25, 0, 0), (6, 0.01, 0), (7, 10, 0), (6, 0, 10), (9, 5, 3)]
)
def test_pixels_without_noise_are_known_and_said_to_have_none(fwhm: float, cut: float, sky: float, gap: bool) -> None:
    flux = galaxies(fwhm, cut, sky, gap)
    with pytest.raises(DataError, match=r"no noise is measurable: .* declare stretch\.sky_sigma"):
        measure_sky(flux)
    complete = complete_image(Image(flux, "nJy", 0.2))
    image = complete.image
    assert image.ivar is not None
    assert math.isnan(complete.sigma)
    assert complete.lost is None
    assert complete.doubt is not None
    assert "no noise is measurable" in complete.doubt
    assert "inverse variance is nominal, 1 / (0.001 of the brightest pixel)^2" in complete.doubt
    seen = np.isfinite(flux)
    np.testing.assert_array_equal(image.ivar > 0, seen)
    brightest = np.nanmax(np.abs(flux - np.float32(sky)))
    assert image.ivar[seen] == pytest.approx((NOMINAL_NOISE * brightest) ** -2, rel=0.02)
    assert not (image.mask[seen] if image.mask is not None else np.zeros(1)).any()


@pytest.mark.parametrize("fwhm", [0.0, 2.0, 4.0, 6.0])
def test_noise_that_neighbours_share_is_noise_all_the_same(fwhm: float) -> None:
    smoothed = ndimage.gaussian_filter(noise(0.0), fwhm / 2.3548) if fwhm else noise(0.0)
    smoothed = (smoothed + 0.01 * galaxies(12)).astype(np.float32)
    assert measure_sky(smoothed).sigma == pytest.approx(np.std(smoothed[::64]), rel=0.2)
    lost = without_exposure(smoothed, 0.3, "side")
    np.testing.assert_array_equal(with_ivar(Image(smoothed, "nJy", 0.2))[0].ivar == 0, lost)


def test_extreme_units_keep_the_inverse_variance_finite() -> None:
    for factor in (1e-25, 1e25):
        complete = complete_image(Image((noise(0.0) * factor).astype(np.float32), "nJy", 0.2))
        assert complete.image.ivar is not None
        assert np.isfinite(complete.image.ivar).all()
        assert (complete.image.ivar > 0).all()
        assert complete.doubt is not None
        assert "another unit" in complete.doubt


def test_what_is_lost_is_said() -> None:
    for value, words in ((np.nan, "0 usable finite pixels"), (0.0, "all have the value 0")):
        complete = complete_image(Image(np.full((50, 50), value, np.float32), "nJy", 0.2))
        assert complete.lost is not None
        assert words in complete.lost
        assert complete.doubt is None


def test_equal_areas_do_not_depend_on_the_strips_they_are_found_in(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    flux = np.where(rng.random((150, 90)) < 0.5, 0, rng.normal(size=(150, 90))).astype(np.float32)
    labels, count = ndimage.label(flux == 0)
    size = np.bincount(labels.ravel())
    expected = (labels > 0) & (size[labels] >= LEAST_AREA)
    assert count > 300
    np.testing.assert_array_equal(equal_areas(flux, (0.0,)), expected)
    monkeypatch.setattr("galflow.surveys.reading.unexposed._STRIP_PIXELS", 90 * 17)
    np.testing.assert_array_equal(equal_areas(flux, (0.0,)), expected)
