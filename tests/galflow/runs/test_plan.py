"""What is to do and why: on an empty store, on a finished one, and after each kind of change."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from galflow.catalog.published import read_parts
from galflow.compare.samples import compare_samples
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.joins import join_tiles
from galflow.cutouts.stream import stretch_for
from galflow.errors import SpecError
from galflow.runs.check import check_run
from galflow.runs.plan import RunPlan, part_settings, plan_comparison, plan_run
from galflow.scores.leading import declared_score, first_score
from galflow.scores.ranking import rank_by_evidence
from galflow.scores.score import PartFingerprints, score_set
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt, RunManifest, publish_manifest
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel, load_uri

SURVEY = {"tiles": 3, "tile_size": 128, "objects_per_tile": 24, "overlap_pixels": 16, "magnitude_range": [18.5, 21.5]}
TILES = ("t00000", "t00001", "t00002")
DOCUMENT: dict[str, Any] = {
    "name": "planned",
    "survey": {"kind": "synthetic", "options": SURVEY},
    "cutouts": {"size": 16, "plant": {"per_tile": 2}},
    "models": [
        {"name": "near", "model": "kmeans.KMeans", "options": {"clusters": 1}},
        {"name": "far", "model": "kmeans.KMeans", "options": {"clusters": 2}},
    ],
    "training": {"epochs": 1, "reference_fraction": 0.3},
    "comparison": {
        "controls": [],
        "samples": [
            {"name": "mock", "survey": {"kind": "synthetic", "name": "mock", "options": SURVEY | {"tiles": 1}}}
        ],
        "bootstraps": 50,
    },
}

Change = Callable[[dict[str, Any]], Any]


def carry_out(spec: RunSpec, store: Store) -> None:
    """Make what the plan says, plainly and in its order, and publish a manifest."""
    plan = plan_run(spec, store)
    receipts: dict[str, Receipt] = {}
    for tiles, cutouts in [
        (plan.cutouts, spec.cutouts),
        *((units, spec.cutouts.model_copy(update={"plant": None})) for units in plan.samples.values()),
    ]:
        for unit in tiles:
            receipts[unit.fingerprint] = cut_tile(
                store, open_survey(unit.survey), unit.tile, cutouts, unit.fingerprint, unit.rows
            )
    joins = [*plan.joins, *(u for units in plan.sample_joins.values() for u in units)]
    for _, joined in join_tiles(store, [u.task for u in joins if u.task is not None], spec.join):
        assert isinstance(joined, Receipt)
    sets = [CutoutSet(store, u.cutouts.product, u.product) for u in plan.joins]
    for unit in plan.models:
        if unit.done:
            continue
        train_model(
            Target(store, unit.product, unit.fingerprint, {}),
            Recipe(unit.model, spec.training_of(unit.model), spec.cutouts, stretch_for(sets, spec.stretch), spec.seed),
            sets,
        )
    models = {
        u.name: load_uri(u.product) if u.model.trained else TrainedModel.load(store, u.product) for u in plan.models
    }
    assert plan.ranking is not None
    rank_by_evidence(
        Target(store, plan.ranking.product, plan.ranking.fingerprint, {}), sets, models, plan.ranking.settings
    )
    for scored in [*plan.scores, *(u for units in plan.sample_scores.values() for u in units)]:
        receipts[scored.fingerprint] = score_set(
            store,
            CutoutSet(store, scored.joined.cutouts.product, scored.joined.product),
            models,
            PartFingerprints(scored.fingerprint, scored.joined.cutouts.fingerprint, scored.joined.fingerprint),
            part_settings(spec, spec.survey),
        )
    if plan.comparison is not None:
        parts = {n: read_parts(store, [receipts[u.fingerprint] for u in us]) for n, us in plan.sample_scores.items()}
        compare_samples(
            Target(store, plan.comparison.product, plan.comparison.fingerprint, {}),
            parts,
            models,
            bootstraps=spec.comparison.bootstraps,
            seed=spec.seed,
        )
    publish_manifest(
        store,
        RunManifest(
            run=plan.run, name=spec.name, finished="2026-01-01T00:00:00+00:00", code_version="0", specification={},
            models={}, products={}, catalog="", report=None, summary={},
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in which everything of DOCUMENT is done; not to be changed."""
    store = Store.open(tmp_path_factory.mktemp("plan") / "store")
    carry_out(parse_spec(DOCUMENT), store)
    return store


@pytest.fixture
def copied(finished: Store, tmp_path: Path) -> Store:
    """A copy of it, to be damaged."""
    shutil.copytree(finished.root.removeprefix("file://"), tmp_path / "copy")
    return Store.open(tmp_path / "copy")


