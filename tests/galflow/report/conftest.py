from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from galflow.catalog.published import (
    CatalogPlan,
    group_parts,
    plan_catalog,
    write_basis,
    write_catalog_file,
)
from galflow.catalog.ranking import RunRanking, rank_objects
from galflow.compare.samples import compare_samples
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.stream import stretch_for
from galflow.report.findings import findings
from galflow.report.inputs import ReportInputs, StageRecord
from galflow.report.report import choose_report, report_files
from galflow.scores.ranking import RankingSettings, rank_by_evidence
from galflow.scores.rule import RankingRule
from galflow.scores.score import PartFingerprints, PartSettings, columns_of, score_set
from galflow.scores.summary import PartSummary, merge_summaries
from galflow.scores.triage import fitted_triage
from galflow.spec.run import RunSpec, SurveySpec, parse_spec
from galflow.storage.layout import catalog_product
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel

PRIMARY = "vae_neg_elbo"
RUN = "report-test-0123456789"
SHARES = (0.1, 0.4)


def specification() -> dict[str, Any]:
    survey = {
        "tiles": 2, "tile_size": 224, "overlap_pixels": 16, "objects_per_tile": 48, "anomaly_fraction": 0.0,
        "magnitude_range": [18.5, 21.5], "catalog": "tile_truth",
    }  # fmt: skip
    document: dict[str, Any] = {
        "name": "report-test",
        "survey": {"kind": "synthetic", "options": survey},
        "cutouts": {"size": 16, "plant": {"per_tile": 22}},
        "models": [
            {"name": "vae", "model": "vae.VAE", "options": {"latent": 4, "width": 16}, "training": {"trim": 0.1}},
            {
                "name": "pixelcnn",
                "model": "pixelcnn_pp.PixelCNNPP",
                "options": {"width": 8, "layers": 1, "mixtures": 2},
            },
        ],
        "training": {"epochs": 2, "batch_size": 16, "reference_fraction": 0.4},
        "comparison": {"controls": [],
            "samples": [{"name": "bright", "survey": {"kind": "synthetic", "name": "bright", "options": {
                **survey, "tiles": 1, "seed": 5, "magnitude_range": [16.5, 18.0]}}}],
            "bootstraps": 60,
        },
        "output": {"top": 6},
    }  # fmt: skip
    return document


def ingest(store: Store, spec: RunSpec, survey: SurveySpec, *, is_sample: bool) -> list[Receipt]:
    opened = open_survey(survey)
    cutouts = spec.cutouts.model_copy(update={"plant": None}) if is_sample else spec.cutouts
    return [cut_tile(store, opened, tile, cutouts, tile.identity[:16]) for tile in opened.tiles()]


def train(store: Store, spec: RunSpec, cutouts: list[Receipt]) -> tuple[dict[str, TrainedModel], list[Receipt]]:
    sets = [CutoutSet(store, r.product) for r in cutouts]
    stretch = stretch_for(sets, spec.stretch)
    models, receipts = {}, []
    for model in spec.models:
        product, training = f"models/{model.name}/{'0' * 16}", spec.training_of(model)
        receipt = train_model(
            Target(store, product, "0" * 16, {r.product: r.fingerprint for r in cutouts}),
            Recipe(model, training, spec.cutouts, stretch, spec.seed),
            sets,
        )
        receipts.append(receipt)
        models[model.name] = TrainedModel.load(store, product)
    return models, receipts


def score(store: Store, cutouts: list[Receipt], models: dict[str, TrainedModel]) -> list[Receipt]:
    return [
        score_set(
            store,
            CutoutSet(store, r.product),
            models,
            PartFingerprints(r.fingerprint, r.fingerprint),
            PartSettings(shares=SHARES, learners=tuple(models)),
        )
        for r in cutouts
    ]


def plan(scores: list[Receipt], models: dict[str, TrainedModel]) -> CatalogPlan:
    columns = columns_of(models)
    found, reasons = plan_catalog(
        RUN, [c.name for c in columns if c.calibrated], [c.name for c in columns if not c.calibrated], scores
    )
    assert reasons == ()
    return found


