"""Cutouts against plain loops, astropy's Cutout2D, and scipy's interpolation through the whole WCS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy.nddata import Cutout2D
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from galflow.cutouts.extract import BEYOND, Grid, corners, cut_band, gather, grid_in_band, is_flawless
from galflow.errors import DataError
from galflow.surveys.base import Image, Plane
from galflow.surveys.reading.sky import with_ivar

MakeWcs = Callable[..., WCS]
MakeImage = Callable[..., Image]


def _loop(plane: np.ndarray, x0: np.ndarray, y0: np.ndarray, size: int, fill: float) -> np.ndarray:
    """The same windows by slicing a padded plane, one object at a time."""
    far = int(max(np.abs(x0).max(), np.abs(y0).max())) + size
    padded = np.pad(plane, far, constant_values=np.asarray(fill, plane.dtype))
    return np.stack([padded[y + far : y + far + size, x + far : x + far + size] for x, y in zip(x0, y0, strict=True)])


@pytest.mark.parametrize("size", [1, 8, 9, 30])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_gather_is_a_loop_over_slices_on_all_sides(size: int, dtype: Any) -> None:
    rng = np.random.default_rng(size)
    plane = (rng.random((25, 40)) * 1000).astype(dtype)
    # Every corner, every edge, wholly outside on each side, and the interior.
    x0, y0 = (v.ravel() for v in np.meshgrid(np.arange(-35, 60, 5), np.arange(-33, 45, 4)))
    fill = 65 if dtype is np.uint16 else np.nan
    expected = _loop(plane, x0, y0, size, fill)
    np.testing.assert_array_equal(gather(plane, x0, y0, size, fill), expected)
    out = np.zeros((len(x0), 3, size, size), dtype)
    assert gather(plane, x0, y0, size, fill, out[:, 1]).base is out
    np.testing.assert_array_equal(out[:, 1], expected)
    assert not out[:, [0, 2]].any()


def test_gather_of_interior_windows_only_and_of_none() -> None:
    plane = np.arange(600.0, dtype=np.float32).reshape(20, 30)
    x0, y0 = np.array([0, 22, 7]), np.array([0, 12, 3])
    np.testing.assert_array_equal(gather(plane, x0, y0, 8, np.nan), _loop(plane, x0, y0, 8, np.nan))
    assert gather(plane, x0[:0], y0[:0], 8, np.nan).shape == (0, 8, 8)


def test_gather_of_many_windows_is_complete() -> None:
    """More windows than are copied at once."""
    rng = np.random.default_rng(0)
    plane = rng.random((90, 80)).astype(np.float32)
    x0, y0 = rng.integers(-10, 80, 1500), rng.integers(-10, 90, 1500)
    np.testing.assert_array_equal(gather(plane, x0, y0, 16, np.nan), _loop(plane, x0, y0, 16, np.nan))


def test_a_plane_of_one_value_is_gathered_like_any_other() -> None:
    constant = np.broadcast_to(np.float32(0.25), (25, 40))
    x0, y0 = np.array([5, -3, 36, -50, 10]), np.array([5, 2, 22, 3, 90])
    np.testing.assert_array_equal(
        gather(constant, x0, y0, 8, 0.0), _loop(np.ascontiguousarray(constant), x0, y0, 8, 0.0)
    )


@pytest.mark.parametrize("size", [7, 8])
def test_cutouts_are_those_of_astropy(size: int, image: MakeImage) -> None:
    rng = np.random.default_rng(1)
    flux = rng.normal(size=(50, 60)).astype(np.float32)
    x, y = rng.uniform(-1, 60, 200), rng.uniform(-1, 50, 200)
    picture = image(flux, ivar=np.ones_like(flux))
    found = cut_band(picture, grid_in_band(x, y, size, picture, picture), size)
    for i in range(len(x)):
        # Cutout2D centres an even cutout between pixels: half a pixel less lands on galflow's pixel size // 2.
        centre = (
            np.floor(x[i] + 0.5) - (0.5 if size % 2 == 0 else 0),
            np.floor(y[i] + 0.5) - (0.5 if size % 2 == 0 else 0),
        )
        expected = Cutout2D(flux, centre, size, mode="partial", fill_value=np.nan).data
        np.testing.assert_array_equal(found.flux[i], expected)
    missing = np.isnan(found.flux)
    assert missing.any()
    assert (found.ivar[missing] == 0).all()
    assert (found.ivar[~missing] == 1).all()
    assert (found.mask[missing] == int(BEYOND)).all()
    assert (found.mask[~missing] == 0).all()


def test_the_object_lies_in_the_central_pixel() -> None:
    for size in (8, 9):
        for position, pixel in ((10.0, 10), (10.49, 10), (10.51, 11), (9.5, 10), (-0.5, 0)):
            assert corners(np.array([position]), size)[0] + size // 2 == pixel


def test_a_position_that_is_no_number_or_absurd_lies_outside(image: MakeImage) -> None:
    flux = np.ones((20, 20), np.float32)
    picture = image(flux, ivar=flux)
    x = np.array([np.nan, np.inf, -np.inf, 1e300, 10.0])
    found = cut_band(picture, grid_in_band(x, np.full(5, 10.0), 8, picture, picture), 8)
    assert np.isnan(found.flux[:4]).all()
    assert (found.flux[4] == 1).all()


# --- bands on other grids


def _sky_pattern(wcs: WCS, shape: tuple[int, int], reference: WCS) -> np.ndarray:
    """A smooth surface brightness on the sky (per reference pixel area), sampled on ``wcs``."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    sky = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    u, v = reference.all_world2pix(*sky, 0)
    return (10 + np.sin(u / 9) * np.cos(v / 7) + 0.02 * u).reshape(shape)


