"""A run with two simulations beside the sky: what is published of their galaxies, and what does not count."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
import pytest

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_NORMAL
from galflow.cutouts.observed_shares import INCOMPLETE
from galflow.report.compared_figures import distribution_figure
from galflow.runs.opened import open_run
from galflow.spec.run import parse_spec
from galflow.storage.layout import RECEIPT_SUFFIX
from galflow.storage.receipts import Receipt, RunManifest, parse_receipt
from galflow.storage.store import Store
from tasks import stages
from tasks.cluster import running_cluster
from tasks.publish import publish
from tasks.run_record import RunRecord
from tests.galflow.surveys.simulation_files import skirt, sunrise

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


@dataclass(frozen=True)
class Published:
    """A run that has ended."""

    store: Store
    manifest: RunManifest

    def receipts(self, prefix: str) -> list[Receipt]:
        """The receipts below a prefix, by key."""
        keys = [key for key in self.store.list(prefix) if key.endswith(RECEIPT_SUFFIX)]
        return [parse_receipt(key, self.store.get(key)) for key in keys]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Published:
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
        "models": [
            {"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}},
            {"name": "pca", "model": "pca.PCA", "options": {"components": 4}},
        ],
        "training": {"epochs": 1, "reference_fraction": 0.4},
        "comparison": {
            "controls": [],
            "bootstraps": 60,
            "samples": [
                {"name": "illustris", "survey": {"kind": "illustris", "options": illustris}},
                {"name": "merger", "survey": {"kind": "skirt", "options": merger}},
            ],
        },
        "cluster": {"workers": 1},
        "output": {"top": 3},
        "store": {"root": str(folder / "store")},
    }
    spec = parse_spec(document)
    with running_cluster(spec) as reached:
        record = RunRecord(spec.model_copy(update={"cluster": reached.cluster}))
        record.cutouts = {sample: stages.ingest.fn(record, sample) for sample in record.surveys}
        record.joined = {sample: stages.join.fn(record, sample) for sample in record.surveys}
        record.models = stages.train_models.fn(record)
        record.ranking = stages.choose_rule.fn(record)
        record.scores = {sample: stages.score_cutouts.fn(record, sample) for sample in record.surveys}
        record.comparison = stages.compare.fn(record)
        return Published(Store.open(spec.store.root), publish.fn(record))


def rows(ran: Published, sample: str) -> list[dict[str, Any]]:
    """Of a sample's cutout sets, as they were cut."""
    found = []
    for receipt in ran.receipts(f"cutouts/{sample}"):
        table = CutoutSet(ran.store, receipt.product)
        names = ("selection", "redshift", "camera", "group", "true_magnitude_r", "read_error")
        columns = {name: table.column(name).to_pylist() for name in names}
        found += [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return found


def test_every_view_has_its_row_and_what_was_done_to_it(ran: Published) -> None:
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


def test_what_the_survey_would_not_find_is_counted_and_not_compared(ran: Published) -> None:
    told = ran.manifest.summary["mock_observations"]
    assert told["illustris"]["counts"] == {"selected": 30, "not detected": 2 * FAINT, "unreadable": 1}
    assert told["merger"]["counts"] == {"selected": 24}
    assert (told["merger"]["light"], told["illustris"]["light"]) == ("as seen at the file's redshift", "as emitted")
    compared = ran.manifest.summary["samples"]
    assert 20 <= compared["illustris"]["kmeans_distance"]["n_b"] <= 30
    assert 20 <= compared["merger"]["kmeans_distance"]["n_b"] <= 24
    parts = [pq.read_table(f"{ran.store.root}/{receipt.product}") for receipt in ran.receipts("scores/illustris")]
    assert sum(part["is_primary"].to_pylist().count(True) for part in parts) == 30


def test_the_report_shows_the_steps(ran: Published) -> None:
    (key,) = [key for key in ran.store.list("reports") if key.endswith("likelihoods.html")]
    page = ran.store.get(key).decode()
    section = page[page.index("How simulated galaxies were observed") :]
    assert "30 selected, 6 not detected, 1 unreadable" in section
    assert len(re.findall(r"alt=\"Steps of the mock observation of (illustris|merger)\"", section)) == 2


def test_the_least_probable_galaxies_shown_are_those_of_the_published_scores(ran: Published) -> None:
    (key,) = [key for key in ran.store.list("reports") if key.endswith("likelihoods.html")]
    page = ran.store.get(key).decode()
    for survey, side in (("synthetic", "sky"), ("illustris", "illustris"), ("skirt", "merger")):
        parts = [pq.read_table(f"{ran.store.root}/{r.product}") for r in ran.receipts(f"scores/{survey}")]
        found = [row for part in parts for row in part.to_pylist() if row["is_primary"]]
        found = [row for row in found if not row["flags"] & (NOT_NORMAL | INCOMPLETE)]
        if side == "sky":
            found = [row for row in found if row["split"] == "reference"]
        found.sort(key=lambda row: row["loglike_pca"])
        for what, row in (("Least", found[0]), ("Most", found[-1])):
            name = row.get("source_name") or row["object_id"]
            shown = re.search(rf'alt="{what} probable of {side} by loglike_pca: object ([^,"]+), ([^ ]+) nats"', page)
            assert shown is not None
            value = float(shown[2].replace("\u2212", "-").replace(",", ""))
            assert (shown[1], value) == (str(name), pytest.approx(row["loglike_pca"], abs=0.5))


def test_a_notebook_gets_the_same_galaxies_of_the_published_run(ran: Published) -> None:
    (key,) = [key for key in ran.store.list("reports") if key.endswith("likelihoods.html")]
    page = ran.store.get(key).decode()
    shown = open_run(f"{ran.store.root}/runs/{ran.manifest.run}").side_by_side()
    assert [side.name for side in shown.sides] == ["sky", "illustris", "merger"]
    for side in shown.sides:
        names = re.findall(rf'alt="Random galaxy of {side.name}: object ([^"]+)"', page)
        assert names == [galaxy.name for galaxy in side.picked.random]
    assert len(distribution_figure(shown, "loglike_pca").axes) == 2
