"""The last stage: q-values over the whole run, catalogue, report, and the manifest that makes them count."""

from __future__ import annotations

import json
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from galflow.report.report import ReportInputs, build_report
from prefect import task
from prefect.artifacts import create_link_artifact

import galflow
from galflow.catalog.published import (
    catalog_product,
    group_parts,
    write_catalog_file,
    write_other_formats,
)
from galflow.plan import primary_score, run_id
from galflow.receipts import Outcome, Receipt, RunManifest, publish_manifest, write_receipt
from galflow.report.findings import findings
from galflow.scores.score import columns_of
from galflow.scores.summary import PartSummary, merge_summaries
from galflow.spec import RunSpec
from galflow.store import FileSum, Store
from galflow.training.trained_model import TrainedModel
from tasks.fan_out import StageResult
from tasks.stages import STAGE, models_of, store_of
from tasks.verbs import open_model

_REPORTED_PACKAGES = ("torch", "zarr", "prefect", "distributed", "astropy", "numpy", "xarray")


@task(name="publish", **STAGE)
def publish(
    spec: RunSpec,
    cutouts: StageResult,
    trained: StageResult,
    scores: StageResult,
    samples: dict[str, StageResult],
    sample_scores: dict[str, StageResult],
    comparison: StageResult,
) -> RunManifest:
    """Write the catalogue, the report and, last and only if absent, the manifest."""
    store = store_of(spec)
    stages = {"cutouts": cutouts, "models": trained, "scores": scores, "comparison": comparison}
    stages |= {f"cutouts of {n}": r for n, r in samples.items()}
    stages |= {f"scores of {n}": r for n, r in sample_scores.items()}
    run = run_id(spec, [r.fingerprint for result in stages.values() for r in result.receipts])
    models = {n: open_model(store, p, "cpu") for n, p in models_of(spec, trained).items()}
    summary = merge_summaries(PartSummary.from_json(r.details["summary"]) for r in scores.receipts if r.rows)
    catalog = _publish_catalog(store, spec, run, scores, summary)
    compared = json.loads(store.get(comparison.receipts[0].product)) if comparison.receipts else None
    found = findings(
        store, catalog.product, summary, [c.name for c in columns_of(models) if c.calibrated],
        compared, spec.cutouts.plant is not None,
    )  # fmt: skip
    found["failures"] = [f"{f.stage} {f.name}: {f.reason}" for r in stages.values() for f in r.failures]
    products = {stage: [r.key for r in result.receipts if "://" not in r.product] for stage, result in stages.items()}
    products["catalog"] = [catalog.key]
    report = None
    if spec.output.report:
        inputs = _report_inputs(spec, run, store, stages, models, summary, catalog.product, compared, found)
        report = _publish_report(store, run, inputs)
        products["report"] = [report.key]
    manifest = RunManifest(
        run=run,
        name=spec.name,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=galflow.__version__,
        specification=spec.content(),
        models={n: store.uri(p) if "://" not in p else p for n, p in models_of(spec, trained).items()},
        products=products,
        catalog=store.uri(catalog.product),
        report=f"{store.uri(report.product)}/index.html" if report else None,
        summary=found,
    )
    publish_manifest(store, manifest)
    if manifest.report:
        create_link_artifact(link=manifest.report, link_text="the run's report", key="galflow-report")
    return manifest


def _publish_catalog(store: Store, spec: RunSpec, run: str, scores: StageResult, summary: PartSummary) -> Receipt:
    started = time.perf_counter()
    product = catalog_product(spec.output.catalog, run)
    files: dict[str, FileSum] = {}
    for index, group in enumerate(group_parts(scores.receipts)):
        files |= write_catalog_file(store, product, index, group, run, primary_score(spec), summary.p_counts)
    files |= write_other_formats(store, product, spec.output.catalog, spec.output.formats)
    receipt = Receipt(
        product=product,
        fingerprint=run.rpartition("-")[2],
        inputs={r.product: r.fingerprint for r in scores.receipts},
        files=files,
        rows=summary.rows,
        seconds=time.perf_counter() - started,
        outcome=Outcome.PARTIAL if scores.failures else Outcome.DONE,
        reasons=tuple(f"tile {f.name} is not in it: {f.reason}" for f in scores.failures),
    )
    write_receipt(store, receipt)
    return receipt


def _report_inputs(
    spec: RunSpec,
    run: str,
    store: Store,
    stages: dict[str, StageResult],
    models: dict[str, TrainedModel],
    summary: PartSummary,
    catalog: str,
    compared: dict[str, Any] | None,
    found: dict[str, Any],
) -> ReportInputs:
    versions = {"galflow": galflow.__version__, "python": platform.python_version()}
    return ReportInputs(
        run=run,
        spec=spec,
        code_versions=versions | {name: version(name) for name in _REPORTED_PACKAGES},
        store=store,
        cutouts=list(stages["cutouts"].receipts),
        scores=list(stages["scores"].receipts),
        models=models,
        summary=summary,
        catalog=catalog,
        comparison=compared,
        findings=found,
        primary=primary_score(spec),
    )


def _publish_report(store: Store, run: str, inputs: ReportInputs) -> Receipt:
    started = time.perf_counter()
    product = f"reports/{run}"
    files = {"index.html": store.put(f"{product}/index.html", build_report(inputs))}
    receipt = Receipt(
        product=product,
        fingerprint=run.rpartition("-")[2],
        inputs={"catalog": inputs.catalog},
        files=files,
        seconds=time.perf_counter() - started,
    )
    write_receipt(store, receipt)
    return receipt