def _exact(flux: np.ndarray, band: WCS, reference: WCS, x: float, y: float, size: int) -> np.ndarray:
    """Each reference pixel of a cutout through the whole WCS into the band, interpolated by scipy."""
    steps = np.arange(size) - size // 2
    u, v = np.meshgrid(np.floor(x + 0.5) + steps, np.floor(y + 0.5) + steps)
    sky = reference.all_pix2world(u.ravel(), v.ravel(), 0)
    there = np.array(band.all_world2pix(*sky, 0))
    return map_coordinates(flux.astype(np.float64), there[::-1], order=1, cval=np.nan).reshape(size, size)


BANDS: dict[str, dict[str, Any]] = {
    "half a pixel": {"crpix": (100.5, 99.5)},
    "0.3 of a pixel": {"crpix": (107.3, 96.0)},
    "turned by 30 degrees": {"angle_deg": 30.0},
    "other scale": {"scale_arcsec": 0.341},
    "finer, turned and shifted": {"scale_arcsec": 0.13, "angle_deg": -75.0, "crpix": (180.2, 190.7)},
}


@pytest.mark.parametrize("name", BANDS)
def test_a_band_on_another_grid_is_interpolated_through_the_wcs(name: str, tan_wcs: MakeWcs, image: MakeImage) -> None:
    reference_wcs, band_wcs = tan_wcs(), tan_wcs(**BANDS[name])
    shape = (380, 370)
    area = (band_wcs.wcs.cd[0] @ band_wcs.wcs.cd[0]) / (reference_wcs.wcs.cd[0] @ reference_wcs.wcs.cd[0])
    flux = (_sky_pattern(band_wcs, shape, reference_wcs) * area).astype(np.float32)
    reference = image(np.zeros((200, 200)), wcs=reference_wcs)
    band = image(flux, wcs=band_wcs, ivar=np.full(shape, 4.0, np.float32))
    rng = np.random.default_rng(2)
    x, y = rng.uniform(60, 140, 20), rng.uniform(60, 140, 20)
    size = 24
    grid = grid_in_band(x, y, size, reference, band)
    assert grid.matrix is not None
    found = cut_band(band, grid, size)
    checked = 0
    for i in range(len(x)):
        expected = _exact(flux, band_wcs, reference_wcs, x[i], y[i], size) / area
        seen = np.isfinite(expected) & np.isfinite(found.flux[i])
        # Off only where the image ends, and there by no more than rounding.
        assert (np.isfinite(expected) ^ np.isfinite(found.flux[i])).sum() <= size
        # On turned grids pixels are shared out by area, from overlaps tabulated every 1/64 of a pixel.
        tolerance = 1e-3 if "turned" in name else 2e-4
        np.testing.assert_allclose(found.flux[i][seen], expected[seen], rtol=tolerance)
        checked += int(seen.sum())
    assert checked > 15 * size * size


