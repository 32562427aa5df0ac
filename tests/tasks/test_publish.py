from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

import tasks.run_order
from galflow.catalog.published import group_parts, read_basis, write_catalog_file
from galflow.catalog.ranking import rank_objects
from galflow.compare.samples import compare_samples
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.stream import stretch_for
from galflow.errors import GalflowError
from galflow.scores.score import PartFingerprints, PartSettings, score_set
from galflow.scores.summary import PartSummary, merge_summaries
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec, SurveySpec, parse_spec
from galflow.storage.layout import manifest_key, supplement_of
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt, list_runs, read_manifest, verify_store
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel, load_uri
from tasks.cluster import running_cluster
from tasks.fan_out import Failure, StageResult
from tasks.publish import publish
from tasks.run_record import Joined, RunRecord
from tasks.stages import choose_rule, join

SURVEY = {
    "tiles": 2, "tile_size": 160, "overlap_pixels": 16, "objects_per_tile": 64, "anomaly_fraction": 0.0,
    "magnitude_range": [18.5, 21.5], "catalog": "tile_truth",
}  # fmt: skip


@dataclass(frozen=True)
class Stages:
    """What a run hands to its last task."""

    spec: RunSpec
    store: Store
    cutouts: StageResult
    joined: Joined
    trained: StageResult
    scores: StageResult
    samples: dict[str, StageResult]
    joined_samples: dict[str, Joined]
    sample_scores: dict[str, StageResult]
    comparison: StageResult
    cluster: ClusterSpec

    def publish(self) -> Any:
        record = RunRecord(
            self.spec.model_copy(update={"cluster": self.cluster}),
            {None: self.cutouts, **self.samples},
            {None: self.joined, **self.joined_samples},
            self.trained,
            scores={None: self.scores, **self.sample_scores},
            comparison=self.comparison,
        )
        record.ranking = choose_rule.fn(record)
        return publish.fn(record)


def specification(root: Path, trained: str | None = None, samples: bool = True) -> RunSpec:
    mock = {"kind": "synthetic", "name": "mock", "options": {**SURVEY, "tiles": 1, "seed": 9}}
    return parse_spec(
        {
            "name": "publishing",
            "survey": {"kind": "synthetic", "options": SURVEY},
            "cutouts": {"size": 16, "plant": {"per_tile": 6}},
            "models": [
                {"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 4}},
                {"name": "vae", "model": "vae.VAE", "options": {"latent": 4, "width": 16}, "trained": trained},
            ],
            "training": {"epochs": 1, "batch_size": 16, "reference_fraction": 0.4},
            "comparison": {
                "controls": [],
                "samples": [{"name": "mock", "survey": mock}] if samples else [],
                "bootstraps": 50,
            },
            "store": {"root": str(root / "store")},
            "output": {"top": 3},
        }
    )


def cut(store: Store, spec: RunSpec, survey: SurveySpec, plant: bool) -> list[Receipt]:
    opened = open_survey(survey)
    cutouts = spec.cutouts if plant else spec.cutouts.model_copy(update={"plant": None})
    return [cut_tile(store, opened, tile, cutouts, tile.identity[:16]) for tile in opened.tiles()]


def train(store: Store, spec: RunSpec, name: str, cutouts: list[Receipt]) -> Receipt:
    sets = [CutoutSet(store, r.product) for r in cutouts]
    model = next(m for m in spec.models if m.name == name)
    return train_model(
        Target(store, f"models/{name}/{name * 2}", name * 2, {}),
        Recipe(model, spec.training_of(model), spec.cutouts, stretch_for(sets, spec.stretch), 0),
        sets,
    )


def score(store: Store, joined: Joined, models: dict[str, TrainedModel]) -> list[Receipt]:
    return [
        score_set(
            store,
            CutoutSet(store, tile.cutouts.product, tile.product),
            models,
            PartFingerprints(f"s{tile.fingerprint}", tile.cutouts.fingerprint, tile.fingerprint),
            PartSettings(shares=(0.1, 0.4), learners=("kmeans",)),
        )
        for tile in joined.tiles
    ]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSpec]:
    """Two workers, reached by address."""
    spec = specification(tmp_path_factory.mktemp("cluster"))
    with running_cluster(spec.model_copy(update={"cluster": ClusterSpec(workers=2)})) as reached:
        yield reached.cluster


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, cluster: ClusterSpec) -> Stages:
    """A run with one tile that failed, one model trained elsewhere, and one sample compared."""
    root = tmp_path_factory.mktemp("publish")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spec = specification(root)
    store, elsewhere = Store.open(spec.store.root), Store.open(root / "elsewhere")
    cutouts = cut(store, spec, spec.survey, plant=True)[:1]
    trained_elsewhere = train(elsewhere, spec, "vae", cut(elsewhere, spec, spec.survey, plant=True))
    uri = elsewhere.uri(trained_elsewhere.product)
    spec = specification(root, trained=uri)
    kmeans = train(store, spec, "kmeans", cutouts)
    models = {"kmeans": TrainedModel.load(store, kmeans.product), "vae": load_uri(uri)}
    joined = join.fn(RunRecord(spec, {None: StageResult(tuple(cutouts))}))
    scores = score(store, joined, models)
    (sample,) = spec.comparison.samples
    mock = cut(store, spec, sample.survey, plant=False)
    joined_mock = join.fn(RunRecord(spec, {"mock": StageResult(tuple(mock))}), "mock")
    mock_scores = score(store, joined_mock, models)
    table = pq.read_table(io.BytesIO(store.get(mock_scores[0].product)))
    comparison = compare_samples(
        Target(store, "comparisons/publishing/c.json", "c", {}), {"mock": table}, models, bootstraps=50, seed=0
    )
    torch.set_num_threads(threads)
    failure = Failure("ingest", "t00001", "DataError: no such file; restore it")
    reused = Receipt(product=uri, fingerprint=models["vae"].card.fingerprint)
    return Stages(
        spec, store, StageResult(tuple(cutouts), (failure,), 1), joined, StageResult((kmeans, reused), (), 1),
        StageResult(tuple(scores), (), 1), {"mock": StageResult(tuple(mock), (), 0)}, {"mock": joined_mock},
        {"mock": StageResult(tuple(mock_scores), (), 1)}, StageResult((comparison,), (), 1), cluster,
    )  # fmt: skip


