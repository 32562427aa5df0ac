"""The Zarr layout of one tile's cutouts, and its reading chunk by chunk.

One Zarr v3 group: flux, ivar and mask with dims (object, band, y, x), and every catalogue column with dim (object,).
A shard holds whole chunks and is written whole, by one writer (galflow.cutouts.set_writing). Zarr's own reader
understands all of it. This file knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
import zarr
from zarr.errors import GroupNotFoundError

from galflow.cutouts.column_encoding import decode_column, said_of_column
from galflow.cutouts.identities import Identities
from galflow.cutouts.zarr_reading import ShardReader
from galflow.errors import IntegrityError, StoreError
from galflow.storage.store import Store

LAYOUT_VERSION = "1"
PIXELS = ("flux", "ivar", "mask")


@dataclass(frozen=True)
class CutoutSet:
    """A stored cutout set, opened for reading. Cheap to pickle: the arrays are opened on first use."""

    store: Store
    product: str
    join_product: str | None = None
    """Key of what is known of its objects from other tiles (galflow.cutouts.joins)."""
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "product": self.product, "join_product": self.join_product, "_cache": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @cached_property
    def group(self) -> zarr.Group:
        """The Zarr group."""
        with self.store.translate_errors("open", self.product):
            try:
                return zarr.open_group(self.store.zarr(self.product), mode="r", zarr_format=3)
            except (FileNotFoundError, GroupNotFoundError, ValueError) as error:
                raise IntegrityError(
                    f"{self.store.uri(self.product)} is missing or is no cutout set ({error}); run again, or give "
                    "the URI of a folder that ends in .zarr"
                ) from error

    @property
    def attributes(self) -> dict[str, Any]:
        """survey, release, tile, bands, unit, sky_sigma and the rest."""
        return dict(self.group.attrs)

    def _array(self, name: str) -> zarr.Array:
        if name not in self._cache:
            with self.store.translate_errors("open", f"{self.product}/{name}"):
                try:
                    array = self.group.get(name)
                except ValueError as error:
                    raise IntegrityError(
                        f"{self.store.uri(self.product)} has no sound array {name!r} ({error}); "
                        "`galflow verify --discard` lists what is altered, and lets the next run make it anew"
                    ) from error
            if not isinstance(array, zarr.Array):
                raise IntegrityError(
                    f"{self.store.uri(self.product)} has no array {name!r}; it has {', '.join(sorted(self.group))}"
                )
            self._cache[name] = array
        return self._cache[name]

    @cached_property
    def join(self) -> Identities:
        """Which object each row is, and which rows are primary."""
        if self.join_product is None:
            return Identities.of_one_tile(self)
        found = Identities.parse(self.store.get(self.join_product), self.store.uri(self.join_product))
        if len(found.object_id) != len(self):
            raise IntegrityError(
                f"{self.store.uri(self.join_product)} has {len(found.object_id)} rows, its cutout set {len(self)}; "
                "`galflow verify --discard` lets the next run make it anew"
            )
        return found

    def __len__(self) -> int:
        return int(self._array("flux").shape[0])

    @property
    def pixel_shape(self) -> tuple[int, int, int]:
        """(band, y, x)."""
        return tuple(self._array("flux").shape[1:])  # type: ignore[return-value]

    @property
    def chunk_objects(self) -> int:
        """Objects in one chunk."""
        return int(self._array("flux").chunks[0])

    def chunks(self) -> Iterator[slice]:
        """The rows of each chunk, in order."""
        step = self.chunk_objects
        return (slice(i, min(i + step, len(self))) for i in range(0, len(self), step))

    def _shard_reader(self, name: str) -> ShardReader | None:
        """Of pixels as galflow writes them; None of whatever zarr has to read."""
        known = f"{name} reader"
        if known not in self._cache:
            key = f"{self.product}/{name}"
            fetch = partial(_part_of, self.store, key)
            self._cache[known] = ShardReader.of(self._array(name), fetch) if name in PIXELS else None
        return self._cache[known]

    def read(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """The rows of flux, ivar, mask or a catalogue column as it is stored; perhaps read-only."""
        array, reader = self._array(name), self._shard_reader(name)
        with self.store.translate_errors("read", f"{self.product}/{name}"):
            try:
                if reader is not None and rows.step is None:
                    start, stop, _ = rows.indices(len(self))
                    return reader.read(start, max(start, stop))
                return np.asarray(array[rows])
            except (FileNotFoundError, RuntimeError, ValueError, IndexError) as error:
                raise IntegrityError(
                    f"{self.store.uri(self.product)}/{name} rows {rows.start}-{rows.stop} cannot be decoded ({error}); "
                    "`galflow verify --discard` lists what is altered, and lets the next run make it anew"
                ) from error

    def column_attributes(self, name: str) -> dict[str, Any]:
        """How a catalogue column is stored: ``categories`` where texts are codes."""
        return dict(self._array(name).attrs)

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self.group

    def column(self, name: str) -> pa.Array:
        """A catalogue column as it was given: texts decoded, NaN of floats as null."""
        return decode_column(self.read(name), self.column_attributes(name))

    @property
    def column_names(self) -> list[str]:
        """The catalogue's columns, in the order in which they were written."""
        return str(self.attributes["coordinates"]).split()

    def rows(self, names: Sequence[str] | None = None) -> pa.Table:
        """Catalogue columns, all by default, with what is said of them: unit, description, UCD."""
        chosen = self.column_names if names is None else names
        arrays = [self.column(name) for name in chosen]
        described = [
            pa.field(name, array.type, metadata=said_of_column(self.column_attributes(name)))
            for name, array in zip(chosen, arrays, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=pa.schema(described))


def _part_of(store: Store, folder: str, key: str, start: int, stop: int | None) -> bytes:
    try:
        return store.get(f"{folder}/{key}", start, stop)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise FileNotFoundError(f"{key} is missing") from error
        raise
