"""The stages as plain functions on a cluster of two workers, without a Prefect server: what each makes, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from galflow.catalog.parquet import read_catalog
from galflow.catalog.published import read_published
from galflow.compare.populations import read_population
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import has_flag
from galflow.cutouts.observed_shares import INCOMPLETE
from galflow.errors import StoreError
from galflow.runs.plan import plan_run
from galflow.scores.score import ScoreColumn, score_cutouts
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import read_receipts
from galflow.storage.store import Store
from galflow.training.trained_model import load_uri
from tasks import progress, stages
from tasks.cluster import running_cluster
from tasks.fan_out import StageResult
from tasks.progress import StageProgress
from tasks.publish import publish
from tasks.run_record import RunRecord

TILES = 3
SURVEY = {
    "tiles": TILES,
    "tile_size": 192,
    "objects_per_tile": 40,
    "overlap_pixels": 16,
    "magnitude_range": [18.5, 21.5],
}
KMEANS = {"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}
DIVERGING = {
    "name": "vae",
    "model": "vae.VAE",
    "options": {"latent": 2, "width": 8},
    "training": {"epochs": 1, "learning_rate": 1e30},
}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "name": "stages",
        "survey": {"kind": "synthetic", "options": SURVEY},
        "cutouts": {"size": 16},
        "models": [KMEANS],
        "training": {"epochs": 2, "batch_size": 16, "reference_fraction": 0.3},
        "output": {"report": False},
    } | changes


class Ran(RunRecord):
    """What each stage of a run left, and how much of it was made now."""

    @property
    def made(self) -> dict[str, int]:
        """How many units each stage of the survey made."""
        return {
            "ingest": self.cutouts[None].made,
            "join": self.joined[None].made,
            "train": self.models.made,
            "rank": self.ranking.made,
            "score": self.scores[None].made,
        }


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSpec]:
    """Two workers for all tests of this file."""
    with running_cluster(parse_spec(document(cluster={"workers": 2}))) as reached:
        yield reached.cluster


def specify(cluster: ClusterSpec, root: Path, **changes: Any) -> RunSpec:
    spec = parse_spec(document(store={"root": str(root)}, **changes))
    return spec.model_copy(update={"cluster": cluster})


def run(spec: RunSpec) -> Ran:
    """All stages but the last, as the flow calls them."""
    ran = Ran(spec)
    ran.cutouts = {sample: stages.ingest.fn(ran, sample) for sample in ran.surveys}
    ran.joined = {sample: stages.join.fn(ran, sample) for sample in ran.surveys}
    ran.models = stages.train_models.fn(ran)
    if spec.measure:
        ran.measurements = {sample: stages.measure_cutouts.fn(ran, sample) for sample in ran.surveys}
    ran.ranking = stages.choose_rule.fn(ran)
    ran.scores = {sample: stages.score_cutouts.fn(ran, sample) for sample in ran.surveys}
    ran.comparison = stages.compare.fn(ran)
    return ran


@pytest.fixture(scope="module")
def first(cluster: ClusterSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, Ran]:
    """A run on an empty store; tests may add to it."""
    spec = specify(cluster, tmp_path_factory.mktemp("stages") / "store")
    return spec, run(spec)


def test_each_stage_makes_every_unit_and_no_failure(first: tuple[RunSpec, Ran]) -> None:
    _, ran = first
    assert ran.made == {"ingest": TILES, "join": TILES, "train": 1, "rank": 1, "score": TILES}
    assert [r.details["tile"] for r in ran.scores[None].receipts] == ["t00000", "t00001", "t00002"]
    assert [t.cutouts.tile for t in ran.joined[None].with_objects] == ["t00000", "t00001", "t00002"]
    assert (
        ran.cutouts[None].failures + ran.joined[None].failures + ran.models.failures + ran.scores[None].failures == ()
    )
    assert ran.comparison.receipts + ran.comparison.failures == ()


def test_second_call_makes_nothing_and_returns_the_same_receipts(first: tuple[RunSpec, Ran]) -> None:
    spec, ran = first
    again = run(spec)
    assert again.made == {"ingest": 0, "join": 0, "train": 0, "rank": 0, "score": 0}
    assert again.cutouts[None].receipts == ran.cutouts[None].receipts
    assert again.joined[None].receipts == ran.joined[None].receipts
    assert again.models.receipts == ran.models.receipts
    assert again.scores[None].receipts == ran.scores[None].receipts


def test_stages_make_what_the_plan_says(first: tuple[RunSpec, Ran]) -> None:
    """The plan knows every fingerprint before anything is made, the run's own included."""
    spec, ran = first
    plan = plan_run(spec, Store.open(spec.store.root))
    receipts = [
        *ran.cutouts[None].receipts,
        *ran.joined[None].receipts,
        *ran.models.receipts,
        *ran.scores[None].receipts,
        *ran.ranking.receipts,
    ]
    assert [u.fingerprint for u in plan.units] == [r.fingerprint for r in receipts]
    assert all(u.done for u in plan.units)
    assert publish.fn(ran).run == plan.run
    assert plan_run(spec, Store.open(spec.store.root)).done


