"""Which objects of a run are alike: an index of their latents, built a tile at a time, and the search in it.

Alike is near in the latents of one model, by the Euclidean distance: these models scale their latents themselves, so
that a dimension that tells nothing is short. Up to ``EXACT_OBJECTS`` the search compares with every object; beyond,
with those of the nearest of some thousand cells (an inverted file, Sivic & Zisserman 03; Johnson+19) in half precision.
"""

from __future__ import annotations

import io
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import DataError, IntegrityError, SpecError
from galflow.labels.vectors import read_vectors
from galflow.spec.run import fingerprint
from galflow.storage.checksums import FileSum
from galflow.storage.layout import receipt_key
from galflow.storage.products import Target, outcome_of, write_product
from galflow.storage.receipts import Receipt, parse_receipt, read_sound
from galflow.storage.store import Store

if TYPE_CHECKING:
    import faiss

INDEX_VERSION = "1"
"""Raised when the same latents would give another index."""
EXACT_OBJECTS = 200_000
"""Up to so many objects every one is compared with: some milliseconds a search."""
TRAINING_PER_CELL = 64
SEARCHED_SHARE = 1 / 24
"""Of the cells, at least ``LEAST_CELLS``: those nearest to what is searched for."""
LEAST_CELLS = 16
INDEX, PLACES = "index.faiss", "places.parquet"
"""Files of an index: the vectors, and which object each of them is."""


class IndexedTile(NamedTuple):
    """One tile's part of an index."""

    latents: str
    """Key of its latents."""
    cutouts: str
    join: str
    fingerprints: tuple[str, str]
    """Of the latents, and of the join."""

    @property
    def inputs(self) -> dict[str, str]:
        """What it is made of -> fingerprints."""
        return dict(zip((self.latents, self.join), self.fingerprints, strict=True))


class Neighbour(NamedTuple):
    """An object that is like another one."""

    object_id: int
    distance: float
    """In the model's latents."""


def index_fingerprint(latents: Sequence[str], joins: Sequence[str]) -> str:
    """Of what an index depends on: the latents, and which rows are which objects."""
    return fingerprint(INDEX_VERSION, sorted(latents), sorted(joins))


def build_index(target: Target, tiles: Sequence[IndexedTile]) -> Receipt:
    """Index the primary rows of these tiles, store it with its receipt, and return the receipt.

    In memory are one tile's latents, the index itself, and of a large one a sample to train on.
    """
    began, store = time.perf_counter(), target.store
    counts = [len(_rows(store, tile)[0]) for tile in tiles]
    objects = sum(counts)
    places: list[pa.Table] = []
    index: faiss.Index | None = None
    for tile, (rows, ids, vectors) in _parts(store, tiles):
        if index is None:
            index = empty_index(objects, vectors.shape[1], lambda n: _sample(store, tiles, n, objects))
        if vectors.shape[1] != index.d:
            raise DataError(f"{tile.latents} has {vectors.shape[1]} latents an object, others {index.d}; run again")
        index.add(vectors)
        key = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([tile.latents]))
        places.append(pa.table({"object_id": ids, "latents": key.cast(pa.string()), "row": rows}))
    outcome, reasons = outcome_of([], empty=None if objects else "no object has latents")
    receipt = Receipt(
        product=target.product,
        fingerprint=target.fingerprint,
        inputs={key: found for tile in tiles for key, found in tile.inputs.items()},
        rows=objects,
        outcome=outcome,
        reasons=reasons,
        details={"exact": objects <= EXACT_OBJECTS},
    )
    return write_product(store, receipt, lambda key: {} if index is None else _put(store, key, index, places), began)


def empty_index(objects: int, dimensions: int, sample: Any) -> faiss.Index:
    """An index for so many objects; ``sample(n)`` gives (n, dimensions) of them to train a large one on."""
    import faiss

    if objects <= EXACT_OBJECTS:
        return faiss.IndexFlatL2(dimensions)
    cells = round(math.sqrt(objects))
    index: Any = faiss.index_factory(dimensions, f"IVF{cells},SQfp16", faiss.METRIC_L2)
    index.cp.max_points_per_centroid = TRAINING_PER_CELL
    index.train(sample(TRAINING_PER_CELL * cells))
    index.nprobe = max(LEAST_CELLS, round(cells * SEARCHED_SHARE))
    return index


