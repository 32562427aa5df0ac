import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from galflow.errors import DataError, SpecError
from galflow.surveys.base import REQUIRED_COLUMNS, Image, Plane
from galflow.surveys.reading.detection import DetectionOptions, detect, schema
from galflow.surveys.reading.identity import id_base

BASE = id_base(77)
TRUE_SIGMA = 2.5


def field(shape=(220, 260), seed=3, amplitude=60.0):
    """Round Gaussians on a loose grid: images of two bands, true positions (n, 2) as x, y, and true fluxes (n,)."""
    rng = np.random.default_rng(seed)
    y, x = (g.ravel() + rng.uniform(-6, 6, g.size) for g in np.mgrid[25 : shape[0] - 20 : 40, 25 : shape[1] - 20 : 40])
    heights = amplitude * rng.uniform(1, 10, len(x))
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    light = sum(
        h * np.exp(-((yy - b) ** 2 + (xx - a) ** 2) / 2 / TRUE_SIGMA**2) for a, b, h in zip(x, y, heights, strict=True)
    )
    images = {
        band: Image((factor * light + rng.normal(5, noise, shape)).astype(np.float32), "nJy", 0.2)
        for band, factor, noise in (("g", 1.0, 2.0), ("r", 2.0, 6.0))
    }
    return images, np.column_stack([x, y]), heights * 2 * np.pi * TRUE_SIGMA**2


@pytest.fixture(scope="module")
def scene():
    return field()


def test_every_source_is_found_where_it_is(scene):
    images, truth, _ = scene
    table = detect(images, DetectionOptions(), BASE)
    assert table.schema == schema(["g", "r"])
    assert set(REQUIRED_COLUMNS) <= set(table.column_names)
    found = np.column_stack([table["x"], table["y"]])
    distance, index = cKDTree(found).query(truth)
    assert table.num_rows == len(truth)
    assert distance.max() < 0.3
    radius = np.array(table["half_light_radius_pix"])[index]
    assert np.median(radius) == pytest.approx(1.1774 * TRUE_SIGMA, rel=0.1)
    assert np.median(np.array(table["a_pix"])[index]) == pytest.approx(TRUE_SIGMA, rel=0.2)
    assert table["ra_deg"].null_count == table.num_rows


def test_fluxes_of_background_free_images_are_right(scene):
    images, truth, fluxes = scene
    flat = {band: Image(image.flux - np.float32(5), "nJy", 0.2) for band, image in images.items()}
    table = detect(flat, DetectionOptions(), BASE)
    _, index = cKDTree(np.column_stack([table["x"], table["y"]])).query(truth)
    for band, factor in (("g", 1.0), ("r", 2.0)):
        ratio = np.array(table[f"flux_{band}"])[index] / (factor * fluxes)
        assert np.median(ratio) == pytest.approx(0.97, abs=0.05)


def test_ids_are_the_peak_pixels_and_the_order(scene):
    images, _, _ = scene
    table = detect(images, DetectionOptions(), BASE)
    ids = np.array(table["object_id"])
    assert (np.diff(ids) > 0).all()
    assert (ids - BASE == np.array(table["peak_y"]) * 260 + np.array(table["peak_x"])).all()
    again = detect(images, DetectionOptions(deblend_levels=16), BASE)
    assert np.array_equal(np.array(again["object_id"]), ids)


def test_noise_alone_holds_no_objects():
    rng = np.random.default_rng(5)
    noise = {band: Image(rng.normal(0, 1, (400, 400)).astype(np.float32), "nJy", 0.2) for band in "gri"}
    assert detect(noise, DetectionOptions(), BASE).num_rows == 0