def test_workers_score_as_one_process_does(first: tuple[RunSpec, Ran]) -> None:
    spec, ran = first
    store = Store.open(spec.store.root)
    model = load_uri(store.uri(ran.models.receipts[0].product))
    column = ScoreColumn("kmeans", "distance")
    assert len(ran.scores[None].receipts) == TILES
    for cut, part in zip(ran.cutouts[None].receipts, ran.scores[None].receipts, strict=True):
        plain = score_cutouts(CutoutSet(store, cut.product), {"kmeans": model}, 32)[column]
        stored = pq.read_table(f"{spec.store.root}/{part.product}")[column.name].to_pandas().to_numpy()
        np.testing.assert_allclose(stored, plain, rtol=1e-6)


def test_each_model_sees_pixels_in_the_stretch_it_was_trained_in(
    first: tuple[RunSpec, Ran], cluster: ClusterSpec, tmp_path: Path
) -> None:
    """A model trained elsewhere, in another stretch, beside one of this run."""
    spec, ran = first
    elsewhere = Store.open(spec.store.root).uri(ran.models.receipts[0].product)
    models = [KMEANS | {"name": "own"}, KMEANS | {"name": "given", "trained": elsewhere}]
    mixed = specify(cluster, tmp_path / "store", models=models, stretch={"white_sigma": 50})
    there = run(mixed)
    store = Store.open(mixed.store.root)
    (own,) = (load_uri(store.uri(r.product)) for r in there.models.receipts if "://" not in r.product)
    given = load_uri(elsewhere)
    assert own.stretch != given.stretch
    cutouts = CutoutSet(store, there.cutouts[None].receipts[0].product)
    stored = pq.read_table(f"{mixed.store.root}/{there.scores[None].receipts[0].product}")
    for name, model in (("own", own), ("given", given)):
        alone = score_cutouts(cutouts, {name: model}, 64)[ScoreColumn(name, "distance")]
        np.testing.assert_allclose(stored[f"{name}_distance"].to_pandas().to_numpy(), alone, rtol=1e-6)


def test_updated_tile_under_given_models_redoes_that_tile_alone(
    first: tuple[RunSpec, Ran], cluster: ClusterSpec
) -> None:
    """Models trained elsewhere do not depend on the survey: one tile is cut, and of the others no pixel is scored.

    Their parts are written anew, for they say what the updated tile has of their objects.
    """
    spec, ran = first
    root = Path(spec.store.root)
    given = [KMEANS | {"trained": Store.open(root).uri(ran.models.receipts[0].product)}]
    trained = specify(cluster, root, models=given)
    # The same weights under the same name: no score is computed, and which rows they learnt from is not known.
    before = run(trained)
    assert before.made == {"ingest": 0, "join": 0, "train": 0, "rank": 1, "score": TILES}
    assert taken_over(spec, before.scores[None]) == [["kmeans"]] * TILES
    assert run(trained).made == {"ingest": 0, "join": 0, "train": 0, "rank": 0, "score": 0}
    updated = {"kind": "synthetic", "options": SURVEY | {"revision": {"t00001": 1}}}
    after = run(specify(cluster, root, models=given, survey=updated))
    assert after.made == {"ingest": 1, "join": TILES, "train": 0, "rank": 1, "score": TILES}
    assert taken_over(spec, after.scores[None]) == [["kmeans"], [], ["kmeans"]]
    changed = [
        a.product != b.product for a, b in zip(before.cutouts[None].receipts, after.cutouts[None].receipts, strict=True)
    ]
    assert changed == [False, True, False]
    columns = [
        [read_catalog(f"{root}/{r.product}")["kmeans_distance"] for r in run.scores[None].receipts]
        for run in (before, after)
    ]
    assert [one.equals(other) for one, other in zip(*columns, strict=True)] == [True, False, True]


def taken_over(spec: RunSpec, scores: StageResult) -> list[list[str]]:
    """For each score part the models whose scores were not computed anew, by its whole receipt."""
    receipts = read_receipts(Store.open(spec.store.root), [r.key for r in scores.receipts])
    return [r.details["taken_over"] for r in receipts]


