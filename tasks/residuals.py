"""The stages after scoring by which a run that asks for it stores residuals: of which objects, and their pictures."""

from __future__ import annotations

from galflow.catalog.selection import select_objects
from galflow.errors import GalflowError
from galflow.runs.plan_residuals import plan_residuals, plan_selection
from galflow.storage.products import Target
from tasks.fan_out import Failure, StageResult, Work, run_stage
from tasks.monitoring import stage
from tasks.run_order import order_of
from tasks.run_record import RunRecord
from tasks.worker_check import Needs
from tasks.worker_jobs import picture_residuals


@stage("select")
def select(run: RunRecord) -> StageResult:
    """Find the share of objects, the most anomalous first, whose residuals are stored; in this process: it is quick."""
    spec, store, parts = run.spec, run.store, run.scores[None].receipts
    (ranking,) = run.ranking.receipts
    unit = plan_selection(spec, store, [r.fingerprint for r in parts], ranking.fingerprint)
    if unit is None or unit.receipt is not None:
        return StageResult((unit.receipt,) if unit and unit.receipt else ())
    inputs = {f"scores {r.product}": r.fingerprint for r in parts} | {f"ranking {ranking.product}": ranking.fingerprint}
    try:
        order, _ = order_of(run)
        target = Target(store, unit.product, unit.fingerprint, inputs)
        receipt = select_objects(target, parts, order, spec.output.residuals)
    except GalflowError as error:
        return StageResult((), (Failure("select", unit.name, str(error)),))
    return StageResult((receipt,), (), 1)


@stage("residuals")
def store_residuals(run: RunRecord) -> StageResult:
    """Store reconstructions and residuals of the selected objects, a tile a worker, where they are not stored yet."""
    spec, store, selected = run.spec, run.store, run.selection.receipts
    if not selected:
        return StageResult()
    product, places = selected[0].product, run.model_places()
    tiles = [tile.cutouts for tile in run.joined[None].with_objects]
    units = plan_residuals(spec, store, product, tiles, run.model_fingerprints())
    todo = [
        Work(
            unit,
            picture_residuals,
            {
                "store": store,
                "unit": unit,
                "selection": product,
                "models": {name: places[name] for name in unit.models},
                "spec": spec.cutouts,
                "batch_objects": spec.scoring.batch_objects,
            },
        )
        for unit in units
        if not unit.done
    ]
    return run_stage("residuals", units, todo, spec.cluster, needs=Needs(store))
