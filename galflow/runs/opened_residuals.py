"""Residual pictures of a published run as one xarray Dataset, the most anomalous objects first.

Each tile's pictures lie in a Zarr group of its own; only those of the objects asked for are read.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr

from galflow.catalog.residual_objects import RANK, read_residual_objects
from galflow.errors import SpecError
from galflow.report.inputs import RESIDUAL_OBJECTS, RESIDUAL_OBJECTS_BEFORE, RESIDUALS
from galflow.scores.residual_writing import FLUX, KINDS, array_name
from galflow.storage.layout import RECEIPT_SUFFIX
from galflow.storage.receipts import RunManifest, read_receipts
from galflow.storage.store import Store

_OF_ALL_TILES = ("survey", "release", "bands", "unit", "pixel_scale_arcsec", "stretch_undone")
_COORDINATES = ["object_id", "ra", "dec", "row"]


def open_residuals(store: Store, manifest: RunManifest, model: str, n: int | None = None) -> xr.Dataset:
    """The pictures by ``model`` of the ``n`` most anomalous objects that have any, in memory."""
    if n is not None and n < 1:
        raise SpecError(f"residuals of {n} objects were asked for; give at least 1, or leave n out for all")
    products = _products(store, manifest, model)
    stage = RESIDUAL_OBJECTS if RESIDUAL_OBJECTS in manifest.products else RESIDUAL_OBJECTS_BEFORE
    (receipt,) = manifest.products[stage]
    chosen = read_residual_objects(store, receipt.removesuffix(RECEIPT_SUFFIX))
    chosen = chosen.filter(pc.is_in(chosen["tile"], pa.array(list(products)))).slice(0, n)
    tiles, rows, ranks = (chosen[name].to_numpy() for name in ("tile", "row", RANK))
    parts, places = [], []
    for tile in dict.fromkeys(tiles):
        mine = np.flatnonzero(tiles == tile)
        part = _of_tile(store, products[tile], model, rows[mine])
        parts.append(part.assign_coords({"tile": ("object", tiles[mine]), RANK: ("object", ranks[mine])}))
        places.append(mine)
    found = xr.concat(parts, "object", combine_attrs="override")
    return found.isel(object=np.argsort(np.concatenate(places)))


def _products(store: Store, manifest: RunManifest, model: str) -> dict[str, str]:
    """Tile -> key of the pictures that are there by ``model``, among others."""
    receipts = list(read_receipts(store, manifest.products.get(RESIDUALS, [])))
    by = {r.product: str(r.details["models"]).split(", ") for r in receipts}
    if found := {str(r.details["tile"]): r.product for r in receipts if model in by[r.product]}:
        return found
    known = ", ".join(sorted({name for names in by.values() for name in names if name}))
    have = f"it has those by {known}" if known else "set output.residuals to a share of the objects and run it again"
    raise SpecError(f"run {manifest.run} stored no residuals by {model!r}; {have}")


def _of_tile(store: Store, product: str, model: str, rows: np.ndarray) -> xr.Dataset:
    """The pictures of these rows of a tile's cutout set, in memory."""
    with store.translate_errors("open", product):
        opened = xr.open_zarr(store.zarr(product), consolidated=False, chunks=None)
    stored = {kind: array_name(kind, model) for kind in KINDS if array_name(kind, model) in opened}
    of_model = opened[[FLUX, *stored.values()]].rename({name: kind for kind, name in stored.items()})
    of_model = of_model.reset_coords()[[FLUX, *stored, *_COORDINATES]].set_coords(_COORDINATES)
    places = np.searchsorted(of_model["row"].to_numpy(), rows)
    attributes = {name: opened.attrs[name] for name in _OF_ALL_TILES if name in opened.attrs}
    attributes |= {"name": model, **opened.attrs["models"][model]}
    with store.translate_errors("read", product):
        found = of_model.isel(object=places).load()
    found.attrs = attributes
    return found.assign_coords(band=("band", list(opened.attrs["bands"])))
