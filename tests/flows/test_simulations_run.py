"""A whole run with two simulations beside the sky: what is published of their galaxies, and what does not count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from galflow.cutouts.cutout_set import CutoutSet
from tests.galflow.surveys.simulation_files import skirt, sunrise

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd

SKY: dict[str, Any] = {
    "tiles": 2,
    "tile_size": 256,
    "objects_per_tile": 40,
    "bands": ["g", "r"],
    "sky_sigma_njy": [20.0, 30.0],
    "pixel_scale_arcsec": 0.3,
    "magnitude_range": [17.5, 20.5],
}
FAINT = 3
"""Galaxies of Illustris that the survey would not find."""


@pytest.fixture(scope="module")
def ran(run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("simulations")
    for galaxy in range(15 + FAINT):
        magnitude = -18.0 if galaxy >= FAINT else -9.0
        sunrise(folder / f"sunrise/broadband_{galaxy}.fits", seed=galaxy, absolute_magnitude=magnitude, sigma_kpc=1.0)
    sunrise(folder / "sunrise/broadband_99.fits", scale=1.5, cameras=1)
    for galaxy in range(12):
        for camera in ("i0", "i1"):
            for band in "gr":
                skirt(folder / f"skirt/m{galaxy}_{camera}_{band}.fits", band, seed=galaxy, camera=camera)
    survey = {"kind": "synthetic", "options": SKY}
    illustris = {
        "root": str(folder / "sunrise"),
        "bands": {"g": "g_SDSS.res", "r": "r_SDSS.res"},
        "like": survey,
        "redshift": 0.05,
        "stamp_size": 48,
        "galaxies_per_tile": 10,
    }
    merger = {
        "root": str(folder / "skirt"), "pattern": "{galaxy}_{camera}_{band}.fits", "bands": ["g", "r"], "light": "seen",
        "pixel_scale_arcsec": 0.3, "psf_fwhm_arcsec": 0.7, "sky_sigma_njy": {"g": 20.0, "r": 30.0}, "stamp_size": 32,
    }  # fmt: skip
    document = {
        "name": "simulations",
        "survey": survey,
        "cutouts": {"size": 16},
        "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
        "training": {"epochs": 1, "reference_fraction": 0.4},
        "comparison": {
            "bootstraps": 60,
            "samples": [
                {"name": "illustris", "survey": {"kind": "illustris", "options": illustris}},
                {"name": "merger", "survey": {"kind": "skirt", "options": merger}},
            ],
        },
        "cluster": {"workers": 1},
        "output": {"top": 3},
    }
    return run_to_its_end(folder, document, **prefect_api)


def rows(ran: Finished, sample: str) -> list[dict[str, Any]]:
    """Of a sample's cutout sets, as they were cut."""
    found = []
    for receipt in ran.receipts(f"cutouts/{sample}"):
        table = CutoutSet(ran.store, receipt.product)
        names = ("selection", "redshift", "camera", "group", "true_magnitude_r", "read_error")
        columns = {name: table.column(name).to_pylist() for name in names}
        found += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return found


def test_every_view_has_its_row_and_what_was_done_to_it(ran: Finished) -> None:
    views = rows(ran, "illustris")
    assert len(views) == 2 * (15 + FAINT) + 1
    assert {view["redshift"] for view in views if view["read_error"] is None} == {0.05}
    (broken,) = [view for view in views if view["read_error"] is not None]
    assert "sums to absolute magnitude" in broken["read_error"]
    assert [view["selection"] for view in views].count("not detected") == 2 * FAINT
    for receipt in ran.receipts("cutouts/illustris"):
        said = CutoutSet(ran.store, receipt.product).attributes["mock_observation"]
        assert said["steps"] == ["dimming", "rebinning", "psf", "sky", "selection"]
        assert said["imitated_tile"] in ("t00000", "t00001")
    assert any("sums to absolute magnitude" in line for line in ran.manifest.summary["partial"])


def test_what_the_survey_would_not_find_is_counted_and_not_compared(ran: Finished) -> None:
    told = ran.manifest.summary["mock_observations"]
    assert told["illustris"]["counts"] == {"selected": 30, "not detected": 2 * FAINT, "unreadable": 1}
    assert told["merger"]["counts"] == {"selected": 24}
    assert (told["merger"]["light"], told["illustris"]["light"]) == ("as seen at the file's redshift", "as emitted")
    compared = ran.manifest.summary["samples"]
    assert 20 <= compared["illustris"]["kmeans_distance"]["n_b"] <= 30
    assert 20 <= compared["merger"]["kmeans_distance"]["n_b"] <= 24
    parts = [pq.read_table(f"{ran.root}/{receipt.product}") for receipt in ran.receipts("scores/illustris")]
    assert sum(part["is_primary"].to_pylist().count(True) for part in parts) == 30


def test_the_report_shows_the_steps(ran: Finished) -> None:
    (key,) = [key for key in ran.store.list("reports") if key.endswith("index.html")]
    page = ran.store.get(key).decode()
    section = page[page.index("How simulated galaxies were observed") :]
    assert "30 selected, 6 not detected, 1 unreadable" in section
    assert len(re.findall(r"alt=\"Steps of the mock observation of (illustris|merger)\"", section)) == 2
