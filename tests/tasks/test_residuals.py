"""Residual pictures that a run published: read back, and made again by hand from its cutouts and trained models."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import galflow
from galflow.cutouts.batches import make_batch
from galflow.errors import SpecError
from galflow.explore.explored import ExploredRun
from galflow.explore.query import Query, Selection
from galflow.report.inputs import StageRecord
from galflow.report.pictures import Display
from galflow.report.site.explained import StoredResiduals, read_explained
from galflow.report.site.sheets import Place, SheetJob, make_sheet
from galflow.runs.opened import PublishedRun
from galflow.runs.opened_residuals import open_residuals
from galflow.runs.plan import RunPlan, plan_run
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.garbage import find_garbage
from galflow.storage.layout import RECEIPT_SUFFIX
from galflow.storage.receipts import discard_damaged, verify_store
from galflow.storage.store import Store
from galflow.surveys.reading.fits_wcs import wcs_of_cutout
from tasks import stages
from tasks.cluster import running_cluster
from tasks.publish import publish
from tasks.residuals import residual_objects, store_residuals
from tasks.run_record import RunRecord

SHARE = 0.15
SURVEY = {"tiles": 2, "tile_size": 192, "objects_per_tile": 40, "magnitude_range": [18.5, 21.5]}
MODELS = [
    {"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}},
    {"name": "pca", "model": "pca.PCA", "options": {"components": 3}},
    {"name": "vae", "model": "vae.VAE", "options": {"latent": 2, "width": 8}},
]


def specify(root: Path, cluster: ClusterSpec | None = None, **output: Any) -> RunSpec:
    document = {
        "name": "residuals",
        "survey": {"kind": "synthetic", "options": SURVEY},
        "cutouts": {"size": 16, "plant": {"per_tile": 4}},
        "models": MODELS,
        "training": {"epochs": 1, "batch_size": 16, "reference_fraction": 0.3},
        "scoring": {"primary": "pca_reconstruction", "batch_objects": 5},
        "output": {"top": 3, "residuals": SHARE} | output,
        "store": {"root": str(root)},
    }
    spec = parse_spec(document)
    return spec if cluster is None else spec.model_copy(update={"cluster": cluster})


def run(spec: RunSpec, meanwhile: Callable[[RunRecord], None] | None = None) -> RunRecord:
    """All stages but the last, as the flow calls them; ``meanwhile`` is called once all is scored."""
    ran = RunRecord(spec)
    ran.cutouts = {None: stages.ingest.fn(ran)}
    ran.joined = {None: stages.join.fn(ran)}
    ran.models = stages.train_models.fn(ran)
    ran.ranking = stages.choose_rule.fn(ran)
    ran.scores = {None: stages.score_cutouts.fn(ran)}
    if meanwhile is not None:
        meanwhile(ran)
    ran.residual_objects = residual_objects.fn(ran)
    ran.residuals = store_residuals.fn(ran)
    return ran


@dataclass(frozen=True)
class Ended:
    """A run that is published."""

    record: RunRecord
    opened: PublishedRun

    @classmethod
    def of(cls, record: RunRecord) -> Ended:
        return cls(record, galflow.open_run(f"{record.store.root}/runs/{publish.fn(record).run}"))

    @property
    def spec(self) -> RunSpec:
        return self.record.spec

    @property
    def store(self) -> Store:
        return self.record.store

    @property
    def plan(self) -> RunPlan:
        return plan_run(self.spec, self.store)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSpec]:
    with running_cluster(specify(Path("unused"), ClusterSpec(workers=2))) as reached:
        yield reached.cluster


@pytest.fixture(scope="module")
def first(cluster: ClusterSpec, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return Ended.of(run(specify(tmp_path_factory.mktemp("residuals") / "store", cluster)))


def test_the_share_that_ranks_first_is_stored_and_no_planted_copy(first: Ended) -> None:
    table = first.opened.catalog.to_pandas()
    ranked = int(table["anomaly_rank"].notna().sum())
    count = math.ceil(SHARE * ranked)
    assert 0 < count < ranked
    for name in ("pca", "vae"):
        found = first.opened.residuals(name)
        top = first.opened.top(count)
        assert list(found["object_id"]) == list(top["object_id"])
        assert list(found["anomaly_rank"]) == list(top["anomaly_rank"]) == list(range(1, count + 1))
    assert len(set(found["tile"].to_numpy())) == SURVEY["tiles"], "of both tiles"
    assert sum(r.rows for r in first.record.residuals.receipts) == count
    assert first.record.residuals.made == SURVEY["tiles"]
    few = first.opened.residuals("vae", 3)
    xr.testing.assert_identical(few, found.isel(object=slice(3)))


@pytest.mark.parametrize("name", ["pca", "vae"])
def test_a_residual_is_the_data_minus_what_the_loaded_model_reconstructs(first: Ended, name: str) -> None:
    found, model = first.opened.residuals(name), first.opened.model(name)
    cutouts = [first.opened.cutout(int(number)) for number in found["object_id"]]
    flux, ivar = (np.stack([getattr(c, kind) for c in cutouts]) for kind in ("flux", "ivar"))
    observed = ivar > 0
    batch = make_batch(flux, ivar, model.stretch, with_ivar=True)
    made = model.reconstruct(batch)
    np.testing.assert_allclose(found["reconstruction"], made, rtol=1e-4, atol=1e-4)
    data = np.where(observed, model.stretch.forward(flux.astype(np.float64)), np.nan)
    np.testing.assert_allclose(found["residual"], data - made, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found["flux"], np.where(observed, flux, np.nan))
    made_flux = model.stretch.inverse(found["reconstruction"].to_numpy().astype(np.float64))
    np.testing.assert_allclose(found["flux_reconstruction"], made_flux, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["flux_residual"], found["flux"] - made_flux, rtol=1e-4, atol=1e-2)
    assert np.isfinite(found["reconstruction"]).all(), "a model has an idea of missing pixels, too"
    assert not observed.all()
    assert (np.isnan(found["residual"]) == ~observed).all()
    if name == "vae":
        assert np.abs(found["residual"] - first.opened.residuals("pca")["residual"]).max() > 0


def test_the_explorer_shows_stored_reconstructions_and_computes_the_others(first: Ended) -> None:
    explored = ExploredRun.open(first.store, first.opened.manifest)
    best, *_, last = explored.rows.ordered(Query(Selection("anomaly_rank is not null"), "anomaly_rank"))
    tiles = explored.rows.fetch([best, last], ["tile"]).column("tile").to_pylist()
    stored, computed = (
        {one.model: one for one in explored.reconstructions.of(tile, *place)}
        for tile, place in zip(tiles, explored.places([best, last]), strict=True)
        if place is not None
    )
    explored.close()
    assert {name: one.origin for name, one in stored.items()} == {"pca": "stored", "vae": "stored"}
    assert {name: one.origin for name, one in computed.items()} == {"pca": "computed", "vae": "computed"}
    for name in ("pca", "vae"):
        known = first.opened.residuals(name, 1)["flux_reconstruction"].to_numpy()[0]
        np.testing.assert_array_equal(stored[name].flux, known)
        cutout = first.opened.cutout(int(first.opened.catalog["object_id"][int(last)].as_py()))
        model = first.opened.model(name)
        batch = make_batch(cutout.flux[None], cutout.ivar[None], model.stretch, with_ivar=True)
        made = model.stretch.inverse(model.reconstruct(batch).astype(np.float64))[0]
        np.testing.assert_allclose(computed[name].flux, made, rtol=1e-3, atol=1e-3)


def test_a_tiles_pictures_open_in_xarray_with_units_and_their_place_on_the_sky(first: Ended) -> None:
    (receipt, _) = first.record.residuals.receipts
    stored = xr.open_zarr(first.store.uri(receipt.product).removeprefix("file://"), consolidated=False, chunks=None)
    assert stored["residual_vae"].dims == ("object", "band", "y", "x")
    assert {name: stored[name].attrs["units"] for name in ("flux", "residual_vae", "flux_residual_vae")} == {
        "flux": "nJy", "residual_vae": "1", "flux_residual_vae": "nJy",
    }  # fmt: skip
    assert stored.attrs["stretch_undone"].startswith("yes")
    assert stored.attrs["bands"] == ["g", "r", "i"]
    assert set(stored.attrs["models"]) == {"pca", "vae"}, "k-means has no reconstruction"
    for i in range(stored.sizes["object"]):
        cutout = first.opened.cutout(int(stored["object_id"][i]))
        wcs = wcs_of_cutout(stored.attrs["wcs"], int(stored["x0"][i]), int(stored["y0"][i]), 16)
        assert cutout.wcs is not None
        np.testing.assert_allclose(wcs.pixel_to_world_values(3, 5), cutout.wcs.pixel_to_world_values(3, 5), rtol=1e-12)


def test_the_report_and_the_manifest_say_where_they_are(first: Ended) -> None:
    page = (Path(first.spec.store.root) / f"reports/{first.opened.name}/lists.html").read_text()
    objects = sum(r.rows for r in first.record.residuals.receipts)
    assert f"Of the {objects} most anomalous objects reconstructions and residuals by pca, vae are stored" in page
    assert f'galflow.open_run("ROOT/runs/{first.opened.name}").residuals("pca")' in page
    assert first.opened.manifest.products["residuals"] == [r.key for r in first.record.residuals.receipts]


def test_the_report_has_what_is_stored_of_objects_beyond_its_first_sheet(first: Ended) -> None:
    stored = StoredResiduals.of(StageRecord(tuple(first.record.residuals.receipts)))
    assert stored.models == ("pca", "vae")
    found = first.opened.residuals("pca")
    places = [Place(str(tile), int(row)) for tile, row in zip(found["tile"].values, found["row"].values, strict=True)]
    read = read_explained(first.store, stored.products, [*places, Place(places[0].tile, 10**6), Place("none", 0)])
    assert read[-2:] == [{}, {}]
    np.testing.assert_array_equal(np.stack([one["pca"] for one in read[:-2]]), found["flux_reconstruction"])
    sets = {str(r.details["tile"]): r.product for r in first.record.cutouts[None].receipts}
    display = Display(("g", "r", "i"), (1.0, 1.0, 1.0), "nJy", 3.0, 100.0)
    room = len(places) - 1
    job = SheetJob(1, tuple(places), sets, display, len(places), stored.products, room)
    written = make_sheet(first.store, "reports/one-sheet", job, {})
    assert written.reasons == ()
    objects = [
        one
        for name in sorted(written.files)
        if "/pixels-" in name
        for one in json.loads(first.store.get(f"reports/one-sheet/{name}").partition(b",")[2].rpartition(b")")[0])
    ]
    assert [[m["model"] for m in one.get("explained", [])] for one in objects] == [["pca", "vae"]] * room + [[]]
    broken = dataclasses.replace(job, residuals=dict.fromkeys(stored.products, "residuals/none.zarr"))
    without = make_sheet(first.store, "reports/another-sheet", broken, {})
    assert f"{room} objects have no stored reconstructions in the report" in without.reasons[0]
    for folder, files in (("one-sheet", written.files), ("another-sheet", without.files)):
        for name in files:  # the store is the other tests' too
            first.store.delete(f"reports/{folder}/{name}")


def test_a_run_opens_whose_manifest_has_their_choice_under_its_earlier_name_and_key(first: Ended) -> None:
    manifest = first.opened.manifest
    (now,) = manifest.products["residual_objects"]
    before = now.replace("residual_objects/", "selections/", 1)
    for key in (now, now.removesuffix(RECEIPT_SUFFIX)):
        first.store.put(key.replace("residual_objects/", "selections/", 1), first.store.get(key))
    products = {name: keys for name, keys in manifest.products.items() if name != "residual_objects"}
    old = manifest.model_copy(update={"products": products | {"selection": [before]}})
    xr.testing.assert_identical(open_residuals(first.store, old, "pca"), first.opened.residuals("pca"))
    (garbage,) = find_garbage(first.store, grace=timedelta(0))
    assert garbage.kind == "selections"
    for key in garbage.keys:
        first.store.delete(key)


def test_a_second_start_makes_nothing_and_what_was_lost_alone_is_made_again(first: Ended) -> None:
    assert first.plan.done
    assert first.plan.run == first.opened.name
    again = run(first.spec)
    assert again.residual_objects.made == again.residuals.made == 0
    damaged = first.record.residuals.receipts[1].product
    whole = first.opened.residuals("vae")
    # As after a kill: a shard was written, the receipt was not.
    first.store.delete(f"{damaged}.receipt.json")
    first.store.delete(f"{damaged}/residual_vae/c/0/0/0/0")
    plan = first.plan
    assert [unit.product for unit in plan.units if not unit.done] == [damaged]
    assert plan.run == first.opened.name
    assert not plan.done
    mended = run(first.spec)
    assert (mended.residual_objects.made, mended.residuals.made) == (0, 1)
    assert mended.residuals.receipts[1].product == damaged
    assert first.plan.done
    xr.testing.assert_identical(first.opened.residuals("vae"), whole)


def test_verify_finds_altered_pictures_and_gc_leaves_those_of_a_run(first: Ended) -> None:
    kinds = {garbage.kind for garbage in find_garbage(first.store, leases=[])}
    assert not kinds & {"residuals", "residual_objects"}
    product, whole = first.record.residuals.receipts[0].product, first.opened.residuals("vae")
    key = f"{product}/residual_vae/c/0/0/0/0"
    data = first.store.get(key)
    first.store.delete(key)
    first.store.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    found = verify_store(first.store)
    assert [product in fault for fault in found.faults] == [True]
    assert found.damaged == [f"{product}.receipt.json"]
    discard_damaged(first.store, found.damaged)
    assert run(first.spec).residuals.made == 1
    xr.testing.assert_identical(first.opened.residuals("vae"), whole)
    assert not verify_store(first.store).faults


def test_without_them_a_run_is_the_one_it_was_before_they_could_be_asked_for(first: Ended, tmp_path: Path) -> None:
    spec = specify(tmp_path, residuals=0.0)
    assert not {"residuals", "residuals_of"} & set(spec.content()["output"])
    assert plan_run(spec, first.store).residual_objects is None
    assert "residuals" in first.spec.content()["output"]


def test_a_tile_whose_pictures_failed_is_told_and_done_by_the_next_start(
    first: Ended, cluster: ClusterSpec, tmp_path: Path
) -> None:
    """Its cutouts are damaged between scoring and the pictures; later they are whole again."""
    spec = specify(tmp_path / "store", cluster, residuals_of=["vae"], report=False)
    lost: dict[str, bytes] = {}

    def damage(record: RunRecord) -> None:
        cutouts = record.cutouts[None].receipts[0].product
        for key in record.store.list(f"{cutouts}/flux/c"):
            lost[key] = record.store.get(key)
            record.store.delete(key)

    ran = Ended.of(run(spec, damage))
    assert [failure.name for failure in ran.record.residuals.failures] == ["t00000"]
    assert any("residuals t00000" in line for line in ran.opened.summary["failures"])
    assert set(ran.opened.residuals("vae")["tile"].to_numpy()) == {"t00001"}
    with pytest.raises(SpecError, match="stored no residuals by 'pca'; it has those by vae"):
        ran.opened.residuals("pca")
    for key, data in lost.items():
        ran.store.put(key, data)
    plan = ran.plan
    assert plan.run != ran.opened.name
    assert not plan.published
    mended = Ended.of(run(spec))
    assert mended.record.residuals.made == 1
    assert mended.opened.name == plan.run
    assert mended.plan.done
    assert set(mended.opened.residuals("vae")["tile"].to_numpy()) == {"t00000", "t00001"}