def test_resampling_keeps_the_flux_of_a_galaxy(tan_wcs: MakeWcs, image: MakeImage) -> None:
    reference = image(np.zeros((200, 200)), wcs=tan_wcs())
    for options in BANDS.values():
        wcs = tan_wcs(**options)
        cx, cy = (float(v) for v in wcs.all_world2pix(*tan_wcs().all_pix2world(100.0, 100.0, 0), 0))
        y, x = np.mgrid[:380, :370]
        scale = options.get("scale_arcsec", 0.2)
        sigma = 4 * 0.2 / float(scale)  # pixels of this band
        flux = 1000 * np.exp(-0.5 * ((x - cx) ** 2 + (y - cy) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
        band = image(flux, wcs=wcs, ivar=np.ones(flux.shape, np.float32))
        found = cut_band(band, grid_in_band(np.array([100.2]), np.array([99.7]), 48, reference, band), 48)
        assert found.flux.sum() == pytest.approx(1000, rel=2e-3)


def test_the_inverse_variance_of_resampled_noise_is_right(tan_wcs: MakeWcs, image: MakeImage) -> None:
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 3.0, (400, 400)).astype(np.float32)
    reference = image(np.zeros((400, 400)), wcs=tan_wcs(crpix=(200, 200)))
    for options in ({"angle_deg": 20.0, "crpix": (200, 200)}, {"scale_arcsec": 0.31, "crpix": (200, 200)}):
        band = image(noise, wcs=tan_wcs(**options), ivar=np.full(noise.shape, 1 / 9, np.float32))
        x, y = rng.uniform(120, 280, 150), rng.uniform(120, 280, 150)
        cut = cut_band(band, grid_in_band(x, y, 32, reference, band), 32)
        pull = cut.flux * np.sqrt(cut.ivar)
        assert np.isfinite(pull).all()
        assert np.std(pull) == pytest.approx(1.0, abs=0.02)
        # ... for pixels that fall on the centre of one as for those that fall between four.
        sharp = cut.ivar < np.median(cut.ivar)
        assert np.std(pull[sharp]) == pytest.approx(1.0, abs=0.03)
        assert np.std(pull[~sharp]) == pytest.approx(1.0, abs=0.03)


def test_a_shift_by_whole_pixels_is_not_interpolated(tan_wcs: MakeWcs, image: MakeImage) -> None:
    rng = np.random.default_rng(5)
    flux = rng.normal(size=(120, 110)).astype(np.float32)
    reference = image(np.zeros((200, 200)), wcs=tan_wcs())
    x, y = np.array([100.2, 90.49, 90.51, 98.5]), np.array([97.7, 100.5, 99.49999, 101.0])
    for shift in (0.0, 0.03, -0.03):
        # The band's pixel (60, 50) is the reference's (100, 100), but for 3/100 of a pixel.
        band = image(flux, wcs=tan_wcs(crpix=(60 + shift, 50 - shift)), ivar=np.ones_like(flux))
        grid = grid_in_band(x, y, 16, reference, band)
        assert grid.matrix is None
        found = cut_band(band, grid, 16)
        for i in range(len(x)):
            # The same pixels of sky as in the reference, wherever in its pixel the object lies.
            left, low = int(np.floor(x[i] + 0.5)) - 40 - 8, int(np.floor(y[i] + 0.5)) - 50 - 8
            np.testing.assert_array_equal(found.flux[i], flux[low : low + 16, left : left + 16])


def test_bands_show_the_same_sky_in_the_same_pixel(tan_wcs: MakeWcs, image: MakeImage) -> None:
    """Wherever in its pixel the object lies: a star must not wander between bands by a part of a pixel."""
    wcs, other = tan_wcs(), tan_wcs(angle_deg=45.0)
    star = (100.4, 99.6)
    sky = wcs.all_pix2world(*star, 0)

    def blob(frame: WCS) -> np.ndarray:
        x0, y0 = frame.all_world2pix(*sky, 0)
        y, x = np.mgrid[:200, :200]
        return np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 2.5**2)

    reference = image(blob(wcs), wcs=wcs, ivar=np.ones((200, 200), np.float32))
    band = image(blob(other), wcs=other, ivar=np.ones((200, 200), np.float32))
    x, y = np.array([100.4, 98.9]), np.array([99.6, 101.3])
    for i in range(2):
        centroids = []
        for picture in (reference, band):
            cut = cut_band(picture, grid_in_band(x[i : i + 1], y[i : i + 1], 31, reference, picture), 31).flux[0]
            rows, columns = np.mgrid[:31, :31]
            centroids.append([(cut * columns).sum() / cut.sum(), (cut * rows).sum() / cut.sum()])
        np.testing.assert_allclose(centroids[0], centroids[1], atol=0.01)


