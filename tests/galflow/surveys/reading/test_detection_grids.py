"""Detection where bands lie on grids of their own, and where an image is not what a survey's sky looks like."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from galflow.errors import DataError
from galflow.surveys.base import Image, Plane
from galflow.surveys.reading.common_grid import on_grid
from galflow.surveys.reading.detection import DetectionOptions, detect, schema
from galflow.surveys.reading.identity import id_base
from galflow.surveys.reading.sky import measure_sky

BASE = id_base(5)
CENTRE = SkyCoord(150.0, 2.0, unit="deg")
SHAPE = (240, 260)


def wcs(
    scale: float = 0.2, angle_deg: float = 0.0, at: tuple[float, float] = (130.0, 120.0), galactic: bool = False
) -> WCS:
    """Tangential; 0-based pixel ``at`` (x, y) is ``CENTRE``."""
    made = WCS(naxis=2)
    made.wcs.ctype = ["GLON-TAN", "GLAT-TAN"] if galactic else ["RA---TAN", "DEC--TAN"]
    made.wcs.crval = [CENTRE.galactic.l.deg, CENTRE.galactic.b.deg] if galactic else [CENTRE.ra.deg, CENTRE.dec.deg]
    made.wcs.crpix = [at[0] + 1, at[1] + 1]
    a, d = np.deg2rad(angle_deg), scale / 3600
    made.wcs.cd = d * np.array([[-np.cos(a), np.sin(a)], [np.sin(a), np.cos(a)]])
    made.wcs.set()
    return made


def place(n: int = 5) -> tuple[SkyCoord, np.ndarray]:
    """Sources on the sky, on a loose grid about the centre, and their fluxes."""
    rng = np.random.default_rng(8)
    step = 40 * 0.2
    east, north = (
        g.ravel() * step + rng.uniform(-1, 1, n * n) for g in np.mgrid[-(n // 2) : n // 2 + 1, -(n // 2) : n // 2 + 1]
    )
    return CENTRE.spherical_offsets_by(east * u.arcsec, north * u.arcsec), rng.uniform(3000, 9000, n * n)


def band(frame: WCS, shape: tuple[int, int], scale: float, noise: float, factor: float = 1.0, seed: int = 1) -> Image:
    """The sources seen at a FWHM of 1 arcsec."""
    sky, flux = place()
    x, y = frame.world_to_pixel(sky)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    width = 1.0 / 2.3548 / scale
    light = np.random.default_rng(seed).normal(0, noise, shape)
    for a, b, f in zip(x, y, flux, strict=True):
        light += factor * f / (2 * np.pi * width**2) * np.exp(-((xx - a) ** 2 + (yy - b) ** 2) / 2 / width**2)
    return Image(light.astype(np.float32), "nJy", scale, wcs=frame)


@pytest.fixture(scope="module")
def bands() -> dict[str, Image]:
    """The reference, a finer turned one of another shape, a coarser one in Galactic coordinates, one half covering."""
    return {
        "r": band(wcs(), SHAPE, 0.2, 2.0),
        "vis": band(wcs(0.1, 35.0, (340, 300)), (620, 660), 0.1, 0.5, 2.0, seed=2),
        "h": band(wcs(0.31, 0.0, (100, 90), galactic=True), (190, 200), 0.31, 4.0, 3.0, seed=3),
        "u": band(wcs(at=(130.0 - 137.0, 120.0)), (240, 130), 0.2, 2.0, seed=4),
    }


def test_bands_of_any_grid_are_measured_in_the_reference_s_apertures(bands: dict[str, Image]) -> None:
    table = detect(bands, DetectionOptions(), BASE)
    sky, flux = place()
    x, y = wcs().world_to_pixel(sky)
    distance, index = cKDTree(np.column_stack([table["x"], table["y"]])).query(np.column_stack([x, y]))
    assert table.num_rows == len(flux)
    assert distance.max() < 0.3
    for name, factor in (("r", 1.0), ("vis", 2.0), ("h", 3.0)):
        measured = np.array(table[f"flux_{name}"])[index] / (factor * flux)
        assert np.median(measured) == pytest.approx(0.97, abs=0.05), name
        assert np.std(measured) < 0.06, name
    covered = x > 137
    assert table["flux_u"].null_count == (~covered).sum()
    measured = np.array(table["flux_u"].to_pylist(), float)[index]
    np.testing.assert_array_equal(np.isfinite(measured), covered)
    assert np.median(measured[covered] / flux[covered]) == pytest.approx(0.97, abs=0.05)
    found = SkyCoord(table["ra_deg"], table["dec_deg"], unit="deg")
    assert found[index].separation(sky).arcsec.max() < 0.06


def test_the_first_band_is_the_reference_whatever_its_frame(bands: dict[str, Image]) -> None:
    turned = {"h": bands["h"], "r": bands["r"]}
    table = detect(turned, DetectionOptions(bands=("r",)), BASE)
    sky, _ = place()
    x, y = turned["h"].wcs.world_to_pixel(sky)  # type: ignore[union-attr]
    distance, index = cKDTree(np.column_stack([table["x"], table["y"]])).query(np.column_stack([x, y]))
    assert distance.max() < 0.3
    found = SkyCoord(table["ra_deg"], table["dec_deg"], unit="deg")[index]
    assert found.separation(sky).arcsec.max() < 0.1


def test_a_band_that_cannot_be_aligned_costs_that_band(bands: dict[str, Image]) -> None:
    stranger = Image(np.random.default_rng(0).normal(0, 1, (40, 50)).astype(np.float32), "nJy", 0.2)
    table = detect({"r": bands["r"], "z": stranger}, DetectionOptions(), BASE)
    assert table.num_rows == 25
    assert table["flux_z"].null_count == 25
    with pytest.raises(
        DataError, match="no band of the detection lies on the reference's grid: band z: bands of shapes"
    ):
        detect({"r": bands["r"], "z": stranger}, DetectionOptions(bands=("z",)), BASE)


def test_a_whole_image_on_another_grid_keeps_flux_and_noise(bands: dict[str, Image]) -> None:
    assert on_grid(bands["r"], bands["r"]) is bands["r"]
    for name, noise in (("vis", 0.5), ("h", 4.0)):
        image = bands[name]
        given = Image(image.flux, "nJy", 0.2, ivar=np.full(image.flux.shape, noise**-2, np.float32), wcs=image.wcs)
        made = on_grid(given, bands["r"])
        assert made.flux.shape == SHAPE
        assert made.ivar is not None
        assert made.flux[50:190, 50:200].sum() == pytest.approx(
            on_grid(image, bands["r"]).flux[50:190, 50:200].sum(), rel=1e-5
        )
        seen = made.ivar > 0
        np.testing.assert_array_equal(seen, np.isfinite(made.flux))
        pull = np.where(seen, made.flux * np.sqrt(made.ivar), np.nan).astype(np.float32)
        assert measure_sky(pull).sigma == pytest.approx(1.0, abs=0.03)
    shifted = on_grid(bands["u"], bands["r"])
    np.testing.assert_array_equal(shifted.flux[:, 137:], bands["u"].flux[:, : 260 - 137])
    assert np.isnan(shifted.flux[:, :137]).all()


@pytest.mark.parametrize("level", [0.0, 10.0])
@pytest.mark.parametrize("given", ["nothing", "ivar", "mask", "nan"])
def test_the_rim_of_a_part_without_exposure_holds_no_objects(level: float, given: str) -> None:
    flux = np.random.default_rng(1).normal(level, 1.0, (300, 300)).astype(np.float32)
    lost = np.zeros(flux.shape, bool)
    lost[:, :90], lost[200:230, 150:260] = True, True
    flux[lost] = np.nan if given == "nan" else 0
    image = Image(
        flux,
        "nJy",
        0.2,
        ivar=np.where(lost, 0, 1).astype(np.float32) if given == "ivar" else None,
        mask=np.where(lost, int(Plane.NO_DATA), 0).astype(np.uint16) if given == "mask" else None,
    )
    assert detect({"r": image}, DetectionOptions(), BASE).num_rows == 0
    yy, xx = np.mgrid[:300, :300]
    image.flux[~lost] += (80 * np.exp(-((yy - 100) ** 2 + (xx - 180) ** 2) / 12)).astype(np.float32)[~lost]
    table = detect({"r": image}, DetectionOptions(), BASE)
    assert table.num_rows == 1
    assert table["x"][0].as_py() == pytest.approx(180, abs=0.3)


def test_a_small_observed_part_is_searched() -> None:
    flux = np.zeros((900, 900), np.float32)
    flux[400:440, 300:380] = np.random.default_rng(0).normal(20, 1, (40, 80))
    yy, xx = np.mgrid[:40, :80]
    flux[400:440, 300:380] += (90 * np.exp(-((yy - 20) ** 2 + (xx - 40) ** 2) / 12)).astype(np.float32)
    table = detect({"r": Image(flux, "nJy", 0.2)}, DetectionOptions(), BASE)
    assert [(round(x), round(y)) for x, y in zip(table["x"].to_pylist(), table["y"].to_pylist(), strict=True)] == [
        (340, 420)
    ]


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_an_image_of_one_value_gives_an_empty_table(value: float) -> None:
    nothing = Image(np.full((80, 80), value, np.float32), "nJy", 0.2)
    assert detect({"g": nothing}, DetectionOptions(), BASE).equals(schema(["g"]).empty_table())


def test_simulated_images_without_noise_are_searched_too() -> None:
    for sky in (0.0, 10.0):
        image = band(wcs(), SHAPE, 0.2, 0.0)
        flux = np.where(image.flux < 0.01, 0, image.flux) + np.float32(sky)
        table = detect({"r": Image(flux, "nJy", 0.2, wcs=image.wcs)}, DetectionOptions(), BASE)
        positions, _ = place()
        x, y = wcs().world_to_pixel(positions)
        assert table.num_rows == 25
        distance, _ = cKDTree(np.column_stack([table["x"], table["y"]])).query(np.column_stack([x, y]))
        assert distance.max() < 0.1


def test_smoothing_by_much_leaves_the_threshold_a_noise(bands: dict[str, Image]) -> None:
    assert detect({"r": bands["r"]}, DetectionOptions(smoothing_fwhm_pixels=8.0), BASE).num_rows == 25


def test_memory_that_does_not_suffice_is_a_data_error(bands: dict[str, Image], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError("Unable to allocate 12 TiB")

    monkeypatch.setattr("galflow.surveys.reading.detection.combine", full)
    with pytest.raises(DataError, match=r"ran out of memory \(r \(240, 260\), \(y, x\)\): Unable to allocate 12 TiB"):
        detect({"r": bands["r"]}, DetectionOptions(), BASE)
