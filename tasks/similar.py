"""The stages by which a run that asks for it tells similar objects: latents, a tile a worker, and their index."""

from __future__ import annotations

from galflow.labels.similarity import IndexedTile
from galflow.runs.plan_similar import plan_index, plan_latents
from tasks.fan_out import StageResult, Work, run_stage
from tasks.monitoring import stage
from tasks.run_record import RunRecord
from tasks.worker_check import Needs
from tasks.worker_jobs import encode, index_similar


@stage("encode")
def encode_latents(run: RunRecord) -> StageResult:
    """Encode every cutout set of the survey that is not yet encoded by the model of ``output.similar``."""
    spec, store, places = run.spec, run.store, run.model_places()
    cuts = [joined.cutouts for joined in run.joined[None].tiles]
    units = plan_latents(spec, store, cuts, run.model_fingerprints())
    todo = [
        Work(
            unit,
            encode,
            {
                "store": store,
                "unit": unit,
                "model": places[str(spec.output.similar)],
                "batch_objects": spec.scoring.batch_objects,
            },
        )
        for unit in units
        if not unit.done
    ]
    return run_stage("encode", units, todo, spec.cluster, needs=Needs(store))


@stage("index")
def index_latents(run: RunRecord) -> StageResult:
    """Index the latents of all tiles, if they changed; a worker of its own does it."""
    spec, store = run.spec, run.store
    latents = {str(r.details["tile"]): r for r in run.latents.receipts}
    joined = [tile for tile in run.joined[None].tiles if tile.cutouts.tile in latents]
    unit = plan_index(spec, store, [r.fingerprint for r in latents.values()], [t.fingerprint for t in joined])
    if unit is None:
        return StageResult()
    parts = [(latents[tile.cutouts.tile], tile) for tile in joined]
    tiles = [IndexedTile(r.product, t.cutouts.product, t.product, (r.fingerprint, t.fingerprint)) for r, t in parts]
    work = Work(unit, index_similar, {"store": store, "unit": unit, "tiles": tiles})
    return run_stage("index", [unit], [] if unit.done else [work], spec.cluster, needs=Needs(store))