def test_a_missing_neighbour_makes_a_resampled_pixel_missing(tan_wcs: MakeWcs, image: MakeImage) -> None:
    flux = np.ones((200, 200), np.float32)
    ivar = np.ones_like(flux)
    mask = np.zeros(flux.shape, np.uint16)
    flux[100, 100], ivar[100, 100], mask[100, 100] = np.nan, 0, int(Plane.NO_DATA)
    flux[110, 90], ivar[110, 90], mask[110, 90] = 1e9, 0, int(Plane.BAD)
    mask[90, 110] = int(Plane.SATURATED)
    reference = image(np.zeros((200, 200)), wcs=tan_wcs())
    band = image(flux, wcs=tan_wcs(crpix=(100.5, 100.5)), ivar=ivar, mask=mask)
    cut = cut_band(band, grid_in_band(np.array([100.0]), np.array([100.0]), 32, reference, band), 32)
    missing = cut.ivar[0] == 0
    # Reference pixel (u, v) lies between the band's pixels u, u + 1 and v, v + 1; the cutout's first pixel is 84.
    expected = np.zeros((32, 32), bool)
    expected[99 - 84 : 101 - 84, 99 - 84 : 101 - 84] = True
    expected[109 - 84 : 111 - 84, 89 - 84 : 91 - 84] = True
    np.testing.assert_array_equal(missing, expected)
    np.testing.assert_array_equal(np.isnan(cut.flux[0]), expected)
    np.testing.assert_allclose(cut.flux[0][~expected], 1.0, rtol=1e-6)
    saturated = (cut.mask[0] & int(Plane.SATURATED)) != 0
    assert saturated.sum() == 4
    assert saturated[90 - 84, 110 - 84]
    assert not (missing & saturated).any()
    assert ((cut.mask[0][missing] & int(Plane.NO_DATA | Plane.BAD)) != 0).all()


def test_a_resampled_cutout_beyond_its_band_is_missing(tan_wcs: MakeWcs, image: MakeImage) -> None:
    flux = np.ones((40, 30), np.float32)
    reference = image(np.zeros((200, 200)), wcs=tan_wcs())
    band = image(flux, wcs=tan_wcs(angle_deg=10.0, crpix=(15.0, 20.0)), ivar=flux)
    x, y = np.array([100.0, 115.0, 190.0]), np.array([100.0, 100.0, 10.0])
    cut = cut_band(band, grid_in_band(x, y, 16, reference, band), 16)
    assert np.isfinite(cut.flux[0]).all()
    assert np.isnan(cut.flux[1]).any()
    assert np.isfinite(cut.flux[1]).any()
    assert np.isnan(cut.flux[2]).all()
    beyond = np.isnan(cut.flux)
    assert (cut.mask[beyond] == int(BEYOND)).all()
    assert (cut.ivar[beyond] == 0).all()
    np.testing.assert_allclose(cut.flux[~beyond], 1.0, rtol=1e-5)


