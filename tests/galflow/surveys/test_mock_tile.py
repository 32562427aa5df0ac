"""Simulated galaxies under noise and on another survey's sky: what is added, what is recorded, what counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from galflow.errors import DataError, SpecError
from galflow.surveys.illustris import Illustris, IllustrisOptions
from galflow.surveys.synthetic import Synthetic
from galflow.surveys.synthetic_options import SyntheticOptions
from tests.galflow.surveys.simulation_files import sunrise

BASE: dict[str, Any] = {
    "tiles": 2,
    "tile_size": 320,
    "overlap_pixels": 0,
    "objects_per_tile": 20,
    "anomaly_fraction": 0.0,
    "bands": ["g", "r"],
    "sky_sigma_njy": [20.0, 30.0],
    "pixel_scale_arcsec": 0.3,
}
LIKE = {"kind": "synthetic", "options": BASE}
BANDS = {"g": "g_SDSS.res", "r": "r_SDSS.res"}
DECLARED = {"pixel_scale_arcsec": 0.396, "psf_fwhm_arcsec": 1.3, "sky_sigma_njy": {"g": 40.0, "r": 60.0}}


def survey(root: Path, **options: Any) -> Illustris:
    given = {"root": str(root), "bands": BANDS, "stamp_size": 64} | options
    return Illustris("sim", "1", IllustrisOptions.model_validate(given))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sunrise")
    for galaxy in range(4):
        sunrise(folder / f"broadband_{galaxy}.fits", seed=galaxy)
    return folder


def squares(plane: np.ndarray, y: Any, x: Any, side: int = 64) -> np.ndarray:
    """(n, side, side) about pixels."""
    corners = [(int(a) - side // 2, int(b) - side // 2) for a, b in zip(y.to_pylist(), x.to_pylist(), strict=True)]
    return np.stack([plane[a : a + side, b : b + side] for a, b in corners])


def stamps(made: Illustris, band: str) -> tuple[np.ndarray, np.ndarray]:
    """(n, 64, 64) flux and inverse variance of all mocks of the one tile."""
    (tile,) = made.tiles()
    image, rows = made.read(tile, band), made.catalog(tile)
    assert image.ivar is not None
    return squares(image.flux, rows["y"], rows["x"]), squares(image.ivar, rows["y"], rows["x"])


def test_noise_has_the_surveys_variance_and_says_so(root: Path) -> None:
    clean = survey(root, **(DECLARED | {"steps": ["dimming", "rebinning", "psf"]}))
    (tile,) = clean.tiles()
    rows = clean.catalog(tile)
    noisy = survey(root, **DECLARED)
    gained = survey(root, **DECLARED, electrons_per_njy=0.01)
    for band, sigma in (("g", 40.0), ("r", 60.0)):
        light = squares(clean.read(tile, band).flux, rows["y"], rows["x"])
        flux, ivar = stamps(noisy, band)
        assert np.var(flux - light) == pytest.approx(sigma**2, rel=0.02)
        np.testing.assert_allclose(ivar, 1 / sigma**2, rtol=1e-6)
        flux, ivar = stamps(gained, band)
        np.testing.assert_allclose(1 / ivar, sigma**2 + np.clip(light, 0, None) / 0.01, rtol=1e-4)
        pulls = (flux - light) * np.sqrt(ivar)
        assert np.var(pulls) == pytest.approx(1.0, rel=0.02)
        assert np.var(pulls[light > 1.0 * sigma**2 * 0.01]) == pytest.approx(1.0, rel=0.05)


def test_the_noise_of_a_mock_is_its_own_wherever_it_lies(root: Path, tmp_path: Path) -> None:
    """By seed and name: another galaxy beside it changes no pixel."""
    both = survey(root, **DECLARED)
    sunrise(tmp_path / "broadband_2.fits", seed=2)
    alone = survey(tmp_path, **DECLARED)
    flux, _ = stamps(alone, "r")
    (tile,) = both.tiles()
    at = [row.startswith("2/") for row in both.catalog(tile)["source_name"].to_pylist()]
    np.testing.assert_array_equal(stamps(both, "r")[0][at], flux)
    other, _ = stamps(survey(tmp_path, **DECLARED, seed=1), "r")
    assert np.abs(other - flux).max() > 10


def test_mocks_lie_on_real_empty_sky_through_the_tiles_own_psf(root: Path) -> None:
    made = survey(root, like=LIKE, steps=["dimming", "rebinning", "psf", "sky"])
    (tile,) = made.tiles()
    name = next(file.role for file in tile.files if file.role.startswith("like/")).removeprefix("like/")
    base = Synthetic("synthetic", "1", SyntheticOptions.model_validate(BASE))
    real = {t.name: t for t in base.tiles()}[name]
    rows = made.catalog(tile)
    assert made.pixel_scale_arcsec == 0.3
    scene = base.survey_catalog()
    assert scene is not None
    for band in ("g", "r"):
        sky, image = base.read(real, band), made.read(tile, band)
        assert image.psf is not None
        assert sky.psf is not None
        np.testing.assert_array_equal(image.psf.image, sky.psf.image)
        assert sky.ivar is not None
        flux, ivar = stamps(made, band)
        np.testing.assert_allclose(ivar, squares(sky.ivar, rows["sky_y"], rows["sky_x"]), rtol=1e-6)
        added = flux.astype(np.float64) - squares(sky.flux, rows["sky_y"], rows["sky_x"])
        clean = survey(root, pixel_scale_arcsec=0.3, psf_fwhm_arcsec=0.7, steps=["dimming", "rebinning", "psf"])
        light = squares(clean.read(clean.tiles()[0], band).flux, rows["y"], rows["x"])
        np.testing.assert_allclose(added, light, atol=2e-3 * light.max())
        assert added.sum(axis=(1, 2)) == pytest.approx(rows[f"true_flux_{band}"].to_numpy(), rel=0.01)
    told = made.attributes(tile)["mock_observation"]
    assert told["imitated_tile"] == name
    assert (told["steps"], told["dimming"], told["cosmology"]) == (
        ["dimming", "rebinning", "psf", "sky"], "per_frequency", "Planck18",
    )  # fmt: skip


def test_white_noise_of_the_imitated_sky(root: Path) -> None:
    made = survey(root, like=LIKE, sky="noise", steps=["dimming", "rebinning", "psf", "sky"])
    _, ivar = stamps(made, "r")
    assert 1 / np.sqrt(ivar.max()) == pytest.approx(30.0, rel=0.03)
    assert "sky_x" not in made.catalog(made.tiles()[0]).column_names


def test_what_the_survey_would_not_have_found_does_not_count(tmp_path: Path) -> None:
    for galaxy, magnitude in enumerate((-21.0, -19.0, -16.0, -8.0)):
        sunrise(tmp_path / f"broadband_{galaxy}.fits", seed=galaxy, cameras=1, absolute_magnitude=magnitude)
    sunrise(tmp_path / "broadband_9.fits", cameras=1, scale=2.0)
    selection: dict[str, Any] = {"band": "r", "magnitude_range": [14.0, 16.0], "minimum_snr": 100}
    made = survey(tmp_path, **DECLARED, selection=selection)
    (tile,) = made.tiles()
    table = made.catalog(tile).to_pylist()
    told = [row["selection"] for row in table]
    assert told == ["selected", "magnitude in r out of range", "S/N below 100", "not detected", "unreadable"]
    assert [row["is_primary"] for row in table] == [True, False, False, False, False]
    assert table[0]["detected_magnitude"] == pytest.approx(table[0]["true_magnitude_r"], abs=0.1)
    assert table[3]["detected_snr"] is None
    counts = made.attributes(tile)["mock_observation"]["counts"]
    assert counts == dict.fromkeys(told, 1)
    off = survey(tmp_path, **DECLARED, steps=["dimming", "rebinning", "psf", "sky"])
    assert "is_primary" not in off.catalog(tile).column_names


def test_each_step_has_a_picture(root: Path) -> None:
    made = survey(root, like=LIKE)
    (tile,) = made.tiles()
    key, steps = made.observation_steps(tile)
    assert key == "0/camera0"
    assert [step.name for step in steps] == [
        "as simulated", "dimmed to z = 0.050", "on the survey's pixels", "through its PSF", "on its sky",
    ]  # fmt: skip
    light = [step.light[1].sum() * step.pixel_scale_arcsec**2 for step in steps]
    assert light[1] / light[0] == pytest.approx(1.05**-3)
    np.testing.assert_allclose(light[1:4], light[1], rtol=2e-3)
    (row, *_) = made.catalog(tile).to_pylist()
    finished = made.read(tile, "r").flux
    y, x = int(row["y"]), int(row["x"])
    shape = steps[-1].light[1].shape
    assert shape == finished[y - 32 : y + 32, x - 32 : x + 32].shape
    few = survey(root, pixel_scale_arcsec=0.3, steps=["rebinning"])
    assert [step.name for step in few.observation_steps(few.tiles()[0])[1]] == [
        "as simulated",
        "on the survey's pixels",
    ]


def test_without_rebinning_pixels_stay_the_files_own(root: Path) -> None:
    made = survey(root, pixel_scale_arcsec=0.3, steps=["dimming"], stamp_size=96)
    (tile,) = made.tiles()
    row = made.catalog(tile).to_pylist()[0]
    y, x = int(row["y"]), int(row["x"])
    flux = made.read(tile, "r").flux[y - 48 : y + 48, x - 48 : x + 48]
    with fits.open(root / "broadband_0.fits") as hdus:
        given = hdus["CAMERA0-BROADBAND-NONSCATTER"].data[2]
    # The centre of 96 pixels, an edge, comes to lie on the middle of pixel 48: half a pixel in y and in x.
    quarter = sum(np.roll(given, (a, b), (0, 1)) for a in (0, 1) for b in (0, 1)) / 4
    np.testing.assert_allclose(flux / flux.sum(), quarter / quarter.sum(), atol=1e-6)


def test_a_psf_image_of_ones_own(root: Path, tmp_path: Path) -> None:
    y, x = np.indices((25, 25)) - 12
    psf = np.exp(-0.5 * (x**2 + y**2) / 1.5**2)
    for band in BANDS:
        fits.PrimaryHDU(psf).writeto(tmp_path / f"psf-{band}.fits")
    plain: dict[str, Any] = {"pixel_scale_arcsec": 0.396, "steps": ["dimming", "rebinning", "psf"]}
    made = survey(root, psf_images=str(tmp_path / "psf-{band}.fits"), **plain)
    (tile,) = made.tiles()
    image = made.read(tile, "g")
    assert image.psf is not None
    assert image.psf.image is not None
    assert image.psf.image.sum() == pytest.approx(1.0)
    assert np.nansum(image.flux) == pytest.approx(np.sum(made.catalog(tile)["true_flux_g"].to_numpy()), rel=5e-3)
    before = tile.identity
    for band in BANDS:
        fits.PrimaryHDU(psf[:, :24]).writeto(tmp_path / f"psf-{band}.fits", overwrite=True)
    (tile,) = survey(root, psf_images=str(tmp_path / "psf-{band}.fits"), **plain).tiles()
    assert tile.identity != before
    with pytest.raises(DataError, match="is no PSF: 25 x 24 pixels"):
        survey(root, psf_images=str(tmp_path / "psf-{band}.fits"), **plain).read(tile, "g")


def test_the_imitated_survey_must_be_one_that_can_be_imitated(root: Path) -> None:
    for like, options, text in (
        ({"kind": "synthetic", "options": BASE | {"bands": ["g", "i"]}}, {}, "like: survey synthetic has no band 'r'"),
        ({"kind": "hubble"}, {}, "like: survey hubble"),
        ({"kind": "sersic_mock", "options": {"like": LIKE}}, {}, "itself simulated"),
        (LIKE, {"pixel_scale_arcsec": 0.2}, "and the imitated survey's pixels are 0.3 arcsec"),
    ):
        with pytest.raises(SpecError, match=text):
            survey(root, like=like, **options).tiles()


def test_a_changed_sky_makes_the_mocks_stale(root: Path) -> None:
    def identities(revision: dict[str, int]) -> list[str]:
        changed = {"kind": "synthetic", "options": BASE | {"revision": revision}}
        return [tile.identity for tile in survey(root, like=changed).tiles()]

    (tile,) = survey(root, like=LIKE).tiles()
    name = next(f.role for f in tile.files if f.role.startswith("like/")).removeprefix("like/")
    other = ({"t00000", "t00001"} - {name}).pop()
    assert identities({name: 1}) != [tile.identity]
    assert identities({other: 1}) == [tile.identity]


def test_a_view_may_be_observed_several_times(tmp_path: Path) -> None:
    sunrise(tmp_path / "broadband_1.fits", cameras=1)
    made = survey(tmp_path, **DECLARED, realisations=3)
    (tile,) = made.tiles()
    rows = made.catalog(tile).to_pylist()
    assert [row["source_name"] for row in rows] == ["1/camera0/0", "1/camera0/1", "1/camera0/2"]
    assert {row["group"] for row in rows} == {"1"}
    flux, _ = stamps(made, "r")
    assert np.std(flux[0] - flux[1]) == pytest.approx(np.sqrt(2) * 60.0, rel=0.05)


def test_a_power_law_k_correction_follows_each_galaxys_colour(root: Path) -> None:
    """The true fluxes of the catalogue, with and without it, differ by (1+z)^slope of the galaxy's own g - r."""
    quick = DECLARED | {"steps": ["dimming", "rebinning", "psf"], "redshift": 0.3, "light": "emitted"}
    plain, corrected = (
        survey(root, **quick),
        survey(root, **quick, k_correction="power_law", band_wavelengths_um={"g": 0.48, "r": 0.62}),
    )
    rows = [made.catalog(made.tiles()[0]) for made in (plain, corrected)]
    g, r = (rows[0][f"true_flux_{band}"].to_numpy() for band in ("g", "r"))
    slope = np.log(g / r) / np.log(0.62 / 0.48)
    for band, before in (("g", g), ("r", r)):
        np.testing.assert_allclose(rows[1][f"true_flux_{band}"].to_numpy(), before * 1.3**slope, rtol=1e-5)
    assert "band_wavelengths_um" not in plain.options.content(), "fingerprints stay as they were"