def test_planning_reads_each_receipt_once_and_keeps_it_briefly(
    finished: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    get_many = Store.get_many

    def watched(store: Store, keys: list[str]) -> dict[str, bytes]:
        read.extend(keys)
        return get_many(store, keys)

    monkeypatch.setattr(Store, "get_many", watched)
    plan = plan_run(parse_spec(DOCUMENT), finished)
    assert plan.done
    assert sorted(read) == sorted(u.receipt.key for u in plan.units if u.receipt)
    for unit in (*plan.cutouts, *plan.scores):
        assert unit.receipt is not None
        assert not {"summary", "files", "flags"} & set(unit.receipt.details)
        assert list(unit.receipt.files) == ([""] if unit.stage == "score" else [])


def planned(store: Store, change: Change = lambda document: None) -> RunPlan:
    """The plan of DOCUMENT after a change to it."""
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return plan_run(parse_spec(document), store)


def todo(plan: RunPlan) -> dict[str, list[str]]:
    """Stage -> names of the units to do, the sample's marked as such; stages with nothing to do are left out."""
    groups = [("ingest", "", plan.cutouts), ("join", "", plan.joins)]
    groups += [("train", "", plan.models), ("score", "", plan.scores)]
    groups += [("rank", "", [plan.ranking] if plan.ranking else [])]
    groups += [("ingest", f"{n}/", units) for n, units in plan.samples.items()]
    groups += [("join", f"{n}/", units) for n, units in plan.sample_joins.items()]
    groups += [("score", f"{n}/", units) for n, units in plan.sample_scores.items()]
    groups += [("compare", "", [plan.comparison] if plan.comparison else [])]
    found: dict[str, list[str]] = {}
    for stage, prefix, units in groups:
        found.setdefault(stage, []).extend(prefix + u.name for u in units if not u.done)
    return {stage: names for stage, names in found.items() if names}


def whys(plan: RunPlan) -> dict[tuple[str, str], str]:
    """(Stage, unit) of the survey -> why it is to do."""
    units = [*plan.cutouts, *plan.joins, *plan.models, *plan.scores, *([plan.ranking] if plan.ranking else [])]
    return {(u.stage, u.name): u.why for u in units if not u.done}


EVERYTHING = {
    "ingest": [*TILES, "mock/t00000"],
    "join": [*TILES, "mock/t00000"],
    "train": ["near", "far"],
    "rank": ["synthetic"],
    "score": [*TILES, "mock/t00000"],
    "compare": ["mock"],
}
WHY_RANK = {("rank", "synthetic"): "which score ranks is to be chosen: the models or their objects are new or changed"}
SCORES_ALONE = {"rank": ["synthetic"], "score": EVERYTHING["score"], "compare": ["mock"]}


def test_on_an_empty_store_everything_is_to_do(tmp_path: Path) -> None:
    plan = planned(Store.open(tmp_path / "store"))
    assert todo(plan) == EVERYTHING
    assert not plan.done
    assert whys(plan) == {
        **{(stage, t): f"tile {t} is new" for t in TILES for stage in ("ingest", "join")},
        **{("train", m): f"model {m} is new" for m in ("near", "far")},
        **{("score", t): f"tile {t} was never scored" for t in TILES},
        **WHY_RANK,
    }
    assert plan.comparison is not None
    assert plan.comparison.why == "samples mock: new, or their scores changed"
    # Planning makes nothing, not even the folder.
    assert not (tmp_path / "store").exists()


def test_on_a_finished_store_nothing_is_to_do(finished: Store, tmp_path: Path) -> None:
    plan = planned(finished)
    assert todo(plan) == {}
    assert plan.published
    assert plan.done
    # All was known in advance: products, fingerprints and the run's name.
    before = planned(Store.open(tmp_path / "empty"))
    assert before.run == plan.run
    assert [(u.fingerprint, u.product) for u in before.units] == [(u.fingerprint, u.product) for u in plan.units]


def test_plan_as_json_says_why_for_what_is_to_do_alone(finished: Store) -> None:
    plan = planned(finished, lambda d: d["models"].append({"name": "new", "model": "kmeans.KMeans"}))
    document = plan.to_json()
    assert (document["run"], document["published"], document["done"]) == (plan.run, False, False)
    assert {(u["stage"], u["name"]) for u in document["units"] if not u["done"]} >= {("train", "new")}
    assert all(("why" in unit) != unit["done"] for unit in document["units"])


def test_updated_tile_restales_what_depends_on_it(finished: Store) -> None:
    """Its cutouts; its neighbours' joins; the models, which are trained on them; and the scores from the models."""
    plan = planned(finished, lambda d: d["survey"]["options"].update(revision={"t00001": 1}))
    assert todo(plan) == EVERYTHING | {"ingest": ["t00001"], "join": list(TILES)}
    assert whys(plan) == {
        ("ingest", "t00001"): "tile t00001 changed",
        **{("join", t): f"the neighbours of tile {t}, or its cutouts, changed" for t in TILES},
        **{("train", m): f"model {m}: settings or training tiles changed" for m in ("near", "far")},
        ("score", "t00000"): "tile t00000: model near, far is new or changed",
        ("score", "t00001"): "the cutouts of tile t00001 changed",
        ("score", "t00002"): "tile t00002: model near, far is new or changed",
        **WHY_RANK,
    }


def test_updated_tile_under_models_trained_elsewhere_restales_that_tile(finished: Store, copied: Store) -> None:
    """And the scores of its neighbours, which say of their objects what it has of them."""
    trained = {unit.name: finished.uri(unit.product) for unit in planned(finished).models}
    given = [model | {"trained": trained[model["name"]]} for model in DOCUMENT["models"]]

    def given_models(document: dict[str, Any]) -> None:
        document["models"] = given

    def update(document: dict[str, Any]) -> None:
        given_models(document)
        document["survey"]["options"]["revision"] = {"t00001": 1}

    # Which rows trained a model that was trained elsewhere is not known: scores hold, and their parts are written anew.
    plan = planned(copied, given_models)
    assert todo(plan) == SCORES_ALONE
    assert all(unit.earlier is not None and set(unit.earlier.models) == {"near", "far"} for unit in plan.scores)
    carry_out(parse_spec(DOCUMENT | {"models": given}), copied)
    assert todo(planned(copied, given_models)) == {}
    plan = planned(copied, update)
    assert todo(plan) == {"ingest": ["t00001"], "join": list(TILES), "rank": ["synthetic"], "score": list(TILES)}
    found = whys(plan)
    assert found["score", "t00001"] == "the cutouts of tile t00001 changed"
    for tile in ("t00000", "t00002"):
        reason = f"tile {tile}: what its neighbours have of its objects changed; scores by near, far hold"
        assert found["score", tile] == reason


def test_one_tile_more_is_new_and_its_neighbour_gives_it_objects(finished: Store) -> None:
    plan = planned(finished, lambda d: d["survey"]["options"].update(tiles=4))
    assert set(todo(plan)["ingest"]) <= {"t00002", "t00003"}
    assert {"t00002", "t00003"} <= set(todo(plan)["join"])
    found = whys(plan)
    assert found["ingest", "t00003"] == "tile t00003 is new"
    # The catalogue's rows in the overlap may go over to the new tile.
    assert found.get(("ingest", "t00002"), "catalogue rows changed").endswith("catalogue rows changed")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d["cutouts"].update(size=20), EVERYTHING),
        (lambda d: d["cutouts"].update(minimum_observed=0.4), EVERYTHING),
        # Nothing is planted into a sample.
        (lambda d: d["cutouts"].update(plant={"per_tile": 3}), EVERYTHING | {"ingest": [*TILES], "join": [*TILES]}),
        (lambda d: d["join"].update(radius_arcsec=2), {k: v for k, v in EVERYTHING.items() if k != "ingest"}),
        (lambda d: d["stretch"].update(white_sigma=500), {"train": ["near", "far"], **SCORES_ALONE}),
        (lambda d: d["models"][1]["options"].update(clusters=3), {"train": ["far"], **SCORES_ALONE}),
        (lambda d: d["models"][0].update(training={"epochs": 2}), {"train": ["near"], **SCORES_ALONE}),
        (lambda d: d["models"].append({"name": "new", "model": "kmeans.KMeans"}), {"train": ["new"], **SCORES_ALONE}),
        (lambda d: d["models"].pop(), SCORES_ALONE),
        (lambda d: d["scoring"].update(primary="far_distance"), {"rank": ["synthetic"]}),
        (lambda d: d["comparison"].update(bootstraps=60), {"compare": ["mock"]}),
        (lambda d: d.update(seed=1), {"train": ["near", "far"], **SCORES_ALONE}),
        (lambda d: d["comparison"].update(samples=[]), {}),
        (lambda d: d["training"].update(checkpoint_seconds=1), {}),
        (lambda d: d["output"].update(top=5), {}),
        (lambda d: d.update(cluster={"workers": 3, "in_flight_per_worker": 1}), {}),
    ],
    ids=["size", "observed", "plant", "join", "stretch", "option", "training", "new-model", "fewer-models", "primary",
         "bootstraps", "seed", "no-comparison", "checkpoints", "report", "cluster"],
)  # fmt: skip
def test_a_change_restales_what_depends_on_it_and_nothing_else(
    finished: Store, change: Change, expected: dict[str, list[str]]
) -> None:
    def both(document: dict[str, Any]) -> None:
        for part in ("join", "stretch", "scoring", "output"):
            document.setdefault(part, {})
        change(document)

    plan = planned(finished, both)
    assert todo(plan) == expected
    assert plan.done == (plan.run == planned(finished).run)
    if expected:
        assert plan.run != planned(finished).run