@pytest.fixture(scope="module")
def manifest(stages: Stages) -> Any:
    return stages.publish()


@pytest.fixture(scope="module")
def page(stages: Stages, manifest: Any) -> str:
    keys = [key for key in stages.store.list(f"reports/{manifest.run}") if key.endswith(".html")]
    html = "".join(stages.store.get(key).decode() for key in keys)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_the_manifest_names_every_stages_products(stages: Stages, manifest: Any):
    stored = read_manifest(stages.store, manifest.run)
    assert stored is not None
    assert stored.located(stages.store) == manifest
    # No place of the store is in it, so that it holds wherever the store is moved.
    assert (stored.catalog, stored.report) == (
        f"catalogs/anomalies/{manifest.run}",
        f"reports/{manifest.run}/index.html",
    )
    assert stored.models["kmeans"] == "models/kmeans/kmeanskmeans"
    assert stages.store.root not in stages.store.get(manifest_key(stored.run)).decode()
    assert set(manifest.products) == {
        "cutouts", "cutouts of mock", "joins", "joins of mock",
        "models", "scores", "scores of mock", "ranking", "comparison", "catalog", "catalog of mock", "report"
    }  # fmt: skip
    assert manifest.products["models"] == ["models/kmeans/kmeanskmeans.receipt.json"]  # of this store alone
    assert manifest.models["vae"] == stages.spec.models[1].trained
    assert manifest.report == stages.store.uri(f"reports/{manifest.run}/index.html")
    products, faults, _ = verify_store(stages.store)
    assert faults == []
    assert products >= 11


def test_the_workers_write_the_bytes_that_one_process_would(stages: Stages, manifest: Any, tmp_path: Path):
    product = manifest.catalog.removeprefix(f"{stages.store.root}/")
    summary = merge_summaries(PartSummary.from_json(r.details["summary"]) for r in stages.scores.receipts)
    stored = json.loads(stages.store.get(f"{supplement_of(product)}/summary.json"))
    assert stored == json.loads(json.dumps(summary.to_json()))
    receipt, beside = (Receipt.model_validate_json(stages.store.get(key)) for key in manifest.products["catalog"])
    plan, ranking = read_basis(stages.store, product)
    assert (plan.run, ranking.rule.name) == (manifest.run, "kmeans_distance")
    plainly: dict[str, Any] = {}
    copies: dict[str, Any] = {}
    for index, parts in enumerate(group_parts(stages.scores.receipts)):
        written, planted = write_catalog_file(stages.store, "catalogs/again/run", index, parts, plan, ranking)
        plainly |= written
        copies |= planted
    assert receipt.files == plainly
    assert beside.product == supplement_of(product)
    assert {name: found for name, found in beside.files.items() if name.startswith("planted/")} == copies != {}
    inside = [key for key in stages.store.list(product) if key.startswith(f"{product}/")]
    assert inside == [f"{product}/{name}" for name in plainly]


