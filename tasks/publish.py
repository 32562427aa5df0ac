"""The last stage: q-values over the whole run, catalogue, report, and the manifest that makes them count."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

import galflow
from galflow.catalog.difference import Difference, by_tile, compare_catalogs, previous_run, write_difference
from galflow.catalog.formats import write_other_formats
from galflow.catalog.measured_columns import MeasuredColumns, measured_beside
from galflow.catalog.published import CatalogPlan, PartFiles, group_parts, plan_catalog, write_basis
from galflow.catalog.ranking import RunRanking
from galflow.errors import GalflowError
from galflow.report.findings import findings
from galflow.report.inputs import CATALOG, StageRecord, code_versions
from galflow.report.mock_observations import mock_observations
from galflow.report.report import ReportInputs, choose_report
from galflow.runs.plan import Unit, run_id
from galflow.scores.score import columns_of
from galflow.scores.summary import PartSummary, merge_summaries
from galflow.scores.triage import fitted_triage
from galflow.spec.run import RunSpec
from galflow.storage.checksums import FileSum
from galflow.storage.layout import (
    catalog_file,
    catalog_product,
    receipt_key,
    report_page,
    supplement_of,
)
from galflow.storage.products import made_by_another, outcome_of, written_once
from galflow.storage.receipts import (
    Receipt,
    RunManifest,
    parse_receipt,
    publish_manifest,
    read_manifest,
    read_receipts,
    write_receipt,
)
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel
from tasks.fan_out import StageResult, Work, run_stage
from tasks.monitoring import stage
from tasks.published_tables import files_of, publish_tables
from tasks.report_sheets import write_report
from tasks.run_labels import standing_labels
from tasks.run_order import evidence_of, order_of
from tasks.run_record import RunRecord
from tasks.worker_check import Needs
from tasks.worker_jobs import open_model, write_file


@stage("publish")
def publish(record: RunRecord) -> RunManifest:
    """Write the catalogue, the report and, last and only if absent, the manifest; here with URIs for keys."""
    spec, store, stages, scores = record.spec, record.store, record.stages, record.scores[None]
    run = run_id(spec, record.fingerprints)
    places = record.model_products()
    models = {name: open_model(store, *place, "cpu") for name, place in record.model_places().items()}
    evidence = evidence_of(record)
    summary = merge_summaries(PartSummary.from_json(part.details["summary"]) for part in _filled(record))
    difference, why_not = _difference(store, spec, run, scores, places)
    labels, labelled = standing_labels(record)
    plan, remarks = _plan_catalog(record, run, models, evidence, labels is not None)
    ranking, shared_ids = order_of(record)
    basis = CatalogBasis(plan, summary, ranking, difference, measured_beside(scores.receipts, record.measured), labels)
    catalog, supplement = _publish_catalog(store, spec, basis, (*remarks, *shared_ids), scores)
    compared = json.loads(store.get(record.comparison.receipts[0].product)) if record.comparison.receipts else None
    planted = spec.cutouts.plant is not None
    found = findings(store, catalog.product, summary, ranking, spec.of_survey(models), compared, planted)
    found["ranked_by"] = {"rule": evidence["chosen"]["name"], "why": evidence["why"]}
    found |= record.of_cutting | {"difference": None if difference is None else difference.to_json()}
    tables = publish_tables(record, run, models)
    found |= _lost_and_doubted(record, {"catalogue": catalog} | tables, why_not)
    found |= labelled | mock_observations(store, {stage: result.receipts for stage, result in stages.items()})
    products = {stage: [r.key for r in result.receipts if "://" not in r.product] for stage, result in stages.items()}
    products |= {CATALOG: [catalog.key, supplement.key]} | {name: [table.key] for name, table in tables.items()}
    report = None
    if spec.output.report:
        records = {name: _record(result) for name, result in stages.items()}
        records[CATALOG] = StageRecord((catalog,), (), 1)
        chosen = choose_report(
            ReportInputs(
                run=run,
                spec=spec,
                code_versions=code_versions(),
                store=store,
                stages=records,
                models=models,
                summary=summary,
                catalog=catalog.product,
                comparison=compared,
                findings=found,
                evidence=evidence,
            )
        )
        report = write_report(chosen, {catalog.product: catalog.fingerprint}, record.model_places())
        products["report"] = [report.key]
    manifest = RunManifest(
        run=run,
        name=spec.name,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=galflow.__version__,
        specification=spec.content(),
        models=places,
        products=products,
        catalog=catalog.product,
        report=report_page(report.product) if report else None,
        summary=found,
    )
    if not publish_manifest(store, manifest):
        manifest = read_manifest(store, run) or manifest  # somebody else has published this run
    return manifest.located(store)


def _lost_and_doubted(
    record: RunRecord, published: Mapping[str, Receipt], why_not: Iterable[str]
) -> dict[str, list[str]]:
    """What failed, and what of the products, those ``published`` last among them, is not whole: a line each."""
    told = [f"{name}: {reason}" for name, receipt in published.items() for reason in receipt.reasons]
    return {
        "failures": [*(f"{f.stage} {f.name}: {f.reason}" for f in record.failures), *why_not],
        "partial": [*record.partial, *told],
    }


@dataclass(frozen=True, eq=False)
class CatalogBasis:
    """What a catalogue and its supplement are made of, beside the score parts."""

    plan: CatalogPlan
    summary: PartSummary
    ranking: RunRanking
    difference: Difference | None
    measured: Mapping[str, PartFiles]
    """Key of a score part -> what was measured on the same cutouts."""
    labels: pa.Table | None
    """What people said of objects before; None: nothing."""


def _filled(record: RunRecord) -> Iterator[Receipt]:
    """The whole receipts of the survey's score parts that have rows."""
    return read_receipts(record.store, [r.key for r in record.scores[None].receipts if r.rows])


