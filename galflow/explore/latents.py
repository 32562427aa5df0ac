"""A run's latents as columns of the explorer: where each object lies along the directions in which they differ most.

The directions are found of a sample of the objects; then each tile's latents are read once, beside its rows of the
catalogue. In memory are the sample, one tile's latents, and the few places of the tiles that were read last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.catalog.carried import DESCRIPTION, UCD
from galflow.errors import GalflowError
from galflow.explore.recent import Recent
from galflow.labels.directions import LatentDirections
from galflow.labels.vectors import read_vectors
from galflow.runs.tile_products import LATENTS, tile_products
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

_SAMPLED_TILES, _SAMPLED_OBJECTS, _SAMPLED_NUMBERS = 64, 50_000, 4_000_000
"""Of which the directions are found: at most so many tiles, objects and latents of objects."""
_KEPT_TILES = 256
_TOLD = 3
"""Reasons that are told one by one."""

Places = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LatentAxes:
    """What is said of a run's columns of latents."""

    model: str
    shares: tuple[float, ...]
    """Of the variance, of each direction."""
    lost: tuple[str, ...] = ()
    """Why objects have no place, in a few lines."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(f"{self.model}_latent_{number}" for number in range(1, len(self.shares) + 1))

    def fields(self) -> list[pa.Field]:
        """The columns, with what is said of each."""
        words = (
            f"place along direction {number} of the latents by {self.model}, by which {share:.0%} of their variance is "
            "told; in robust spreads of the latents"
            for number, share in enumerate(self.shares, 1)
        )
        return [
            pa.field(name, pa.float32(), metadata={DESCRIPTION: text.encode(), UCD: b"stat.value;meta.modelled"})
            for name, text in zip(self.names, words, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LatentAxes:
        """The inverse of ``to_json``."""
        return cls(value["model"], tuple(value["shares"]), tuple(value["lost"]))


class LatentColumns:
    """Adds the columns to rows of the catalogue."""

    def __init__(self, store: Store, model: str, parts: Mapping[str, str], sample: npt.NDArray[np.float32]) -> None:
        """``parts``: tile -> key of its latents; ``sample``: (N, D) of them, by which the directions are found."""
        self._store, self._parts, self._model = store, parts, model
        self._directions, self._width = LatentDirections.of(sample), sample.shape[1]
        self._tiles: Recent[Places] = Recent(_KEPT_TILES)
        self._lost: dict[str, str] = {}

    @property
    def axes(self) -> LatentAxes:
        """What is said of the columns, once all rows have them."""
        lost = [f"tile {tile}: {why}" for tile, why in sorted(self._lost.items())]
        told = lost if len(lost) <= _TOLD else [*lost[:_TOLD], f"and {len(lost) - _TOLD} tiles more"]
        return LatentAxes(self._model, tuple(float(share) for share in self._directions.shares), tuple(told))

    def added_to(self, table: pa.Table) -> pa.Table:
        """The rows with the columns behind their own; null where an object has no latents."""
        places = np.full((len(table), len(self._directions.shares)), np.nan, np.float32)
        tiles = table.column("tile").combine_chunks().dictionary_encode()
        codes, rows = (np.asarray(c.to_numpy(zero_copy_only=False)) for c in (tiles.indices, table.column("row")))
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(tiles.dictionary) + 1))
        for tile, start, end in zip(tiles.dictionary.to_pylist(), ends, ends[1:], strict=False):
            here = order[start:end]
            known = self._tiles.get(tile, partial(self._of_tile, tile))
            there = here[rows[here] < len(known)]
            places[there] = known[rows[there]]
        for number, field in enumerate(self.axes.fields()):
            values = np.ascontiguousarray(places[:, number])
            table = table.append_column(field, pa.array(values, mask=~np.isfinite(values)))
        return table

    def _of_tile(self, tile: str) -> Places:
        """(N, C) of a tile's rows; none where its latents cannot be read, which is kept."""
        if tile not in self._parts:
            return np.zeros((0, len(self._directions.shares)), np.float32)
        try:
            vectors = read_vectors(self._store, self._parts[tile])
        except GalflowError as error:
            self._lost[tile] = str(error)
            vectors = np.zeros((0, 0), np.float32)
        if vectors.shape[1] != self._width:  # nobody of the tile was scored
            vectors = np.full((len(vectors), self._width), np.nan, np.float32)
        return self._directions.places(vectors).astype(np.float32)


def latent_columns(store: Store, manifest: RunManifest, taken: pa.Schema) -> LatentColumns | None:
    """The columns of a run whose objects have latents; None where they have none, or ``taken`` has their names."""
    parts = tile_products(manifest, LATENTS)
    model = manifest.specification.get("output", {}).get("similar")
    if not parts or model is None:
        return None
    sample = _sample(store, list(parts.values()))
    if len(sample) < 3 or sample.shape[1] < 2:
        return None
    columns = LatentColumns(store, str(model), parts, sample)
    return None if set(columns.axes.names) & set(taken.names) else columns


def _sample(store: Store, keys: list[str]) -> npt.NDArray[np.float32]:
    """(N, D) finite latents of some objects, drawn with a fixed seed from tiles evenly spread."""
    draw = np.random.default_rng(0)
    chosen = keys[:: -(-len(keys) // _SAMPLED_TILES)]
    found: list[npt.NDArray[np.float32]] = []
    for key in chosen:
        try:
            vectors = read_vectors(store, key)
        except GalflowError:
            continue  # told of when its rows are filled
        vectors = vectors[np.isfinite(vectors).all(axis=1)] if vectors.shape[1] else vectors[:0]
        most = max(1, min(_SAMPLED_OBJECTS, _SAMPLED_NUMBERS // max(1, vectors.shape[1])) // len(chosen))
        if len(vectors):
            found.append(vectors[draw.choice(len(vectors), min(most, len(vectors)), replace=False)])
    widest = max((part.shape[1] for part in found), default=0)
    same = [part for part in found if part.shape[1] == widest]
    return np.concatenate(same) if same else np.zeros((0, 0), np.float32)