def test_missing_pixels_are_no_objects_and_hide_none(scene):
    images, truth, _ = scene
    flux = images["g"].flux.copy()
    flux[:, :60] = np.nan
    mask = np.zeros(flux.shape, dtype=np.uint16)
    flux[100:110, 150:160], mask[100:110, 150:160] = 1e5, Plane.BAD
    table = detect({"g": Image(flux, "nJy", 0.2, mask=mask)}, DetectionOptions(), BASE)
    x, y = np.array(table["x"]), np.array(table["y"])
    assert (x > 59).all()
    assert not ((abs(x - 154.5) < 5) & (abs(y - 104.5) < 5)).any()
    clear = truth[(truth[:, 0] > 70) & ((abs(truth[:, 0] - 154.5) > 20) | (abs(truth[:, 1] - 104.5) > 20))]
    assert cKDTree(np.column_stack([x, y])).query(clear)[0].max() < 0.5


def test_an_empty_image_gives_an_empty_table_of_the_same_columns():
    nothing = {"g": Image(np.full((64, 64), np.nan, dtype=np.float32), "nJy", 0.2)}
    assert detect(nothing, DetectionOptions(), BASE).equals(schema(["g"]).empty_table())


def test_noisier_parts_need_brighter_sources():
    rng = np.random.default_rng(6)
    noise = np.ones((300, 300), dtype=np.float32)
    noise[:, 150:] = 8
    ivar = (noise**-2).astype(np.float32)
    flux = (rng.normal(0, 1, noise.shape) * noise).astype(np.float32)
    assert detect({"g": Image(flux, "nJy", 0.2)}, DetectionOptions(), BASE).num_rows > 50
    assert detect({"g": Image(flux, "nJy", 0.2, ivar=ivar)}, DetectionOptions(), BASE).num_rows == 0


def test_sky_positions_follow_the_wcs(scene):
    images, _, _ = scene
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [130.5, 110.5]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    table = detect({"g": Image(images["g"].flux, "nJy", 0.2, wcs=wcs)}, DetectionOptions(), BASE)
    x, y = wcs.world_to_pixel_values(table["ra_deg"], table["dec_deg"])
    assert np.allclose(x, table["x"], atol=1e-6)
    assert np.allclose(y, table["y"], atol=1e-6)


def test_bands_are_chosen_and_refused(scene):
    images, _, _ = scene
    only = detect(images, DetectionOptions(bands=("r",)), BASE)
    assert only.column_names == detect(images, DetectionOptions(), BASE).column_names
    with pytest.raises(DataError, match="asked for in z, but the tile has g, r"):
        detect(images, DetectionOptions(bands=("z",)), BASE)
    with pytest.raises(DataError, match="more than max_objects = 3"):
        detect(images, DetectionOptions(max_objects=3), BASE)
    with pytest.raises(DataError, match="at least one band; got none"):
        detect({}, DetectionOptions(), BASE)
    with pytest.raises(SpecError, match="multiple of 2"):
        detect(images, DetectionOptions(), 77)


def _one_source(width: float) -> Image:
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:200, :200]
    light = 1e5 / (2 * np.pi * width**2) * np.exp(-((y - 99.7) ** 2 + (x - 100.2) ** 2) / 2 / width**2)
    return Image((light + rng.normal(0, 2.0, (200, 200))).astype(np.float32), "nJy", 0.2)


def test_apertures_are_kron_s() -> None:
    """A Gaussian's Kron radius is sqrt(pi / 2) of its width; 2.5 of them hold 1 - exp(-(2.5^2 pi / 4)) of its light."""
    table = detect({"r": _one_source(4.0)}, DetectionOptions(), BASE)
    assert table.num_rows == 1
    share = 1 - np.exp(-(2.5**2) * np.pi / 4)
    assert table["flux_r"][0].as_py() / 1e5 == pytest.approx(share, abs=0.008)
    error = 2.0 * np.sqrt(np.pi) * 2.5 * np.sqrt(np.pi / 2) * 4.0
    assert table["snr"][0].as_py() == pytest.approx(1e5 * share / error, rel=0.06)


def test_apertures_are_no_smaller_than_3_5_pixels() -> None:
    table = detect({"r": _one_source(0.9)}, DetectionOptions(min_area_pixels=3), BASE)
    assert table.num_rows == 1
    assert table["snr"][0].as_py() == pytest.approx(1e5 / (2.0 * np.sqrt(np.pi) * 3.5), rel=0.06)
