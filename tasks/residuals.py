"""The stages after scoring by which a run that asks for it stores residuals: of which objects, and their pictures."""

from __future__ import annotations

from galflow.catalog.residual_objects import choose_residual_objects
from galflow.errors import GalflowError
from galflow.runs.plan_residuals import plan_residual_objects, plan_residuals
from galflow.storage.products import Target
from tasks.fan_out import Failure, StageResult, Work, run_stage
from tasks.monitoring import stage
from tasks.run_order import order_of
from tasks.run_record import RunRecord
from tasks.worker_check import Needs
from tasks.worker_jobs import picture_residuals


@stage("residual objects")
def residual_objects(run: RunRecord) -> StageResult:
    """Find the share of objects, the most anomalous first, whose residuals are stored; in this process: it is quick."""
    spec, store, parts = run.spec, run.store, run.scores[None].receipts
    (ranking,) = run.ranking.receipts
    unit = plan_residual_objects(spec, store, [r.fingerprint for r in parts], ranking.fingerprint)
    if unit is None or unit.receipt is not None:
        return StageResult((unit.receipt,) if unit and unit.receipt else ())
    inputs = {f"scores {r.product}": r.fingerprint for r in parts} | {f"ranking {ranking.product}": ranking.fingerprint}
    try:
        order, _ = order_of(run)
        target = Target(store, unit.product, unit.fingerprint, inputs)
        receipt = choose_residual_objects(target, parts, order, spec.output.residuals)
    except GalflowError as error:
        return StageResult((), (Failure("residual objects", unit.name, str(error)),))
    return StageResult((receipt,), (), 1)


@stage("residuals")
def store_residuals(run: RunRecord) -> StageResult:
    """Store reconstructions and residuals of these objects, a tile a worker, where they are not stored yet."""
    spec, store, found = run.spec, run.store, run.residual_objects.receipts
    if not found:
        return StageResult()
    product, places = found[0].product, run.model_places()
    tiles = [tile.cutouts for tile in run.joined[None].with_objects]
    units = plan_residuals(spec, store, product, tiles, run.model_fingerprints())
    todo = [
        Work(
            unit,
            picture_residuals,
            {
                "store": store,
                "unit": unit,
                "chosen": product,
                "models": {name: places[name] for name in unit.models},
                "spec": spec.cutouts,
                "batch_objects": spec.scoring.batch_objects,
            },
        )
        for unit in units
        if not unit.done
    ]
    return run_stage("residuals", units, todo, spec.cluster, needs=Needs(store))
