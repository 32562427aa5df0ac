"""The objects of a published run that are like one of them, with their rows of the catalogue."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.files import each_file
from galflow.errors import SpecError
from galflow.labels.similarity import Neighbour, SimilarObjects
from galflow.storage.layout import RECEIPT_SUFFIX, as_key
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

_SHOWN = ("object_id", "ra", "dec", "anomaly_rank")
_INDEX = "index"


def has_index(manifest: RunManifest) -> bool:
    """Whether the run has an index of similar objects."""
    return bool(manifest.products.get(_INDEX))


def similar_objects(store: Store, manifest: RunManifest) -> SimilarObjects:
    """The run's index, which is kept in memory for the last run asked for; SpecError if it has none."""
    keys = manifest.products.get(_INDEX, [])
    if not keys:
        raise SpecError(
            f"run {manifest.run} has no index of similar objects; set output.similar to a model that encodes (a VAE, "
            "PCA) and run it again: only the latents and the index are made"
        )
    return _opened(store, keys[0].removesuffix(RECEIPT_SUFFIX))


@functools.lru_cache(maxsize=1)
def _opened(store: Store, product: str) -> SimilarObjects:
    return SimilarObjects(store, product)


def similar_rows(store: Store, manifest: RunManifest, object_id: int, n: int) -> pa.Table:
    """``_SHOWN`` of the ``n`` objects most like one, and their distance, the nearest first."""
    found = similar_objects(store, manifest).near(object_id, n)
    rows = _rows(store, as_key(manifest.catalog), found)
    distance = {neighbour.object_id: neighbour.distance for neighbour in found}
    place = {neighbour.object_id: number for number, neighbour in enumerate(found)}
    ids = rows.column("object_id").to_pylist()
    rows = rows.add_column(1, "distance", pa.array([distance[i] for i in ids], pa.float64()))
    return rows.take(pa.array(sorted(range(len(ids)), key=lambda row: place[ids[row]]), pa.int64()))


def _rows(store: Store, catalog: str, found: Sequence[Neighbour]) -> pa.Table:
    parts = []
    for part in each_file(store, catalog, _SHOWN):
        wanted = pa.array([neighbour.object_id for neighbour in found], part.schema.field("object_id").type)
        parts.append(part.filter(pc.is_in(part["object_id"], wanted)))
    return pa.concat_tables(parts)