def publish(
    store: Store,
    spec: RunSpec,
    scores: list[Receipt],
    models: dict[str, TrainedModel],
    summary: PartSummary,
    evidence: dict[str, Any],
) -> tuple[str, RunRanking]:
    product = catalog_product(spec.output.catalog, RUN)
    planned = replace(plan(scores, models), triage=fitted_triage(evidence))
    ranking, _ = rank_objects(store, scores, RankingRule.of(PRIMARY), None)
    write_basis(store, product, planned, summary, ranking)
    for index, group in enumerate(group_parts(scores)):
        write_catalog_file(store, product, index, group, planned, ranking)
    return product, ranking


def weigh(store: Store, spec: RunSpec, cutouts: list[Receipt], models: dict[str, TrainedModel]) -> dict[str, Any]:
    """The evidence for the score that the specification declares."""
    settings = RankingSettings(PRIMARY, PRIMARY, SHARES, spec.seed, 64)
    sets = [CutoutSet(store, r.product) for r in cutouts]
    receipt = rank_by_evidence(Target(store, "rankings/report-test/0.json", "0", {}), sets, models, settings)
    found: dict[str, Any] = json.loads(store.get(receipt.product))
    return found


def compare(
    store: Store, spec: RunSpec, models: dict[str, TrainedModel]
) -> tuple[dict[str, Any], dict[str, StageRecord]]:
    """The comparison, and the records of the samples' stages."""
    tables, stages = {}, {}
    for sample in spec.comparison.samples:
        cut = ingest(store, spec, sample.survey, is_sample=True)
        (part,) = scored = score(store, cut, models)
        stages |= {
            f"cutouts of {sample.name}": StageRecord(tuple(cut), (), len(cut)),
            f"scores of {sample.name}": StageRecord(tuple(scored), (), len(scored)),
        }
        tables[sample.name] = pq.read_table(io.BytesIO(store.get(part.product)))
    key = "comparisons/report-test/0.json"
    receipt = compare_samples(
        Target(store, key, "0", {}), tables, models, bootstraps=spec.comparison.bootstraps, seed=spec.seed
    )
    return json.loads(store.get(key)), stages | {"comparison": StageRecord((receipt,), (), 1)}


def make_run(folder: Path) -> ReportInputs:
    """A whole run without the tasks around it."""
    store, spec = Store.open(folder), parse_spec(specification())
    cutouts = ingest(store, spec, spec.survey, is_sample=False)
    models, trained = train(store, spec, cutouts)
    scores = score(store, cutouts, models)
    summary = merge_summaries(PartSummary.from_json(r.details["summary"]) for r in scores if r.rows)
    evidence = weigh(store, spec, cutouts, models)
    catalog, ranking = publish(store, spec, scores, models, summary, evidence)
    comparison, stages = compare(store, spec, models)
    found = findings(store, catalog, summary, ranking, models, comparison, planted=True)
    stages = {
        "cutouts": StageRecord(tuple(cutouts), (), len(cutouts)),
        "models": StageRecord(tuple(trained), (), len(trained)),
        "scores": StageRecord(tuple(scores), (), len(scores)),
        **stages,
    }
    return ReportInputs(
        run=RUN, spec=spec, code_versions={"galflow": "0.1.0", "torch": torch.__version__}, store=store,
        stages=stages, models=models, summary=summary, catalog=catalog, comparison=comparison,
        findings=found, evidence=evidence,
    )  # fmt: skip


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    """A synthetic survey of two tiles under a VAE and a PixelCNN, with planted anomalies and a brighter sample."""
    inputs = make_run(tmp_path_factory.mktemp("report"))
    first, *others = inputs.cutouts
    partial = first.model_copy(update={"outcome": "partial", "reasons": ("band z: the tile has no such file",)})
    cutouts = StageRecord(
        (partial, *others), (("t00009", "DataError: the tile cannot be read; restore it"),), len(others)
    )
    return replace(inputs, stages={**inputs.stages, "cutouts": cutouts})


@pytest.fixture(scope="session")
def build_report() -> Callable[[ReportInputs], bytes]:
    """All pages of a report, one after the other."""

    def build(inputs: ReportInputs) -> bytes:
        files = report_files(choose_report(inputs), "Published now.")
        return b"".join(data for name, data in files if name.endswith(".html"))

    return build