def test_failed_model_leaves_the_others_scores(cluster: ClusterSpec, tmp_path: Path) -> None:
    spec = specify(cluster, tmp_path / "store", models=[KMEANS, DIVERGING])
    ran = run(spec)
    (failure,) = ran.models.failures
    assert (failure.stage, failure.name) == ("train", "vae")
    assert "VAE diverged" in failure.reason
    assert "training.learning_rate" in failure.reason
    assert len(ran.scores[None].receipts) == TILES
    manifest = publish.fn(ran)
    table = read_published(manifest.catalog)
    assert table["kmeans_distance"].null_count < len(table)
    assert "vae_neg_elbo" not in table.column_names
    assert any("VAE diverged" in text for text in manifest.summary["failures"])
    # The next start has that model to train, and then all to score with it.
    plan = plan_run(spec, Store.open(spec.store.root))
    assert [u.name for u in plan.models if not u.done] == ["vae"]
    assert not plan.done


def test_without_the_model_of_the_declared_score_nothing_is_ranked(cluster: ClusterSpec, tmp_path: Path) -> None:
    models = [DIVERGING, KMEANS]
    ran = run(specify(cluster, tmp_path / "store", models=models, scoring={"primary": "vae_neg_elbo"}))
    assert [r.product.split("/")[1] for r in ran.models.receipts] == ["kmeans"]
    (failure,) = ran.ranking.failures
    assert "vae_neg_elbo is to rank the objects, but model vae was not trained" in failure.reason
    assert "scoring.primary" in failure.reason
    assert not ran.has_scores
    others = run(specify(cluster, tmp_path / "store", models=models))
    assert others.ranking.failures == ()
    assert others.has_scores  # the other model ranks


def test_background_model_learns_its_sample_and_gives_a_likelihood_ratio(cluster: ClusterSpec, tmp_path: Path) -> None:
    """Zanisi+21's ratio in one run: of the survey's model to one of a sample, in the survey's stretch."""
    mocks = {"kind": "synthetic", "name": "mock", "options": SURVEY | {"tiles": 2, "objects_per_tile": 60, "seed": 4,
                                                                       "sky_sigma_njy": [6.0, 6.0, 6.0]}}  # fmt: skip
    # The same galaxies, with anomalies painted over most of them.
    marred = mocks | {"name": "marred", "options": mocks["options"] | {"anomaly_fraction": 0.9}}
    density = {"model": "maf.MAF", "options": {"layers": 1, "hidden_layers": 1, "width": 16}}
    models = [
        density | {"name": "maf", "background": "plain"},
        density | {"name": "plain", "sample": "mock"},
        KMEANS,
    ]
    spec = specify(
        cluster, tmp_path / "store", models=models,
        comparison={
            "samples": [{"name": "mock", "survey": mocks}, {"name": "marred", "survey": marred}], "bootstraps": 50,
            "pairs": [{"first": "marred", "second": "mock", "by": ["id_in_tile", "tile"]}],
            "match": [{"column": "magnitude", "bins": 2}],
            "explain": ["axis_ratio", "sersic_r50"],
        },
        measure=["sersic"], output={"report": True},
    )  # fmt: skip
    ran = run(spec)
    assert [s.failures for s in (ran.models, ran.scores[None], ran.comparison)] == [(), (), ()]
    store = Store.open(spec.store.root)
    loaded = {r.product.split("/")[1]: load_uri(store.uri(r.product)) for r in ran.models.receipts}
    assert loaded["maf"].stretch == loaded["plain"].stretch, "so that the ratio is a difference"
    counts = {name: model.card.training["counts"] for name, model in loaded.items()}
    assert counts["maf"] == counts["kmeans"] != counts["plain"]
    assert sum(counts["plain"].values()) <= sum(r.rows for r in ran.cutouts["mock"].receipts)

    manifest = publish.fn(ran)
    table = read_published(manifest.catalog)
    scored = table["outcome"].to_pandas() == "scored"
    ratio, ours, theirs = (
        table[name].to_pandas()[scored].to_numpy() for name in ("llr_maf_plain", "loglike_maf", "loglike_plain")
    )
    np.testing.assert_allclose(ratio, ours - theirs, rtol=1e-12)
    assert table["llr_maf_plain"].null_count == len(table) - scored.sum()
    found = manifest.summary["samples"]["mock"]
    assert "llr_maf_plain" in found
    assert "bpd_maf" in found
    assert "bpd_plain" not in found, "its held-out objects are not the sky's"
    assert found["llr_maf_plain"]["n_a"] == counts["maf"]["reference"]
    assert found["llr_maf_plain"]["n_b"] == counts["plain"]["reference"]
    assert not any("plain" in score for score in manifest.summary["inconsistent"]["real objects"])
    pages = [
        Store.open(spec.store.root).get(f"reports/{manifest.run}/{name}.html") for name in ("likelihoods", "provenance")
    ]
    report = b"".join(pages).decode()
    assert "log-likelihood ratio of maf to plain [nats]" in report
    (product,) = ran.comparison.receipts
    compared = json.loads(store.get(product.product))
    matched = compared["matched"]["mock"]
    assert f"In {matched['pairs']} pairs of galaxies of mock and galaxies of the sky of equal magnitude, " in report
    (edges,) = (of["edges"] for of in matched["matched_by"])
    counts = []
    for sample, bins in ((None, "n_a"), ("mock", "n_b")):
        parts = [pq.read_table(pa.BufferReader(store.get(r.product))) for r in ran.scores[sample].receipts]
        split, flags, magnitude = (
            np.concatenate([part[name].to_numpy() for part in parts])
            for name in ("split", "flags", "carried:magnitude")
        )
        chosen = (split == "reference") & ~has_flag(flags, INCOMPLETE)
        counts.append(np.histogram(magnitude[chosen], edges)[0])
        assert sum(cell[bins] for cell in matched["cells"]) <= counts[-1].sum()
    assert matched["pairs"] == np.minimum(*counts).sum(), (
        "equal counts in each bin of objects that no model learnt from"
    )
    explained = {one["column"] for one in matched["explained"]["all"]["properties"]}
    assert explained == {"magnitude", "axis_ratio", "sersic_r50"}
    population = read_population(
        store, ran.scores[None].receipts, ["bpd_maf"], ["half_light_radius_arcsec", "sersic_r50"], held_out=True,
        measured=ran.measurements[None].receipts,
    )  # fmt: skip
    true, measured = population.properties.T
    assert np.isfinite(measured).mean() > 0.5, "what was measured stands beside the catalogue's columns"
    assert spearmanr(true, measured, nan_policy="omit").statistic > 0.4
    assert set(matched["columns"]["llr_maf_plain"]["p"]) == {"ks", "wasserstein", "energy", "auroc"}
    assert "of sample mock" in report
    (pair,) = compared["pairs"]
    assert 20 <= pair["pairs"] <= counts[1].sum(), "of the mocks those that no model learnt from"
    assert pair["columns"]["bpd_maf"]["difference"]["low"] > 0, "what is painted makes them less probable"
    assert "marred minus mock" in report
    plan = plan_run(spec, store)
    assert plan.done
    assert plan.run == manifest.run
    # Other galaxies in the sample: its model is stale, that of the survey holds.
    other = mocks | {"options": mocks["options"] | {"seed": 5}}
    changed = spec.model_dump(mode="json")
    changed["comparison"]["samples"][0]["survey"] = other
    assert [u.name for u in plan_run(parse_spec(changed), store).models if not u.done] == ["plain"]