def test_a_band_one_pixel_wide_is_no_reason_to_fall(tan_wcs: MakeWcs, image: MakeImage) -> None:
    flux = np.ones((40, 1), np.float32)
    reference = image(np.zeros((200, 200)), wcs=tan_wcs())
    band = image(flux, wcs=tan_wcs(angle_deg=10.0, crpix=(0.0, 20.0)), ivar=flux)
    cut = cut_band(band, grid_in_band(np.array([100.0]), np.array([100.0]), 8, reference, band), 8)
    assert np.isfinite(cut.flux).sum() <= 1


def test_bands_that_cannot_be_aligned_are_refused(tan_wcs: MakeWcs, image: MakeImage) -> None:
    x = np.array([5.0])
    with pytest.raises(DataError, match=r"\(20, 20\) and \(21, 20\) cannot be aligned without a WCS; give both a WCS"):
        grid_in_band(x, x, 8, image(np.zeros((20, 20))), image(np.zeros((21, 20)), wcs=tan_wcs()))
    same = grid_in_band(x, x, 8, image(np.zeros((20, 20))), image(np.zeros((20, 20))))
    assert same.matrix is None
    with pytest.raises(DataError, match=r"needs the image's inverse variance; .*with_ivar measures it"):
        cut_band(image(np.zeros((20, 20))), same, 8)
    broken = WCS(naxis=2)
    broken.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    broken.wcs.cd = np.zeros((2, 2))
    with pytest.raises(DataError, match=r"the bands cannot be aligned: .*check the WCS of both"):
        grid_in_band(x, x, 8, image(np.zeros((20, 20)), wcs=tan_wcs()), image(np.zeros((20, 20)), wcs=broken))


def test_a_grid_without_objects_is_no_error(tan_wcs: MakeWcs, image: MakeImage) -> None:
    flux = np.ones((20, 20), np.float32)
    none = np.zeros(0)
    for wcs in (tan_wcs(), tan_wcs(angle_deg=30.0)):
        band = image(flux, wcs=wcs, ivar=flux)
        grid = grid_in_band(none, none, 8, image(flux, wcs=tan_wcs()), band)
        assert cut_band(band, grid, 8).flux.shape == (0, 8, 8)
    assert cut_band(band, Grid(none, none, np.zeros((0, 2, 2))), 8).mask.shape == (0, 8, 8)


def test_only_an_image_without_any_missing_or_masked_pixel_is_flawless() -> None:
    flux = np.random.default_rng(0).normal(0, 2, (40, 50)).astype(np.float32)
    hole = flux.copy()
    hole[3, 4] = np.nan
    assert is_flawless(with_ivar(Image(flux, "nJy", 0.2))[0])
    for image in (
        Image(hole, "nJy", 0.2),
        Image(np.full_like(flux, np.nan), "nJy", 0.2),
        Image(np.zeros_like(flux), "nJy", 0.2),  # no sky to measure: nothing is known of it
        Image(flux, "nJy", 0.2, mask=np.full(flux.shape, Plane.SATURATED, np.uint16)),
        Image(flux, "nJy", 0.2, ivar=np.ones_like(flux)),
    ):
        assert not is_flawless(with_ivar(image)[0])
    assert not is_flawless(Image(flux, "nJy", 0.2))


def test_cutouts_that_do_not_fit_into_memory_cost_their_band(image: MakeImage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    flux = np.ones((20, 20), np.float32)
    monkeypatch.setattr("galflow.cutouts.extract.gather", full)
    with pytest.raises(DataError, match="its 2 cutouts of 8 pixels did not fit into memory: Unable to allocate 9 TiB"):
        cut_band(image(flux, ivar=flux), Grid(np.full(2, 9.0), np.full(2, 9.0), None), 8)
