"""What of an emulated survey is there, and what is to be made."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from galflow.emulation.field import Field, FieldTile
from galflow.emulation.own_spec import SPECIFICATION, as_yaml, own_specification
from galflow.emulation.sources import load_source
from galflow.emulation.tile import survey_fingerprint, tile_fingerprint
from galflow.errors import SpecError
from galflow.runs.plan_units import Unit
from galflow.spec.emulation import EmulationSpec
from galflow.storage.layout import assigned_rows, emulated_folder, emulated_tile
from galflow.storage.receipts import find_receipts
from galflow.storage.store import Store
from galflow.surveys.reading.files import checksum, expand_root


@dataclass(frozen=True, eq=False)
class EmulatedUnit(Unit):
    """One tile to be drawn."""

    tile: FieldTile = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class EmulationPlan:
    """An emulated survey, done or to do."""

    fingerprint: str
    folder: str
    """Key below which its tiles lie."""
    objects: int
    units: tuple[EmulatedUnit, ...]
    specification: bytes
    """How galflow reads it, a YAML file."""

    @property
    def specification_key(self) -> str:
        """Where that file lies: beside the tiles, not among them."""
        return f"{self.folder}.{SPECIFICATION}"

    @property
    def done(self) -> bool:
        """Whether every tile is there."""
        return all(unit.done for unit in self.units)


def plan_emulation(spec: EmulationSpec, store: Store) -> EmulationPlan:
    """Every tile with its objects; SpecError for what cannot be meant, before any work."""
    emulator = load_source(spec)
    whole = Field.read(spec, emulator.conditions)
    catalogue = checksum(expand_root(spec.objects.path))
    survey = survey_fingerprint(emulator, f"{catalogue} {sorted(spec.objects.columns.items())}")
    folder = emulated_folder(spec.name, survey)
    receipts = find_receipts(store, folder)
    units = []
    for tile in whole.tiles(emulator.stamp_size / 2 + 1):
        found = tile_fingerprint(survey, tile.name)
        product = emulated_tile(spec.name, survey, tile.name)
        receipt = receipts.get(found)
        why = "" if receipt else f"tile {tile.name} was never drawn so"
        units.append(
            EmulatedUnit("emulate", tile.name, found, receipt.product if receipt else product, receipt, why, tile=tile)
        )
    if not units:
        raise SpecError(f"{spec.objects.path} has no object with a position")
    document = own_specification(emulator, store.uri(folder))
    about = f"The emulated survey {spec.name}, as galflow reads it: galflow run FILE"
    return EmulationPlan(survey, folder, len(whole.objects), tuple(units), as_yaml(document, about))


def put_objects(store: Store, unit: EmulatedUnit) -> str:
    """The key under which a tile's objects travel to the worker that draws it."""
    key = assigned_rows(unit.product)
    sink = pa.BufferOutputStream()
    pq.write_table(unit.tile.objects, sink)
    store.put_once(key, sink.getvalue().to_pybytes())
    return key