def test_where_work_runs_and_what_it_is_called_matter_not(finished: Store, copied: Store) -> None:
    """Another cluster or another place of the same products is the same run, done."""
    assert planned(finished, lambda d: d.update(cluster={"workers": 1})).done
    assert planned(copied, lambda d: d.update(store={"root": "s3://elsewhere/x"})).done


def test_reasons_name_what_changed(finished: Store) -> None:
    found = whys(planned(finished, lambda d: d["cutouts"].update(size=20)))
    assert found["ingest", "t00000"] == "tile t00000: cutout settings or catalogue rows changed"
    assert found["score", "t00000"] == "the cutouts of tile t00000 changed"
    found = whys(planned(finished, lambda d: d["models"][1]["options"].update(clusters=3)))
    assert found == {
        ("train", "far"): "model far: settings or training tiles changed",
        **{("score", t): f"tile {t}: model far is new or changed; scores by near hold" for t in TILES},
        **WHY_RANK,
    }
    assert whys(planned(finished, lambda d: d.update(scoring={"primary": "far_distance"}))) == WHY_RANK


def test_lost_and_unreadable_receipts_are_to_do_again(copied: Store) -> None:
    plan = planned(copied)
    first, second = plan.cutouts[0].receipt, plan.scores[2].receipt
    assert first is not None
    assert second is not None
    copied.delete(first.key)
    copied.put(second.key, b'{"half": ')
    after = planned(copied)
    assert todo(after) == {"ingest": ["t00000"], "score": ["t00002"]}
    assert after.published
    assert not after.done


