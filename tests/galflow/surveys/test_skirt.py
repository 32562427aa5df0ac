"""SKIRT's images: the merger that RealSim carries, and files whose headers say less."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.cosmology import Planck18
from astropy.io import fits

from galflow.surveys.skirt import Skirt, SkirtOptions
from tests.galflow.surveys.simulation_files import SKIRT_PC, skirt

DATA = Path(os.environ.get("GALFLOW_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
MERGER = DATA / "realsim_skirt_merger"
SEEN: dict[str, Any] = {
    "pixel_scale_arcsec": 0.396,
    "psf_fwhm_arcsec": 1.3,
    "steps": ["dimming", "rebinning"],
    "stamp_size": 32,
}
needs_merger = pytest.mark.skipif(not MERGER.is_dir(), reason=f"the merger is absent: {MERGER} (set GALFLOW_DATA)")


def survey(root: Path, **options: Any) -> Skirt:
    plain = {"root": str(root), "pattern": "{galaxy}_{camera}_{band}.fits", "bands": ["r"], "light": "seen"}
    return Skirt("sim", "1", SkirtOptions.model_validate(plain | SEEN | options))


def merger(**options: Any) -> Skirt:
    pattern = "photo_{band}_{galaxy}_{snapshot}_{camera}_total.fits"
    return survey(MERGER, **({"pattern": pattern, "bands": ["g", "r", "i"]} | options))


def stated_magnitude(band: str) -> float:
    """Of a file at its own REDSHIFT, by its cards and numpy alone."""
    with fits.open(next(MERGER.glob(f"photo_{band}_*"))) as hdus:
        side = hdus[0].header["CDELT1"] / 1000 / (Planck18.kpc_proper_per_arcmin(hdus[0].header["REDSHIFT"]).value / 60)
        return float(-2.5 * np.log10(np.sum(10 ** (-0.4 * hdus[0].data)) * side**2))


@needs_merger
def test_the_mergers_magnitudes_are_reproduced_and_its_flux_conserved() -> None:
    made = merger(stamp_size=192, steps=["dimming", "rebinning", "psf"])
    (tile,) = made.tiles()
    (row,) = made.catalog(tile).to_pylist()
    assert (row["source_name"], row["snapshot"], row["camera"]) == ("186/CNN_G2G3_e-orbit_1/i0", 186, "i0")
    assert (row["redshift"], row["group"]) == (0.046, "CNN_G2G3_e-orbit_1")
    for band in made.bands:
        assert row[f"true_magnitude_{band}"] == pytest.approx(stated_magnitude(band), abs=1e-3)
    # 512 px of 98 pc are 135 survey pixels: the stamp holds all but a little of the PSF's wings.
    for band in made.bands:
        assert np.nansum(made.read(tile, band).flux, dtype=np.float64) == pytest.approx(
            row[f"true_flux_{band}"], rel=1e-3
        )
    rebinned = merger(steps=["dimming", "rebinning"], bands=["r"], stamp_size=192)
    flux = rebinned.read(rebinned.tiles()[0], "r").flux
    assert np.nansum(flux, dtype=np.float64) == pytest.approx(row["true_flux_r"], rel=1e-5)


@needs_merger
@pytest.mark.parametrize(("dimming", "power"), [("per_frequency", 3), ("bolometric", 4), ("per_wavelength", 5)])
def test_the_merger_farther_away_is_dimmed_once_by_the_formula(dimming: str, power: int) -> None:
    """From the redshift that its light was dimmed to already, and smaller by the angular distance."""
    quick: dict[str, Any] = {"bands": ["r"], "stamp_size": 16}
    dims = quick | {"steps": ["dimming"], "dimming": dimming}
    here, there = (only(merger(redshift=z, **dims)) for z in (0.046, 0.1))
    scale = float(Planck18.kpc_proper_per_arcmin(0.046) / Planck18.kpc_proper_per_arcmin(0.1))
    assert here["true_magnitude_r"] == pytest.approx(stated_magnitude("r"), abs=1e-3)
    assert there["true_flux_r"] / here["true_flux_r"] == pytest.approx((1.046 / 1.1) ** power * scale**2, rel=1e-9)
    off = only(merger(redshift=0.1, steps=["rebinning"], **quick))
    assert off["true_flux_r"] / here["true_flux_r"] == pytest.approx(scale**2, rel=1e-9)
    emitted = only(merger(redshift=0.1, light="emitted", **dims))
    assert emitted["true_flux_r"] / here["true_flux_r"] == pytest.approx(1.1**-power * scale**2, rel=1e-9)


def catalog(made: Skirt) -> list[dict[str, Any]]:
    return [row for tile in made.tiles() for row in made.catalog(tile).to_pylist()]


def only(made: Skirt) -> dict[str, Any]:
    (row,) = catalog(made)
    return row


def write(path: Path, values: np.ndarray, **cards: Any) -> None:
    header = fits.Header(cards)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(values, header).writeto(path, overwrite=True)


def test_units_and_scales_of_one_galaxy_agree(tmp_path: Path) -> None:
    """The same light in magnitudes on parsecs, per micron on an angle, and MJy/sr without a word of scale."""
    skirt(tmp_path / "a" / "m_i0_r.fits", "r")
    with fits.open(tmp_path / "a" / "m_i0_r.fits") as hdus:
        magnitudes = hdus[0].data.astype(np.float64)
    njy = np.where(np.isfinite(magnitudes), 3631e9 * 10 ** (-0.4 * magnitudes), 0.0)
    kpc_per_arcsec = Planck18.kpc_proper_per_arcmin(0.046).value / 60
    angle = SKIRT_PC / 1000 / kpc_per_arcsec
    per_micron = njy * 1e-35 * 299792458.0 / (6192.8e-10) ** 2 * 1e-6
    write(
        tmp_path / "b" / "m_i0_r.fits", per_micron,
        BUNIT="W/m2/micron/arcsec2", CDELT1=angle, CUNIT1="arcsec", CDELT2=angle, WLEFF=6192.8, REDSHIFT=0.046,
    )  # fmt: skip
    write(tmp_path / "c" / "m_i0_r.fits", njy * 1e-15 * (648000 / np.pi) ** 2, REDSHIFT=0.046)
    plain = only(survey(tmp_path / "a"))
    assert only(survey(tmp_path / "b"))["true_flux_r"] == pytest.approx(plain["true_flux_r"], rel=1e-6)
    declared = survey(tmp_path / "c", unit="MJy/sr", kpc_per_pixel=SKIRT_PC / 1000)
    assert only(declared)["true_flux_r"] == pytest.approx(plain["true_flux_r"], rel=1e-6)


def test_what_the_header_does_not_say_must_be_declared(tmp_path: Path) -> None:
    skirt(tmp_path / "m_i0_r.fits", "r", unit=None, CTYPE1=None)
    for options, text in (
        ({}, "its header has no BUNIT; expected a unit of surface brightness, declare the option unit"),
        ({"unit": "AB mag/arcsec2"}, "its header gives CDELT1 = 500.0 of no unit; expected a scale in parsec or angle"),
        ({"unit": "counts", "kpc_per_pixel": 0.5}, "its unit is 'counts'; expected a surface brightness"),
    ):
        made = survey(tmp_path, **options)
        assert text in only(made)["read_error"]
        assert "m_i0_r.fits" in only(made)["read_error"]
        faults = made.inspect(made.tiles())
        if "unit is 'counts'" not in text:  # a number, not a header, shows that
            assert text in str(faults[0])
            assert faults[0].refuses
    assert only(survey(tmp_path, unit="AB mag/arcsec2", kpc_per_pixel=0.5))["read_error"] is None


def test_a_scale_in_angle_needs_a_distance(tmp_path: Path) -> None:
    cards = {"CDELT1": 1.0, "CTYPE1": "arcsec", "CDELT2": 1.0, "REDSHIFT": 0.0}
    skirt(tmp_path / "m_i0_r.fits", "r", **cards)
    seen: dict[str, Any] = {"light": "emitted", "redshift": 0.05}
    assert "declare the option distance_mpc or kpc_per_pixel" in only(survey(tmp_path, **seen))["read_error"]
    near = only(survey(tmp_path, distance_mpc=100.0, **seen))["true_flux_r"]
    skirt(tmp_path / "m_i0_r.fits", "r", **cards, DISTANGD=1e8, DISTUNIT="pc")
    assert only(survey(tmp_path, **seen))["true_flux_r"] == pytest.approx(near)


def test_layers_of_a_cube_are_bands_by_its_own_wavelengths(tmp_path: Path) -> None:
    cube = np.stack([np.full((8, 8), value) for value in (1.0, 2.0, 3.0)])
    image = fits.PrimaryHDU(cube, fits.Header({"BUNIT": "W/m2/micron/arcsec2", "CDELT1": 1.0, "CTYPE1": "kpc"}))
    grid = fits.Column("GRID_POINTS", "D", unit="micron", array=[0.4, 0.5, 0.6])
    table = fits.BinTableHDU.from_columns([grid], name="Z-axis coordinate values")
    fits.HDUList([image, table]).writeto(tmp_path / "m_i0_total.fits")
    options: dict[str, Any] = {"pattern": "{galaxy}_{camera}_total.fits", "bands": ["g", "r"], "light": "emitted"}
    made = survey(tmp_path, layers={"g": 0, "r": 2}, redshift=0.05, **options)
    row = only(made)
    assert row["true_flux_r"] / row["true_flux_g"] == pytest.approx(3.0 * (0.6 / 0.4) ** 2)
    assert "asks for layer 7" in only(survey(tmp_path, layers={"g": 0, "r": 7}, redshift=0.05, **options))["read_error"]


def test_bands_that_disagree_or_lack_cost_that_view_alone(tmp_path: Path) -> None:
    for camera in ("i0", "i1", "i2"):
        for band in "gr":
            skirt(tmp_path / f"m_{camera}_{band}.fits", band, camera=camera)
    skirt(tmp_path / "m_i1_r.fits", "r", CDELT1=600.0, CDELT2=600.0)
    (tmp_path / "m_i2_g.fits").unlink()
    good, differing, lacking = catalog(survey(tmp_path, bands=["g", "r"]))
    assert (good["read_error"], good["camera"]) == (None, "i0")
    assert "0.6 kpc, z = 0.046, and (96, 96), 0.5 kpc" in differing["read_error"]
    assert "there is no file for band g" in lacking["read_error"]
    assert len({row["group"] for row in (good, differing, lacking)}) == 1