@pytest.mark.parametrize("ranked", [False, True], ids=["before ranking", "before writing"])
@pytest.mark.parametrize("damage", ["does not exist", "differs from what its receipt says"])
def test_a_part_that_is_gone_or_altered_keeps_the_catalogue_from_being_published(
    stages: Stages, damage: str, ranked: bool, monkeypatch: pytest.MonkeyPatch
):
    spec = stages.spec.model_copy(update={"name": "gone"})
    (part,) = stages.scores.receipts
    data = stages.store.get(part.product)

    def break_it() -> None:
        stages.store.delete(part.product)
        if damage.startswith("differs"):
            half = len(data) // 2
            stages.store.put(part.product, data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])

    def rank(*arguments: Any) -> Any:
        found = rank_objects(*arguments)
        break_it()
        return found

    if ranked:
        monkeypatch.setattr(tasks.run_order, "rank_objects", rank)
    else:
        break_it()
    # What ranks reads a few columns; whether the whole is as it was, is seen when it is written.
    late = ranked or damage.startswith("differs")
    said = rf"1 of the catalogue's 1 files .* part-00000\.parquet.*{damage}" if late else rf"{part.product}.*{damage}"
    if late and not ranked:  # unless what was altered is in the columns that rank
        said += rf"|{part.product} cannot be read as Parquet"
    try:
        with pytest.raises(GalflowError, match=said):
            replace(stages, spec=spec).publish()
    finally:
        stages.store.put(part.product, data)
    assert not [run for run in list_runs(stages.store) if run.startswith("gone-")]


def test_the_report_shows_every_stage_with_what_failed_and_what_was_reused(stages: Stages, page: str):
    # Products wanted, done, partial, empty, failed, found done.
    assert re.search(r"ingest cutout sets, one a tile 2 1 0 0 1 0 ", page)
    assert re.search(r"ingest mock cutout sets, one a tile 1 1 0 0 0 1 ", page)
    assert re.search(r"train models 2 2 0 0 0 1 ", page)
    assert re.search(r"score mock score parts, one a tile 1 1 0 0 0 0 ", page)
    assert re.search(r"compare comparison of all samples 1 1 0 0 0 0 ", page)
    assert re.search(r"publish catalogue 1 1 0 0 0 0 ", page)
    assert "ingest failed 1 DataError: no such file; restore it t00001" in page
    assert f"Model vae is reused, not trained in this run: {stages.spec.models[1].trained}" in page


def test_the_findings_go_into_the_manifest(stages: Stages, manifest: Any):
    found = manifest.summary
    assert found["failures"] == ["ingest t00001: DataError: no such file; restore it"]
    n_reference = len(TrainedModel.load(stages.store, "models/kmeans/kmeanskmeans").reference["distance"])
    assert found["smallest_p"] == 1 / (n_reference + 1)
    assert found["resolvable"] == (found["resolution"] == "")
    assert set(found["inconsistent"]) == {"real objects", "planted copies", "mock"}
    assert set(found["samples"]) == {"mock"}
    assert json.loads(json.dumps(found)) == found  # plain values


def test_the_reports_receipt_names_the_catalogue_it_is_of(stages: Stages, manifest: Any):
    receipt = Receipt.model_validate_json(stages.store.get(f"reports/{manifest.run}.receipt.json"))
    catalog = Receipt.model_validate_json(stages.store.get(manifest.products["catalog"][0]))
    assert receipt.inputs == {catalog.product: catalog.fingerprint}


def test_publishing_again_changes_nothing_that_is_published(stages: Stages, manifest: Any):
    again = stages.publish()
    assert again.run == manifest.run
    stored = read_manifest(stages.store, manifest.run)
    assert stored is not None
    assert stored.finished == manifest.finished


def test_a_catalogue_without_a_tile_that_failed_to_be_scored_is_partial(stages: Stages):
    failed = Failure("score", "t00001", "it killed its worker three times")
    spec = stages.spec.model_copy(update={"name": "partial"})
    manifest = replace(stages, spec=spec, scores=replace(stages.scores, failures=(failed,))).publish()
    receipt = Receipt.model_validate_json(stages.store.get(manifest.products["catalog"][0]))
    assert receipt.outcome == "partial"
    assert receipt.reasons == ("tile t00001 is not in it: it killed its worker three times",)


def test_a_run_without_a_report_or_samples_has_neither(stages: Stages, tmp_path: Path):
    bare = specification(tmp_path, samples=False).model_dump(mode="json")
    bare |= {"name": "bare", "output": {"report": False}, "store": {"root": stages.spec.store.root}}
    bare["models"] = stages.spec.model_dump(mode="json")["models"]
    manifest = replace(
        stages, spec=parse_spec(bare), samples={}, joined_samples={}, sample_scores={}, comparison=StageResult()
    ).publish()
    assert manifest.report is None
    assert "report" not in manifest.products
    assert "samples" not in manifest.summary
