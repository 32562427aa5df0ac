"""Sunrise's files, written to the published layout: magnitudes, redshifts, who is who, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.cosmology import Planck18
from astropy.io import fits
from pydantic import ValidationError

from galflow.errors import SpecError
from galflow.surveys.illustris import Illustris, IllustrisOptions
from galflow.surveys.reading.table_metadata import reasons_of
from tests.galflow.surveys.simulation_files import REDSHIFT, sunrise

QUICK: dict[str, Any] = {"steps": ["dimming"], "stamp_size": 16}
"""Where pixels are not looked at."""
SEEN = {
    "pixel_scale_arcsec": 0.396,
    "psf_fwhm_arcsec": 1.3,
    "steps": ["dimming", "rebinning", "psf"],
    "stamp_size": 128,
}


def survey(root: Path, **options: Any) -> Illustris:
    return Illustris("sim", "1", IllustrisOptions.model_validate({"root": str(root)} | SEEN | options))


def rows(made: Illustris) -> list[dict[str, Any]]:
    return [row for tile in made.tiles() for row in made.catalog(tile).to_pylist()]


@pytest.mark.parametrize("widths", [True, False])
def test_the_files_own_magnitude_comes_out_at_its_distance(tmp_path: Path, widths: bool) -> None:
    """m = M + 5 log10(D_L / 10 pc) - 2.5 log10(1 + z), of the whole view and of the pixels of its stamp."""
    sunrise(tmp_path / "broadband_7.fits", widths=widths)
    made = survey(tmp_path)
    (tile,) = made.tiles()
    table = made.catalog(tile).to_pylist()
    assert [row["camera"] for row in table] == ["camera0", "camera1"]
    distance = 5 * np.log10(Planck18.luminosity_distance(REDSHIFT).value * 1e5)
    for number, band in ((1, "g"), (2, "r"), (3, "i")):
        expected = -21.0 - 0.4 * number + distance - 2.5 * np.log10(1 + REDSHIFT)
        for row in table:
            assert row[f"true_magnitude_{band}"] == pytest.approx(expected, abs=1e-3)
        whole = np.nansum(made.read(tile, band).flux, dtype=np.float64)
        assert whole == pytest.approx(sum(row[f"true_flux_{band}"] for row in table), rel=1e-3)
    assert all(row["stamp_share"] == pytest.approx(1.0, abs=1e-3) for row in table)


def test_who_is_who(tmp_path: Path) -> None:
    sunrise(tmp_path / "snapshots/135/subhalos/283832/stellar_mocks/broadband.fits", cameras=1)
    sunrise(tmp_path / "snapshots/103/subhalos/283832/stellar_mocks/broadband.fits", cameras=2)
    table = rows(survey(tmp_path, **QUICK))
    assert [(r["source_name"], r["snapshot"], r["subhalo_id"], r["group"]) for r in table] == [
        ("103/283832/camera0", 103, 283832, "103/283832"),
        ("103/283832/camera1", 103, 283832, "103/283832"),
        ("135/283832/camera0", 135, 283832, "135/283832"),
    ]
    assert len({r["object_id"] for r in table}) == 3
    # The same galaxy under another path is the same object.
    (tmp_path / "elsewhere").mkdir()
    sunrise(tmp_path / "elsewhere/broadband_rest_283832.fits", cameras=1)
    moved = rows(survey(tmp_path / "elsewhere", snapshot=135, **QUICK))
    assert moved[0]["object_id"] == table[2]["object_id"]
    assert moved[0]["camera_theta"] == 0.0


def test_all_cameras_of_a_galaxy_share_a_tile_and_a_group(tmp_path: Path) -> None:
    for galaxy in range(12):
        sunrise(tmp_path / f"broadband_{galaxy}.fits", seed=galaxy, cameras=2)
    made = survey(tmp_path, galaxies_per_tile=4, **QUICK)
    assert len(made.tiles()) > 1
    for tile in made.tiles():
        groups = [row["group"] for row in made.catalog(tile).to_pylist()]
        assert all(groups.count(group) == 2 for group in groups)


def test_a_cube_that_contradicts_its_own_magnitude_costs_that_galaxy_alone(tmp_path: Path) -> None:
    sunrise(tmp_path / "broadband_1.fits", cameras=1)
    sunrise(tmp_path / "broadband_2.fits", cameras=1, scale=1.2)
    made = survey(tmp_path)
    (tile,) = made.tiles()
    table = made.catalog(tile)
    good, bad = table.to_pylist()
    assert good["read_error"] is None
    assert "sums to absolute magnitude -21.598, and AB_mag_nonscatter0 is -21.400" in bad["read_error"]
    assert "broadband_2.fits" in bad["read_error"]
    assert bad["true_flux_r"] is None
    assert reasons_of(table) == [bad["read_error"]]
    flux = made.read(tile, "r").flux
    y, x = int(table["y"][1].as_py()), int(table["x"][1].as_py())
    assert np.isnan(flux[y - 64 : y + 64, x - 64 : x + 64]).all()
    assert made.attributes(tile)["mock_observation"]["counts"] == {"selected": 1, "unreadable": 1}
    assert rows(survey(tmp_path, magnitude_tolerance=0.5))[1]["read_error"] is None


def test_cameras_filters_and_dust_that_are_not_there(tmp_path: Path) -> None:
    sunrise(tmp_path / "broadband_1.fits", cameras=2)
    chosen = rows(survey(tmp_path, cameras=[1, 3], **QUICK))
    assert [row["camera"] for row in chosen] == ["camera1", "camera3"]
    assert chosen[0]["read_error"] is None
    assert "has no camera 3; it has 0, 1" in chosen[1]["read_error"]
    (row,) = rows(survey(tmp_path, bands={"z": "z_SDSS.res"}))
    assert "has no filter 'z_SDSS.res'; it has galex/fuv_1500.res, g_SDSS.res" in row["read_error"]
    dusty = survey(tmp_path, dust=True)
    (fault,) = dusty.inspect(dusty.tiles())
    assert "expected extensions FILTERS and CAMERA0-BROADBAND, it has PRIMARY, BROADBAND, CAMERA0-BROADBAND" in str(
        fault
    )
    assert fault.refuses


def test_a_foreign_file_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    sunrise(tmp_path / "broadband_1.fits", cameras=1)
    fits.PrimaryHDU(np.zeros((9, 9))).writeto(tmp_path / "broadband_2.fits")
    (tmp_path / "broadband_3.fits").write_bytes(b"no FITS")
    made = survey(tmp_path)
    (fault,) = made.inspect(made.tiles())
    assert not fault.refuses
    assert "broadband_2.fits is no broadband file of Sunrise; expected extensions FILTERS" in str(fault)
    good, bad, worse = rows(survey(tmp_path, **QUICK))
    assert good["read_error"] is None
    assert "is no broadband file of Sunrise" in bad["read_error"]
    assert "broadband_3.fits" in worse["read_error"]
    with pytest.raises(SpecError, match=r"no file below .* matches \*\*nothing_\{galaxy\}\.fits"):
        survey(tmp_path, pattern="**nothing_{galaxy}.fits").tiles()


def test_galaxies_bring_their_own_tables(tmp_path: Path) -> None:
    for galaxy in (1, 2):
        sunrise(tmp_path / f"broadband_{galaxy}.fits", cameras=2)
    table = tmp_path / "galaxies.csv"
    table.write_text("SubfindID,snap,log_mass,sfr\n1,135,10.5,2.0\n2,135,11.25,0.5\n2,103,11.0,0.7\n")
    options = {
        "properties": str(table),
        "properties_id": "SubfindID",
        "properties_snapshot": "snap",
        "snapshot": 135,
    } | QUICK
    made = survey(tmp_path, **options)
    assert [(r["subhalo_id"], r["log_mass"]) for r in rows(made)] == [(1, 10.5), (1, 10.5), (2, 11.25), (2, 11.25)]
    before = [tile.identity for tile in made.tiles()]
    table.write_text("SubfindID,snap,log_mass,sfr\n1,135,10.5,2.0\n2,135,11.5,0.5\n2,103,11.0,0.7\n")
    assert [tile.identity for tile in survey(tmp_path, **options).tiles()] != before
    with pytest.raises(SpecError, match="name galaxy 2 more than once"):
        survey(tmp_path, **(options | {"properties_snapshot": None})).tiles()
    with pytest.raises(SpecError, match="has no column 'halo'; it has SubfindID, snap"):
        survey(tmp_path, **(options | {"properties_id": "halo"})).tiles()


def test_redshifts_are_drawn_from_a_catalogue_by_seed(tmp_path: Path) -> None:
    for galaxy in range(6):
        sunrise(tmp_path / f"broadband_{galaxy}.fits", cameras=2)
    catalog = tmp_path / "survey.csv"
    catalog.write_text("id,zspec\n" + "\n".join(f"{i},{z}" for i, z in enumerate((0.02, 0.05, 0.08, -9, 0.5))))
    options = {"redshift_catalog": str(catalog), "redshift_column": "zspec", "redshift_range": [0.01, 0.1]} | QUICK
    drawn = {row["source_name"]: row["redshift"] for row in rows(survey(tmp_path, **options))}
    assert set(drawn.values()) <= {0.02, 0.05, 0.08}
    assert len(set(drawn.values())) > 1
    assert drawn == {row["source_name"]: row["redshift"] for row in rows(survey(tmp_path, **options))}
    assert drawn != {row["source_name"]: row["redshift"] for row in rows(survey(tmp_path, seed=5, **options))}
    with pytest.raises(SpecError, match="none of 5 values of 'zspec' is a redshift above 0 within 2 to 3"):
        survey(tmp_path, **(options | {"redshift_range": [2, 3]})).tiles()
    snapshot_0 = tmp_path / "z0"
    sunrise(snapshot_0 / "broadband_1.fits", cameras=1, redshift=0.0)
    (row,) = rows(survey(snapshot_0, **QUICK))
    assert "its file gives redshift 0.0; give redshift or redshift_catalog" in row["read_error"]
    assert rows(survey(snapshot_0, redshift=0.05, **QUICK))[0]["read_error"] is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pixel_scale_arcsec": None}, "neither pixel_scale_arcsec nor like is given"),
        ({"psf_fwhm_arcsec": None}, "steps has psf; give psf_fwhm_arcsec, psf_images or like"),
        ({"steps": ["sky"]}, "steps has sky; give sky_sigma_njy or like"),
        ({"k_correction": "rest_frame", "dimming": "bolometric"}, "leave dimming at per_frequency"),
        ({"k_correction": "power_law"}, "band_wavelengths_um belong together"),
        ({"k_correction": "power_law", "band_wavelengths_um": {"g": 0.48}}, "give one each for g, r, i"),
        ({"redshift": 0.1, "redshift_catalog": "z.csv"}, "give one of them"),
        ({"psf_fwhm_arcsec": {"g": 1.0}}, "give one number, or one each for g, r, i"),
        ({"selection": {"band": "y"}}, "selection.band is 'y'; expected one of g, r, i"),
        ({"selection": {"magnitude_range": [20, 15]}}, "give the smaller number first"),
        ({"bands": {}}, "give at least one"),
        ({"pattern": "{galaxy}_{camera}.fits"}, "a file holds all cameras and bands"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        IllustrisOptions.model_validate({"root": "/nowhere"} | SEEN | options)
