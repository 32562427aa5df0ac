"""The stages of a run as Prefect tasks: each plans, subtracts what is done, fans out the rest, and returns receipts."""

from __future__ import annotations

import logging
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from galflow.catalog.published import read_parts
from galflow.compare.samples import compare_samples, require_same_space
from galflow.cutouts.joins import join_tiles
from galflow.errors import GalflowError
from galflow.runs.check import check_run
from galflow.runs.plan import (
    part_settings,
    plan_comparison,
    plan_cutouts,
    plan_joins,
    plan_models,
    plan_ranking,
    plan_scores,
)
from galflow.runs.plan_cutouts import planned_selection
from galflow.runs.plan_measurements import plan_measurements
from galflow.runs.plan_units import CutTile, TileUnit
from galflow.scores.leading import declared_score, may_rank
from galflow.spec.run import RunSpec
from galflow.storage.layout import assigned_rows
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from tasks.compared import controls_of, matched_samples, unseen_ratios_of
from tasks.distributed_training import train_together
from tasks.fan_out import Failure, StageResult, Work, run_stage
from tasks.monitoring import stage
from tasks.progress import StageProgress
from tasks.run_record import Joined, RunRecord
from tasks.worker_check import Needs
from tasks.worker_jobs import choose_ranking, cut, measure, open_model, open_set, score, train

logger = logging.getLogger(__name__)
_FILES_ASKED = 4
"""Of the survey's files, which each worker must be able to read before it is given any."""


@stage("check")
def check(spec: RunSpec) -> None:
    """Refuse, before any work, what cannot be meant, and a store that cannot be written."""
    for remark in check_run(spec):
        logger.warning("%s", remark)
    Store.of(spec.store).require_writable()


@stage("ingest")
def ingest(run: RunRecord, sample: str | None = None) -> StageResult:
    """Cut every tile of the survey (or of the comparison sample ``sample``) that is not yet cut."""
    spec, survey, store = run.spec, run.surveys[sample], run.store
    units = plan_cutouts(spec, survey, store, is_sample=sample is not None)
    cutouts = spec.cutouts if sample is None else spec.cutouts.model_copy(update={"plant": None})
    todo = [
        Work(
            unit,
            cut,
            {
                "store": store,
                "survey": survey.model_dump_json(),
                "tile": unit.tile,
                "spec": cutouts,
                "fingerprint": unit.fingerprint,
                "rows_key": _put_rows(store, unit),
            },
        )
        for unit in units
        if not unit.done
    ]
    files = [file.uri for unit in units if not unit.done for file in unit.tile.files if "://" in file.uri]
    needs = Needs(store, tuple(files[:_FILES_ASKED]))
    found = run_stage("ingest" if sample is None else f"ingest {sample}", units, todo, spec.cluster, needs=needs)
    selection = planned_selection(survey, units)
    unopened = () if selection is None else selection.unopened
    return replace(found, places={unit.name: unit.place for unit in units}, unopened=unopened)


@stage("join")
def join(run: RunRecord, sample: str | None = None) -> Joined:
    """Find which rows of neighbouring tiles are one object of the sky, tile by tile; in this process: it is quick."""
    spec, survey, store, cutouts = run.spec, run.surveys[sample], run.store, run.cutouts[sample]
    cuts = [CutTile(r.details["tile"], r.fingerprint, r.product) for r in cutouts.receipts]
    units = plan_joins(spec, survey, store, cuts, cutouts.places)
    todo = [unit.task for unit in units if unit.task is not None]
    receipts = {unit.fingerprint: unit.receipt for unit in units if unit.receipt is not None}
    failures = []
    name = "join" if sample is None else f"join {sample}"
    with StageProgress(name, len(units), len(receipts)) as progress:
        for task, outcome in join_tiles(store, todo, spec.join):
            if isinstance(outcome, Receipt):
                receipts[task.fingerprint] = outcome
            else:
                failures.append(Failure(name, task.own.tile, outcome))
            progress.advance(failed=isinstance(outcome, str))
    made = [unit for unit in units if unit.fingerprint in receipts]
    ordered = tuple(receipts[unit.fingerprint] for unit in made)
    rows = {r.fingerprint: r.rows for r in cutouts.receipts}
    tiles = tuple(replace(unit.joined, product=receipts[unit.fingerprint].product) for unit in made)
    filled = frozenset(tile.fingerprint for tile in tiles if rows[tile.cutouts.fingerprint])
    return Joined(ordered, tuple(failures), len(todo) - len(failures), tiles=tiles, filled=filled)


def _put_rows(store: Store, unit: TileUnit) -> str | None:
    """The rows assigned to a tile travel through the store, not through the scheduler."""
    if unit.rows is None:
        return None
    key = assigned_rows(unit.product)
    sink = pa.BufferOutputStream()
    pq.write_table(unit.rows, sink)
    store.put(key, sink.getvalue().to_pybytes())
    return key


