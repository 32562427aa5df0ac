"""The objects of a published run among which people label: those that it ranks first, and all that are labelled."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.files import each_file, file_keys
from galflow.labels.features import TileProducts, group_weights, joined_features, tile_features
from galflow.labels.reranking import FeatureScale
from galflow.runs.tile_products import LATENTS, SCORES, tile_products
from galflow.spec.run import RunSpec
from galflow.storage.layout import as_key
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

RANK = "anomaly_rank"
COLUMNS = ("object_id", "ra", "dec", "tile", "row", RANK)
MOST = 20_000
"""Objects that are ranked anew unless more are asked for."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Some objects of a run, those with a rank first and in its order, with what the run knows of each."""

    store: Store
    spec: RunSpec
    manifest: RunManifest
    table: pa.Table
    """``COLUMNS``, a row an object."""

    @classmethod
    def first(cls, store: Store, spec: RunSpec, manifest: RunManifest, most: int = MOST) -> Candidates:
        """The ``most`` objects that the run ranks first. One file of the catalogue is in memory at a time."""
        best: list[pa.Table] = []
        for part in each_file(store, as_key(manifest.catalog), COLUMNS):
            both = pa.concat_tables([*best, part.filter(pc.is_valid(part[RANK]))])
            best = [both.take(pc.sort_indices(both, sort_keys=[(RANK, "ascending")])[:most])]
        return cls(store, spec, manifest, pa.concat_tables(best).combine_chunks())

    @cached_property
    def ids(self) -> np.ndarray:
        """(N,) object ids."""
        return np.asarray(self.table.column("object_id").to_numpy())

    @cached_property
    def row_of(self) -> dict[int, int]:
        """Object -> row here."""
        return {object_id: row for row, object_id in enumerate(self.ids.tolist())}

    def with_objects(self, ids: Collection[int]) -> Candidates:
        """These objects besides, at the end, if the catalogue has them."""
        lacking = [object_id for object_id in ids if object_id not in self.row_of]
        if not lacking:
            return self
        wanted = pa.array(lacking, self.table.schema.field("object_id").type)
        found = [
            part.filter(pc.is_in(part["object_id"], wanted))
            for part in each_file(self.store, as_key(self.manifest.catalog), COLUMNS)
        ]
        both = pa.concat_tables([self.table, *found]).combine_chunks()
        return Candidates(self.store, self.spec, self.manifest, both)

    @cached_property
    def products(self) -> dict[str, TileProducts]:
        """Tile -> where its numbers lie."""
        scores, latents = (tile_products(self.manifest, stage) for stage in (SCORES, LATENTS))
        return {tile: TileProducts(key, latents.get(tile)) for tile, key in scores.items()}

    @cached_property
    def scaled(self) -> np.ndarray:
        """(N, F) what the run knows of each, in robust standard deviations among these, weighted by group."""
        tiles, rows = (self.table.column(name).to_numpy(zero_copy_only=False) for name in ("tile", "row"))
        found: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
        for tile in dict.fromkeys(tiles.tolist()):
            here = np.flatnonzero(tiles == tile)
            if tile in self.products:
                found.append((here, tile_features(self.store, self.products[tile], rows[here])))
        widths: dict[str, int] = {}
        for _, parts in found:
            widths |= {group: max(widths.get(group, 0), values.shape[1]) for group, values in parts.items()}
        features = np.full((len(tiles), sum(widths.values())), np.nan, np.float32)
        for here, parts in found:
            features[here] = joined_features(parts, widths, len(here))
        return (FeatureScale.of(features)(features) * group_weights(widths)).astype(np.float32)


def catalog_files(store: Store, manifest: RunManifest) -> Sequence[str]:
    """Keys of the run's catalogue."""
    return file_keys(store, as_key(manifest.catalog))