def test_survey_without_objects_is_a_failure_and_no_crash(cluster: ClusterSpec, tmp_path: Path) -> None:
    blank = {"kind": "synthetic", "options": SURVEY | {"tiles": 1, "objects_per_tile": 1, "magnitude_range": [39, 40],
                                                       "catalog": "detect", "anomaly_fraction": 0.0}}  # fmt: skip
    ran = run(specify(cluster, tmp_path / "store", survey=blank))
    (receipt,) = ran.cutouts[None].receipts
    assert (receipt.outcome, receipt.rows) == ("empty", 0)
    assert [f.reason for f in ran.models.failures] == [
        "there are no cutouts to measure the sky's sigma on; ingest gave no object at all"
    ]
    assert [f.reason.partition(",")[0] for f in ran.ranking.failures] == ["no model of the survey was trained"]
    assert not ran.has_scores


def test_stage_outside_a_run_asks_no_prefect_server(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a server was asked")

    for name in ("create_progress_artifact", "update_progress_artifact", "create_link_artifact"):
        monkeypatch.setattr(progress, name, refuse)
    with StageProgress("ingest", 2) as bar:
        bar.advance()
        bar.advance(failed=True)
    progress.link_to("file:///nowhere", "words", "key")
    assert not progress.in_prefect_run()


def test_stage_within_a_run_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, float, str]] = []

    def note(kind: str) -> Any:
        return lambda *_, progress, description, **__: told.append((kind, progress, description)) or kind

    monkeypatch.setattr(progress, "in_prefect_run", lambda: True)
    monkeypatch.setattr(progress, "create_progress_artifact", note("create"))
    monkeypatch.setattr(progress, "update_progress_artifact", note("update"))
    with StageProgress("ingest", 4, 1) as bar:
        bar.advance()
        bar.advance(failed=True)
    assert told[0] == ("create", 25.0, "ingest: 1 of 4 done")
    assert told[-1] == ("update", 75.0, "ingest: 3 of 4 done, 1 of them failed")


def test_check_refuses_a_store_that_cannot_be_written(cluster: ClusterSpec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"):
        stages.check.fn(specify(cluster, tmp_path / "file" / "store"))