def test_new_release_of_the_same_data_is_done(finished: Store) -> None:
    """A tile's identity is its data; the products stay where the first release put them."""
    plan = planned(finished, lambda d: d["survey"].update(release="dr2"))
    assert todo(plan) == {}
    assert all("/1/" in u.product for u in plan.cutouts)


def test_rows_outside_every_tile_are_a_unit(finished: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from galflow.surveys.synthetic import Synthetic

    everything = Synthetic.survey_catalog

    def with_a_stray(survey: Synthetic) -> pa.Table:
        table = everything(survey)
        assert table is not None
        stray = table.slice(0, 1).set_column(1, "ra_deg", pa.array([10.0]))
        return pa.concat_tables([table, stray.set_column(0, "object_id", pa.array([77], table["object_id"].type))])

    monkeypatch.setattr(Synthetic, "survey_catalog", with_a_stray)
    plan = planned(finished)
    assert todo(plan)["ingest"] == ["outside", "mock/outside"]
    (outside,) = (u for u in plan.cutouts if u.name == "outside")
    assert outside.rows is not None
    assert outside.rows["object_id"].to_pylist() == [77]


def test_a_score_may_be_declared_to_rank_and_the_first_stands_in() -> None:
    spec = parse_spec(DOCUMENT)
    assert (declared_score(spec), first_score(spec, {"near", "far"})) == (None, "near_distance")
    assert first_score(spec, {"far"}) == "far_distance"
    assert declared_score(parse_spec(DOCUMENT | {"scoring": {"primary": "far_distance"}})) == "far_distance"
    with pytest.raises(SpecError, match=r"'near_kl' is no score of this run; expected one of near_distance, far_dist"):
        declared_score(parse_spec(DOCUMENT | {"scoring": {"primary": "near_kl"}}))


def test_check_refuses_a_trained_model_without_the_score_that_ranks(finished: Store, tmp_path: Path) -> None:
    (near, _) = planned(finished).models
    card = json.loads(finished.get(f"{near.product}/card.json"))
    older = Store.open(tmp_path)
    for name in ("weights.safetensors", "reference.safetensors"):
        older.put(f"near/{name}", finished.get(f"{near.product}/{name}"))
    older.put("near/card.json", json.dumps(card | {"scores": {"density": "what it gave then"}}).encode())
    given = {"name": "near", "model": "kmeans.KMeans", "trained": older.uri("near")}
    with pytest.raises(SpecError, match=r"scoring.primary: .*near gives no 'distance'; expected one of density"):
        check_run(parse_spec(DOCUMENT | {"models": [given], "scoring": {"primary": "near_distance"}}))


def test_a_model_of_a_sample_never_leads() -> None:
    models = [{"name": "mocks", "model": "kmeans.KMeans", "sample": "mock"}, *DOCUMENT["models"]]
    spec = parse_spec(DOCUMENT | {"models": models})
    assert first_score(spec, {"mocks", "near"}) == "near_distance"
    with pytest.raises(SpecError, match="'mocks_distance' is no score of this run"):
        declared_score(parse_spec(DOCUMENT | {"models": models, "scoring": {"primary": "mocks_distance"}}))


def test_check_refuses_what_cannot_be_meant(tmp_path: Path) -> None:
    check_run(parse_spec(DOCUMENT))
    (tmp_path / "empty").mkdir()
    no_tiles = {"kind": "fits_tiles", "options": {"root": str(tmp_path / "empty"), "bands": {"r": "{tile}-r.fits"}}}
    mock = DOCUMENT["comparison"]["samples"][0]
    one_band = {"kind": "synthetic", "options": {"bands": ["r"], "sky_sigma_njy": [10.0]}}
    refused = [
        ({"models": [{"name": "a", "model": "nothing.Nothing"}]}, "model 'nothing.Nothing' is unknown"),
        ({"models": [{"name": "a", "model": "kmeans.KMeans", "options": {"n": 1}}]}, "no option 'n'; its options are"),
        (
            {"models": [{"name": "a", "model": "kmeans.KMeans", "options": {"size": 9}}]},
            "option 'size' is 9; it follows from the",
        ),
        (
            {"models": [{"name": "a", "model": "maf.MAF", "background": "b"}, {"name": "b", "model": "vae.VAE"}]},
            "model a: background 'b' asks for a likelihood ratio, but vae.VAE has no exact log-likelihood; expected",
        ),
        (
            {
                "models": [
                    {"name": "a", "model": "maf.MAF", "background": "b", "training": {"neighbours": "mask"}},
                    {"name": "b", "model": "maf.MAF"},
                ]
            },
            "is of the very same pixels, but a has neighbours: mask, b has neighbours: keep; give both the same",
        ),
        (
            {"models": [{"name": "a", "model": "kmeans.KMeans", "sample": "mock"}]},
            "each has a sample, so none learns the survey",
        ),
        (
            {"comparison": {"controls": [], "samples": [mock | {"survey": one_band}]}},
            "comparison sample mock: cutouts.bands: 'g'",
        ),
    ]
    for change, text in refused:
        with pytest.raises(SpecError, match=text):
            check_run(parse_spec(DOCUMENT | change))
    with pytest.raises(SpecError, match="no file below"):
        plan_run(parse_spec(DOCUMENT | {"survey": no_tiles}), Store.open(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


def test_check_refuses_a_trained_model_that_does_not_fit(finished: Store) -> None:
    (near, _) = planned(finished).models
    given = {"name": "near", "model": "kmeans.KMeans", "trained": finished.uri(near.product)}
    check_run(parse_spec(DOCUMENT | {"models": [given]}))
    refused = [
        ({"models": [given | {"model": "vae.VAE"}]}, "was trained as a kmeans.KMeans, and this run asks for vae.VAE"),
        ({"models": [given], "cutouts": {"size": 20}}, "for cutouts of size 16, and this run asks for 20"),
        ({"models": [given], "cutouts": {"size": 16, "bands": ["r"]}}, "for bands g, r, i, and this run asks for r"),
    ]
    for change, text in refused:
        with pytest.raises(SpecError, match=text):
            check_run(parse_spec(DOCUMENT | {"comparison": {}} | change))


def test_a_comparison_of_ratios_is_stale_when_the_survey_is_scored_anew(local_store: Store) -> None:
    """Ratios are compared on the survey's own objects; scores alone on the reference beside the models."""
    density = {"model": "maf.MAF"}
    models = [density | {"name": "maf", "background": "plain"}, density | {"name": "plain", "sample": "mock"}]
    for with_ratios, chosen in ((True, models), (False, DOCUMENT["models"])):
        spec = parse_spec(DOCUMENT | {"models": chosen})
        units = [plan_comparison(spec, local_store, {"mock": ["p"]}, {"m": "f"}, s) for s in (["a"], ["b"], ["a"])]
        found = [unit.fingerprint for unit in units if unit is not None]
        assert found[0] == found[2]
        assert (found[0] != found[1]) == with_ratios
