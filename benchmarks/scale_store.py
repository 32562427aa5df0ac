"""The store that benchmarks.scale begins with: cutout sets and models are there, nothing is scored.

One cutout set of 50 chunks is real. Every tile has all its files as hard links, but for the Zarr group's own, which
names the tile, and a receipt as long as a real one's, with the sums of all files. Object ids and positions are
therefore the same in all tiles; these have no place on the sky and no neighbours, and the run joins each by itself.
The models are really trained, on a small set; their receipts name all tiles, and their references are stretched to
``REFERENCE_OBJECTS``.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.simulated_survey import BANDS
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData, objects_per_chunk, write_cutout_set
from galflow.cutouts.stream import stretch_for
from galflow.runs.plan import JoinUnit, ModelUnit, TileUnit, plan_cutouts, plan_joins, plan_models
from galflow.spec.run import RunSpec
from galflow.storage.checksums import FileSum
from galflow.storage.products import Target
from galflow.storage.receipts import Receipt, to_json, write_receipt
from galflow.storage.store import Store
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel

CHUNKS_PER_TILE = 50
REFERENCE_OBJECTS = 100_000
"""Held-out objects behind every p-value; a run that trains on half a million objects holds out so many."""
_TRAINING_OBJECTS = 400
_SKY_SIGMA = 10.0


@dataclass(frozen=True)
class Masters:
    """What every size's store is made of, made once."""

    store: Store
    objects: int
    """Of a tile."""
    files: dict[str, FileSum]
    """Of the real cutout set."""
    models: dict[str, str]
    """Name -> key."""
    cut: str = field(default="cutouts/master.zarr", kw_only=True)


def make_masters(folder: Path, spec: RunSpec) -> Masters:
    """A real cutout set and the run's models, really trained."""
    store = Store.open(folder)
    objects = CHUNKS_PER_TILE * objects_per_chunk(spec.cutouts, len(BANDS), 1 << 30)
    files = write_cutout_set(store, Masters.cut, _cutouts(spec, objects), spec.cutouts)
    write_cutout_set(store, "cutouts/small.zarr", _cutouts(spec, _TRAINING_OBJECTS), spec.cutouts)
    sets = [CutoutSet(store, "cutouts/small.zarr")]
    for model in spec.models:
        train_model(
            Target(store, f"models/{model.name}", model.name, {}),
            Recipe(model, spec.training_of(model), spec.cutouts, stretch_for(sets, spec.stretch), spec.seed),
            sets,
        )
    return Masters(store, objects, files, {m.name: f"models/{m.name}" for m in spec.models})


def _cutouts(spec: RunSpec, objects: int) -> CutoutData:
    """Noise with a round blob in each centre; nothing missing."""
    rng = np.random.default_rng(3)
    size = spec.cutouts.size
    offset = np.arange(size) - size // 2
    blob = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / 18.0).astype(np.float32)
    flux = rng.standard_normal((objects, len(BANDS), size, size), np.float32)
    flux += (30 * (1 + rng.pareto(2.0, (objects, 1, 1, 1)))).astype(np.float32) * blob
    flux *= np.float32(_SKY_SIGMA)
    columns = {name: rng.uniform(0, 1, objects) for name in ("ra", "dec", "x_pixel", "y_pixel")}
    rows = pa.table({"object_id": rng.permutation(1 << 24)[:objects], **columns, "flags": np.zeros(objects, np.uint32)})
    ivar, mask = np.full(flux.shape, _SKY_SIGMA**-2, np.float32), np.zeros(flux.shape, np.uint16)
    return CutoutData(flux, ivar, mask, rows, _attributes(spec, "master"))


def _attributes(spec: RunSpec, tile: str) -> dict[str, Any]:
    return {
        "survey": spec.survey.survey_name,
        "release": spec.survey.release,
        "tile": tile,
        "bands": list(BANDS),
        "unit": "nJy",
        "pixel_scale_arcsec": 0.2,
        "sky_sigma": [_SKY_SIGMA] * len(BANDS),
        "psf_fwhm_arcsec": [0.7] * len(BANDS),
    }


def lay_out(spec: RunSpec, masters: Masters) -> None:
    """Give every tile of the survey its cutout set, and every model its folder, as ingest and training leave them."""
    store = Store.open(spec.store.root)
    units = plan_cutouts(spec, spec.survey, store)
    for unit in units:
        _lay_tile(store, spec, unit, masters)
    joins = plan_joins(spec, spec.survey, store, [unit.cut for unit in units], {})
    for model in plan_models(spec, store, [unit.fingerprint for unit in joins], {}):
        _lay_model(store, model, joins, masters)


def _lay_tile(store: Store, spec: RunSpec, unit: TileUnit, masters: Masters) -> None:
    master = Path(masters.store.root.removeprefix("file://"), masters.cut)
    folder = Path(store.root.removeprefix("file://"), unit.product)
    shutil.copytree(master, folder, copy_function=os.link)
    group = json.loads((master / "zarr.json").read_text())
    group["attributes"]["tile"] = unit.name
    (folder / "zarr.json").unlink()
    (folder / "zarr.json").write_text(json.dumps(group, indent=2))
    receipt = Receipt(
        product=unit.product,
        fingerprint=unit.fingerprint,
        inputs={"tile": unit.tile.identity},
        files=masters.files,
        rows=masters.objects,
        seconds=60.0,
        details={
            "tile": unit.name,
            "flags": {},
            "sky_sigma": [_SKY_SIGMA] * len(BANDS),
            "files": [asdict(file) for file in unit.tile.files],
        },
    )
    # Not through the store, which waits for the disk each time: this is not measured.
    Path(store.root.removeprefix("file://"), receipt.key).write_bytes(to_json(receipt))


def _lay_model(store: Store, unit: ModelUnit, joins: list[JoinUnit], masters: Masters) -> None:
    master = TrainedModel.load(masters.store, masters.models[unit.name])
    places = np.linspace(0, 1, REFERENCE_OBJECTS)
    reference = {
        name: np.interp(places, np.linspace(0, 1, len(values)), values) for name, values in master.reference.items()
    }
    inputs = {f"cutouts {unit.cutouts.product}": unit.cutouts.fingerprint for unit in joins}
    inputs |= {f"join {unit.product}": unit.fingerprint for unit in joins}
    training = master.card.training | {"inputs": inputs}
    card = master.card.model_copy(update={"fingerprint": unit.fingerprint, "training": training})
    files = TrainedModel(card, master.module, reference).save(store, unit.product)
    write_receipt(
        store,
        Receipt(product=unit.product, fingerprint=unit.fingerprint, inputs=inputs, files=files, rows=500_000),
    )