def _plan_catalog(
    record: RunRecord,
    run: str,
    models: Mapping[str, TrainedModel],
    evidence: Mapping[str, Any],
    labelled: bool,
) -> tuple[CatalogPlan, tuple[str, ...]]:
    spec = record.spec
    columns = columns_of(models)
    likelihoods = [column.name for column in columns if not column.calibrated] + [ratio.column for ratio in spec.ratios]
    calibrated = [column.name for column in columns if column.calibrated]
    measured = MeasuredColumns.of(spec.measure, record.measured) if spec.measure else None
    plan, remarks = plan_catalog(run, calibrated, likelihoods, _filled(record), spec.output.columns, measured, labelled)
    return replace(plan, triage=fitted_triage(evidence)), remarks


def _difference(
    store: Store, spec: RunSpec, run: str, scores: StageResult, models: dict[str, str]
) -> tuple[Difference | None, list[str]]:
    """What changed since the last run of this name, if there is one; or why that cannot be said."""
    before = previous_run(store, spec.name, run)
    if before is None:
        return None, []
    try:
        return compare_catalogs(store, before, run, by_tile(list(scores.receipts)), models), []
    except GalflowError as error:
        return None, [f"publish difference: run {before.run} cannot be compared with: {error}"]


def _publish_catalog(
    store: Store,
    spec: RunSpec,
    basis: CatalogBasis,
    remarks: tuple[str, ...],
    scores: StageResult,
) -> tuple[Receipt, Receipt]:
    """The catalogue's folder, and the supplement beside it."""
    run = basis.plan.run
    product = catalog_product(spec.output.catalog, run)

    def make(key: str) -> tuple[Receipt, Receipt]:
        receipts = _write_catalog(store, spec, basis, remarks, scores, key)
        for receipt in receipts:
            write_receipt(store, receipt)
        return receipts

    def of_another() -> tuple[Receipt, Receipt] | None:
        # The receipt of the supplement is the last that is written.
        beside = made_by_another(store, supplement_of(product), _fingerprint(run))
        key = receipt_key(product)
        return None if beside is None else (parse_receipt(key, store.get(key)), beside)

    return written_once(product, make, of_another)


def _fingerprint(run: str) -> str:
    return run.rpartition("-")[2]


def _write_catalog(
    store: Store,
    spec: RunSpec,
    basis: CatalogBasis,
    remarks: tuple[str, ...],
    scores: StageResult,
    product: str,
) -> tuple[Receipt, Receipt]:
    """All files of the catalogue and its supplement, under this key, each written once; their receipts."""
    started = time.perf_counter()
    plan, summary, difference = basis.plan, basis.summary, basis.difference
    beside = write_basis(store, product, plan, summary, basis.ranking, basis.labels)
    files = _write_files(store, spec, basis, product, scores)
    prefix = f"{supplement_of(product)}/"
    beside |= {name.removeprefix(prefix): found for name, found in files.items() if name.startswith(prefix)}
    other, lost = write_other_formats(store, product, spec.output.catalog, spec.output.formats, plan.schema)
    beside |= other
    if difference is not None:
        beside |= write_difference(store, supplement_of(product), difference)
    reasons = [f"tile {f.name} is not in it: {f.reason}" for f in scores.failures] + [*remarks, *lost]
    outcome, told = outcome_of(reasons)
    catalog = Receipt(
        product=product,
        fingerprint=_fingerprint(plan.run),
        inputs={r.product: r.fingerprint for r in scores.receipts},
        files={name: found for name, found in files.items() if not name.startswith(prefix)},
        rows=summary.rows,
        seconds=time.perf_counter() - started,
        outcome=outcome,
        reasons=told,
    )
    supplement = Receipt(
        product=supplement_of(product),
        fingerprint=catalog.fingerprint,
        inputs={catalog.product: catalog.fingerprint},
        files=beside,
        rows=summary.planted,
    )
    return catalog, supplement


def _write_files(
    store: Store, spec: RunSpec, basis: CatalogBasis, product: str, scores: StageResult
) -> dict[str, FileSum]:
    """The catalogue's Parquet files, each of them one worker's; GalflowError if one cannot be written.

    TakenError if other bytes lie where one is to be written.
    """
    todo = []
    for index, parts in enumerate(group_parts(scores.receipts)):
        name, run = catalog_file(index), basis.plan.run
        unit = Unit("publish", name, f"{run}-{index}", f"{product}/{name}", None)
        arguments = {"store": store, "catalog": product, "index": index, "parts": parts, "run": run}
        measured = {key: basis.measured[key] for key in parts if key in basis.measured}
        todo.append(Work(unit, write_file, arguments | {"measured": measured}))
    written = run_stage("publish", [work.unit for work in todo], todo, spec.cluster, needs=Needs(store))
    return files_of(written, f"the catalogue's {len(todo)} files")


def _record(result: StageResult) -> StageRecord:
    return StageRecord(result.receipts, tuple((f.name, f.reason) for f in result.failures), result.made)
