import math

import numpy as np
import pytest
from scipy import stats

from galflow.errors import DataError, SpecError
from galflow.surveys.base import Image, Plane
from galflow.surveys.reading import sky as sky_module
from galflow.surveys.reading.background import subtract_background
from galflow.surveys.reading.sky import measure_sky, with_ivar


def starry(shape, seed=1, level=100.0, sigma=3.0, gradient=0.0):
    """Normal sky with one source per 5000 pixels, and the sky alone."""
    rng = np.random.default_rng(seed)
    empty = rng.normal(level, sigma, shape) + gradient * np.arange(shape[0])[:, None] / shape[0]
    flux = empty.copy()
    yy, xx = np.mgrid[:40, :40] - 20
    for y, x in zip(
        rng.integers(0, shape[0] - 40, flux.size // 5000),
        rng.integers(0, shape[1] - 40, flux.size // 5000),
        strict=True,
    ):
        width, height = rng.uniform(1.5, 4), 10 ** rng.uniform(1, 4)
        flux[y : y + 40, x : x + 40] += height * np.exp(-(yy**2 + xx**2) / 2 / width**2)
    return flux.astype(np.float32), empty


@pytest.mark.parametrize("shape", [(200, 150), (900, 1100)])
def test_sky_under_sources(shape):
    flux, empty = starry(shape)
    sky = measure_sky(flux)
    assert sky.sigma == pytest.approx(empty.std(), rel=0.02)
    assert sky.level == pytest.approx(empty.mean(), abs=0.05 * empty.std())
    assert flux.std() > 5 * empty.std(), "the sources must matter for this test"


def test_quartile_constant():
    inside = 2 * stats.norm.cdf(3) - 1
    assert pytest.approx(0.5 / stats.norm.ppf(0.5 + 0.25 * inside), rel=1e-5) == sky_module.QUARTILES_TO_SIGMA


def test_unusable_pixels_play_no_part():
    flux, _ = starry((300, 300))
    expected = measure_sky(flux[:, :100])
    mask = np.zeros(flux.shape, dtype=np.uint16)
    flux[:, 100:200], mask[:, 100:200] = 1e6, Plane.BAD
    flux[:, 200:] = np.nan
    assert measure_sky(flux, mask).sigma == pytest.approx(expected.sigma, rel=0.02)


def test_a_sliver_of_data_is_not_overlooked():
    flux, empty = starry((1500, 1500))
    mask = np.full(flux.shape, Plane.NO_DATA, dtype=np.uint16)
    mask[20:24, 100:400] = 0
    assert measure_sky(flux, mask).sigma == pytest.approx(empty[20:24, 100:400].std(), rel=0.1)


def test_quantised_pixels_have_a_sigma_too():
    rng = np.random.default_rng(2)
    flux = np.round(rng.normal(0, 0.4, (128, 128))).astype(np.float32)
    assert measure_sky(flux).sigma == pytest.approx(flux.std(), rel=0.1)


@pytest.mark.parametrize(
    ("flux", "text"),
    [
        (np.full((50, 50), np.nan), "0 usable finite pixels"),
        (np.full((50, 50), 7.0), "all have the value 7"),
        (np.ones((5, 5)), "25 usable finite pixels"),
    ],
)
def test_no_sky_is_a_data_error(flux, text):
    with pytest.raises(DataError, match=text):
        measure_sky(flux.astype(np.float32))


def test_backgrounds():
    flux, _ = starry((512, 512), gradient=60.0)
    flux[5, 5] = np.nan
    assert subtract_background(flux, None, "none") is flux
    constant = subtract_background(flux, None, "constant")
    assert constant.dtype == np.float32
    assert np.nanstd(constant - flux) < 1e-4
    mesh = subtract_background(flux, None, "mesh", mesh_pixels=64)
    truth = flux - (100 + 60 * np.arange(512)[:, None] / 512)
    assert abs(np.nanmedian(mesh - truth)) < 0.5
    assert np.nanmax(np.abs(np.nanmedian(mesh - truth, axis=1))) < 3 < np.ptp(np.nanmedian(constant - truth, axis=1))
    assert np.isnan(mesh[5, 5])
    assert not np.isnan(mesh[6, 6])
    with pytest.raises(SpecError, match="mesh is 4 pixels"):
        subtract_background(flux, None, "mesh", mesh_pixels=4)


@pytest.mark.parametrize("method", ["constant", "mesh"])
def test_an_empty_image_has_no_background(method):
    flux = np.full((64, 64), np.nan, dtype=np.float32)
    assert np.isnan(subtract_background(flux, None, method)).all()


def test_ivar_from_the_sky():
    flux, empty = starry((300, 300))
    flux[0, 0], flux[0, 1] = np.nan, np.inf
    mask = np.zeros(flux.shape, dtype=np.uint16)
    mask[0, 2], mask[0, 3] = Plane.COSMIC_RAY, Plane.SATURATED
    image, sigma = with_ivar(Image(flux, "nJy", 0.2, mask=mask))
    assert sigma == pytest.approx(empty.std(), rel=0.02)
    assert image.ivar[0, :3].tolist() == [0, 0, 0]
    assert image.ivar[0, 3] == pytest.approx(sigma**-2)
    assert image.mask[0, :4].tolist() == [Plane.NO_DATA, Plane.NO_DATA, Plane.COSMIC_RAY, Plane.SATURATED]
    assert np.isnan(image.flux[0, 1])
    assert mask[0, 0] == 0, "the survey's own mask stays as it is"


def test_ivar_of_the_survey_is_kept():
    flux, _ = starry((100, 100))
    ivar = np.full(flux.shape, 0.25, dtype=np.float32)
    ivar[1, :3] = np.nan, -1, np.inf
    image, _ = with_ivar(Image(flux, "nJy", 0.2, ivar=ivar))
    assert image.ivar[1, :4].tolist() == [0, 0, 0, 0.25]


def test_an_empty_tile_is_all_no_data():
    image, sigma = with_ivar(Image(np.full((40, 40), np.nan, dtype=np.float32), "nJy", 0.2))
    assert math.isnan(sigma)
    assert (image.mask == Plane.NO_DATA).all()
    assert (image.ivar == 0).all()


def test_planes_of_one_value_cost_no_memory():
    flux, _ = starry((200, 200))
    image, sigma = with_ivar(Image(flux, "nJy", 0.2))
    assert image.flux is flux
    assert image.ivar.strides == image.mask.strides == (0, 0)
    assert image.ivar[7, 8] == np.float32(sigma**-2)
    assert image.mask[7, 8] == 0


def test_a_finite_image_whose_sum_overflows_is_complete():
    flux, _ = starry((200, 200))
    flux[:2, :100] = 3e38
    image, _ = with_ivar(Image(flux, "nJy", 0.2))
    assert image.mask.strides == (0, 0)
    np.testing.assert_array_equal(image.flux, flux)


def test_unusable_pixels_lose_the_ivar_that_the_survey_gave():
    flux, _ = starry((100, 100))
    ivar = np.full(flux.shape, 0.25, dtype=np.float64)
    mask = np.zeros(flux.shape, dtype=np.int16)
    mask[2, :2] = Plane.BAD, Plane.SATURATED
    image, _ = with_ivar(Image(flux, "nJy", 0.2, ivar=ivar, mask=mask))
    assert image.ivar[2, :3].tolist() == [0, 0.25, 0.25]
    assert (image.ivar.dtype, image.mask.dtype) == (np.float32, np.uint16)
    assert ivar[2, 0] == 0.25, "the survey's own plane stays as it is"