def _rows(store: Store, tile: IndexedTile) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that stand for their objects and have latents, their ids, and the latents, (n, D) float32."""
    vectors, join = read_vectors(store, tile.latents), CutoutSet(store, tile.cutouts, tile.join).join
    rows = np.flatnonzero(join.is_primary & np.isfinite(vectors).all(1) & (vectors.shape[1] > 0))
    return rows, join.object_id[rows], np.ascontiguousarray(vectors[rows])


def _parts(
    store: Store, tiles: Sequence[IndexedTile]
) -> Iterator[tuple[IndexedTile, tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    for tile in tiles:
        found = _rows(store, tile)
        if len(found[0]):
            yield tile, found


def _sample(store: Store, tiles: Sequence[IndexedTile], n: int, objects: int) -> np.ndarray:
    """About ``n`` of the latents, evenly drawn with a fixed seed."""
    draw = np.random.default_rng(0)
    drawn = [v[draw.random(len(v)) < n / objects] for _, (_, _, v) in _parts(store, tiles)]
    return np.concatenate(drawn)


def _put(store: Store, product: str, index: faiss.Index, places: Sequence[pa.Table]) -> dict[str, FileSum]:
    import faiss

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / INDEX
        faiss.write_index(index, str(path))
        written = {INDEX: store.put_file_once(f"{product}/{INDEX}", path)}
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables(places), sink, compression="zstd")
    return written | {PLACES: store.put_once(f"{product}/{PLACES}", sink.getvalue())}


@dataclass(frozen=True, eq=False)
class SimilarObjects:
    """An index that is there, opened at the first search."""

    store: Store
    product: str

    @cached_property
    def _places(self) -> pa.Table:
        return pq.read_table(pa.BufferReader(self._sound(PLACES))).combine_chunks()

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self._ids, kind="stable")

    @cached_property
    def _ids(self) -> np.ndarray:
        return np.asarray(self._places.column("object_id").to_numpy())

    @cached_property
    def _index(self) -> Any:
        import faiss

        data = np.frombuffer(self._sound(INDEX), np.uint8)
        return faiss.deserialize_index(data)

    def _sound(self, name: str) -> bytes:
        key = receipt_key(self.product)
        files = parse_receipt(key, self.store.get(key)).files
        if name not in files:
            raise SpecError(f"the index at {self.store.uri(self.product)} holds no object; none of them has latents")
        return read_sound(self.store, {f"{self.product}/{name}": files[name]})[f"{self.product}/{name}"]

    def __len__(self) -> int:
        return len(self._places)

    def near(self, object_id: int, n: int = 12) -> list[Neighbour]:
        """The ``n`` objects most like one, the nearest first, without it; SpecError if it is not in the index."""
        position = self._position(object_id)
        place = self._places.slice(position, 1).to_pylist()[0]
        vector = read_vectors(self.store, place["latents"])[place["row"]]
        return [found for found in self.near_vector(vector, n + 1) if found.object_id != object_id][:n]

    def near_vector(self, vector: np.ndarray, n: int = 12) -> list[Neighbour]:
        """The ``n`` objects nearest to latents (D,)."""
        if not 1 <= n <= 10_000:
            raise SpecError(f"{n} similar objects were asked for; give a number from 1 to 10000")
        wanted = np.ascontiguousarray(vector, np.float32)[None]
        if wanted.shape[1] != self._index.d:
            raise IntegrityError(f"{wanted.shape[1]} latents were given, the index has {self._index.d}")
        squares, positions = self._index.search(wanted, min(n, len(self)))
        found = zip(positions[0].tolist(), squares[0].tolist(), strict=True)
        return [Neighbour(int(self._ids[p]), math.sqrt(max(0.0, s))) for p, s in found if p >= 0]

    def _position(self, object_id: int) -> int:
        ordered = self._ids[self._order]
        kind = np.iinfo(ordered.dtype)
        if len(ordered) and kind.min <= object_id <= kind.max:
            at = int(np.searchsorted(ordered, ordered.dtype.type(object_id)))
            if at < len(ordered) and int(ordered[at]) == object_id:
                return int(self._order[at])
        raise SpecError(
            f"object {object_id} has no latents: it is not in the run, or it was not scored (its outcome says why)"
        )
