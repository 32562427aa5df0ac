"""The stage that draws an emulated survey, and what a worker does for one tile of it."""

from __future__ import annotations

import functools

from galflow.catalog.parquet import read_catalog
from galflow.emulation.field import FieldTile
from galflow.emulation.source import GalaxySource
from galflow.emulation.sources import load_source
from galflow.emulation.tile import emulate_tile
from galflow.runs.plan_emulation import plan_emulation, put_objects
from galflow.spec.emulation import EmulationSpec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from tasks.fan_out import StageResult, Work, run_stage
from tasks.monitoring import stage
from tasks.worker_check import Needs


@stage("emulate")
def draw_tiles(spec: EmulationSpec) -> StageResult:
    """Draw every tile that is not there yet, and say how galflow reads them."""
    store = Store.of(spec.store)
    store.require_writable()
    plan = plan_emulation(spec, store)
    todo = []
    for unit in plan.units:
        if not unit.done:
            tile = unit.tile
            place = {"name": tile.name, "column": tile.column, "row": tile.row, "size": tile.size, "cards": tile.cards}
            arguments = {"spec": spec.model_dump_json(), "place": place, "objects_key": put_objects(store, unit)}
            todo.append(Work(unit, draw_tile, arguments | {"survey": plan.fingerprint}))
    found = run_stage("emulate", plan.units, todo, spec.cluster, needs=Needs(store))
    for work in todo:
        store.delete(work.arguments["objects_key"])
    if not store.exists(plan.specification_key):
        store.put_once(plan.specification_key, plan.specification)
    return found


@functools.lru_cache(maxsize=2)
def _emulator(spec_json: str) -> GalaxySource:
    return load_source(EmulationSpec.model_validate_json(spec_json))


def draw_tile(spec: str, place: dict[str, object], objects_key: str, survey: str) -> Receipt:
    """Draw one tile, whose objects lie at ``objects_key``."""
    emulator = _emulator(spec)
    store = Store.of(emulator.spec.store)
    tile = FieldTile(**place, objects=read_catalog(store.get(objects_key)))  # type: ignore[arg-type]
    return emulate_tile(store, emulator, tile, survey).brief()