@stage("train")
def train_models(run: RunRecord) -> StageResult:
    """Train every model that is not yet trained on the survey's sets (or its sample's), several at a time."""
    spec, store, survey = run.spec, run.store, run.joined[None]
    sets = {m.name: run.joined[m.sample].with_objects for m in spec.trainings}
    units = plan_models(
        spec,
        store,
        [r.fingerprint for r in survey.receipts],
        {name: [r.fingerprint for r in of.receipts] for name, of in run.joined.items() if name is not None},
    )
    todo = [
        Work(
            unit,
            train,
            {
                "store": store,
                "spec": spec,
                "unit": unit,
                "sets": sets[unit.name],
                "sky": survey.with_objects,
            },
        )
        for unit in units
        if not unit.done
    ]
    if spec.training.workers > 1:
        return train_together("train", units, todo, spec.cluster, spec.training.workers, Needs(store))
    return run_stage("train", units, todo, spec.cluster, needs=Needs(store))


@stage("measure")
def measure_cutouts(run: RunRecord, sample: str | None = None) -> StageResult:
    """Measure every cutout set of the survey, or of a sample, that is not yet measured as the run wants it."""
    spec, store = run.spec, run.store
    cuts = [CutTile(r.details["tile"], r.fingerprint, r.product) for r in run.cutouts[sample].receipts]
    units = plan_measurements(spec, store, run.surveys[sample], cuts)
    todo = [
        Work(unit, measure, {"store": store, "cutouts": unit.cutouts, "what": spec.measure})
        for unit in units
        if not unit.done
    ]
    name = "measure" if sample is None else f"measure {sample}"
    return run_stage(name, units, todo, spec.cluster, needs=Needs(store))


@stage("score")
def score_cutouts(run: RunRecord, sample: str | None = None) -> StageResult:
    """Score every cutout set of the survey, or of a sample, that is not yet scored with the run's models."""
    spec, survey, store = run.spec, run.surveys[sample], run.store
    models = run.model_places()
    units = plan_scores(spec, store, run.joined[sample].tiles, run.model_fingerprints(), survey)
    todo = [
        Work(
            unit,
            score,
            {
                "store": store,
                "tile": unit.joined,
                "models": models,
                "fingerprint": unit.fingerprint,
                "settings": part_settings(spec, survey),
                "batch_objects": spec.scoring.batch_objects,
                "earlier": unit.earlier,
            },
        )
        for unit in units
        if not unit.done
    ]
    return run_stage("score" if sample is None else f"score {sample}", units, todo, spec.cluster, needs=Needs(store))


@stage("rank")
def choose_rule(run: RunRecord) -> StageResult:
    """Choose the score, or the joined scores, by which the survey's objects are ranked."""
    spec, store, survey = run.spec, run.store, run.joined[None]
    fingerprints, places = run.model_fingerprints(), run.model_places()
    unit = plan_ranking(spec, store, [r.fingerprint for r in survey.receipts], fingerprints)
    if unit is None:
        return _nothing_leads(spec)
    arguments = {
        "store": store,
        "product": unit.product,
        "fingerprint": unit.fingerprint,
        "tiles": survey.with_objects,
        "models": {name: places[name] for name in spec.of_survey(fingerprints)},
        "settings": unit.settings,
    }
    todo = [] if unit.done else [Work(unit, choose_ranking, arguments)]
    return run_stage("rank", [unit], todo, spec.cluster, needs=Needs(store))


def _nothing_leads(spec: RunSpec) -> StageResult:
    declared = declared_score(spec)
    reason = "no model of the survey was trained, so nothing ranks its objects; mend what made the trainings fail"
    if declared is not None:
        reason = (
            f"{declared} is to rank the objects, but model {may_rank(spec)[declared]} was not trained; mend what made "
            "its training fail, or leave out scoring.primary, so that the best of the others ranks"
        )
    return StageResult((), (Failure("rank", spec.name, reason),))


@stage("compare")
def compare(run: RunRecord) -> StageResult:
    """Compare every sample with the survey's held-out objects, model by model and likelihood ratio by ratio."""
    spec, store = run.spec, run.store
    controls = spec.control_samples
    scores = {name: of for name, of in run.scores.items() if name is not None and (of.receipts or name not in controls)}
    missing_inputs = [name for name, of in scores.items() if not of.receipts]
    if missing_inputs:
        return StageResult((), (Failure("compare", ", ".join(missing_inputs), "there are no scores to compare"),))
    fingerprints = run.model_fingerprints()
    unit = plan_comparison(
        spec,
        store,
        {n: [r.fingerprint for r in of.receipts] for n, of in scores.items()},
        fingerprints,
        [r.fingerprint for r in run.scores[None].receipts],
        [r.fingerprint for of in run.measurements.values() for r in of.receipts],
    )
    if unit is None or unit.receipt is not None:
        return StageResult((unit.receipt,) if unit and unit.receipt else ())
    models = {name: open_model(store, *place, "cpu") for name, place in run.model_places().items()}
    try:
        for name in scores:
            for tile in run.joined[name].tiles:
                attributes = open_set(store, tile).attributes
                for model in models.values():
                    require_same_space(name, attributes, model)
        receipt = compare_samples(
            Target(store, unit.product, unit.fingerprint, {f"model {n}": f for n, f in fingerprints.items()}),
            {name: read_parts(store, of.receipts) for name, of in scores.items()},
            spec.of_survey(models),
            bootstraps=spec.comparison.bootstraps,
            seed=spec.seed,
            ratios={name: unseen_ratios_of(run, name, models) for name in (None, *scores)},
            matched=matched_samples(run, models, unit.fingerprint),
            controls=controls_of(run, models),
        )
    except GalflowError as error:
        return StageResult((), (Failure("compare", unit.name, str(error)),))
    return StageResult((receipt,), (), 1)
