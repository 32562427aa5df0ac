"""How arrays are handed to a Zarr store so that a write costs little more than compressing.

What is stored is Zarr v3 as zarr itself would write it (zarr-specs: codecs sharding, blosc and crc32c 1.0). zarr asks a
store what is there before each write, copies each chunk of a shard (zarr-python issue 2038) and wants a shard whole in
memory before it compresses; here chunks are compressed where they are made, and a shard is their bytes one after
another. This file knows neither cutouts nor catalogues.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import google_crc32c
import numpy as np
import zarr
from numcodecs import Blosc
from zarr.abc.store import Store as ZarrStore
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from galflow.storage.checksums import FileSum
from galflow.storage.object_streams import ObjectStream

_METADATA = "zarr.json"
"""The last part of the key of an array's metadata, and the key of the group's own."""
_NO_CHUNK = (2**64 - 1, 2**64 - 1)
"""In a shard's index: offset and length of a chunk that is not there."""


def _with_sum(data: bytes) -> bytes:
    """The bytes with their CRC32C behind them, as the codec crc32c writes it."""
    return data + google_crc32c.value(data).to_bytes(4, "little")


class ChunkCodec:
    """Blosc and a checksum, as ``compressors`` for zarr and as bytes. Safe in any thread."""

    def __init__(self, codec: Literal["lz4", "zstd"]) -> None:
        self._codec: Literal["lz4", "zstd"] = codec
        self._shuffle: Literal["bitshuffle", "shuffle"] = "bitshuffle" if codec == "zstd" else "shuffle"
        number = Blosc.BITSHUFFLE if codec == "zstd" else Blosc.SHUFFLE
        self._blosc = Blosc(cname=codec, clevel=5, shuffle=number)

    @property
    def compressors(self) -> Any:
        """For zarr. Blosc decodes most altered bytes to other pixels without a word: each chunk carries a checksum."""
        return BloscCodec(cname=self._codec, clevel=5, shuffle=self._shuffle), Crc32cCodec()

    def encode(self, chunk: np.ndarray) -> bytes:
        """The bytes of a whole chunk as they stand in a shard."""
        little_endian = np.ascontiguousarray(chunk, chunk.dtype.newbyteorder("<"))
        return _with_sum(self._blosc.encode(little_endian))


class ShardWriter:
    """Arrays that grow together along their first axis, written chunk by chunk, each already encoded.

    To be used as a context: leaving it waits for what is on its way, and leaves no shard behind that is not whole.
    """

    def __init__(
        self, opened: Callable[[str], ObjectStream], names: tuple[str, ...], ndim: int, chunks_in_shard: int
    ) -> None:
        """``opened``: an object of the arrays' group, to be written."""
        self._opened, self._names = opened, names
        self._in_shard = chunks_in_shard
        self._tail = "/0" * (ndim - 1)
        self._shards: dict[str, _Shard] = {}
        self._ending: list[_Shard] = []
        """Those that are being ended, or have been."""
        self._begun = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="galflow-write")
        self._on_the_way: list[Future[None]] = []
        self.sums: dict[str, FileSum] = {}
        """Key -> checksum of each shard that is there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        for shard in (*self._shards.values(), *self._ending):
            shard.stream.abandon()

    def add(self, chunks: Mapping[str, bytes]) -> None:
        """The next chunk of each array."""
        if not self._shards:
            keys = {name: f"{name}/c/{self._begun}{self._tail}" for name in self._names}
            self._begun += 1
            for name, key in keys.items():
                self._shards[name] = _Shard(key, self._opened(key))
        for name, chunk in chunks.items():
            self._shards[name].add(chunk)
        if all(len(shard.places) == self._in_shard for shard in self._shards.values()):
            self._end_shards()

    def finish(self) -> None:
        """End the last shard, and wait until everything is there."""
        self._end_shards()
        while self._on_the_way:
            self._on_the_way.pop(0).result()

    def _end_shards(self) -> None:
        if not self._shards:
            return
        if self._on_the_way:
            self._on_the_way.pop(0).result()
        shards, self._shards = list(self._shards.values()), {}
        self._ending = shards
        self._on_the_way.append(self._pool.submit(self._commit, shards))

    def _commit(self, shards: list[_Shard]) -> None:
        try:
            for shard in shards:
                shard.stream.write(index_of(shard.places, self._in_shard))
                self.sums[shard.key] = shard.stream.commit()
        finally:
            for shard in shards:
                shard.stream.abandon()


@dataclass
class _Shard:
    """One stored object that is not yet whole."""

    key: str
    stream: ObjectStream
    places: list[tuple[int, int]] = field(default_factory=list)
    """Offset and length of each chunk."""
    length: int = 0

    def add(self, chunk: bytes) -> None:
        self.stream.write(chunk)
        self.places.append((self.length, len(chunk)))
        self.length += len(chunk)


def index_of(places: list[tuple[int, int]], chunks_in_shard: int) -> bytes:
    """What stands at the end of a shard: where its chunks lie; those lacking at the end of an array are not there."""
    every = places + [_NO_CHUNK] * (chunks_in_shard - len(places))
    return _with_sum(b"".join(struct.pack("<QQ", *place) for place in every))


class StagedArrays:
    """Many small arrays, made in memory and then put into the store of their group all at once.

    Zarr asks a store four times what is there already for each array it makes in it, and waits for each answer. Arrays
    of one kind also share their metadata, in which their name does not occur: a catalogue may have hundreds of columns.
    """

    def __init__(self) -> None:
        self._objects: dict[str, Buffer] = {}
        self._group = zarr.create_group(MemoryStore(self._objects))
        self._first: dict[tuple[object, ...], str] = {}

    def add(
        self, name: str, values: np.ndarray, dimensions: tuple[str, ...], attributes: dict[str, Any] | None = None
    ) -> None:
        """An array in one chunk, with a checksum but not compressed: beside the pixels it is small."""
        kind = (values.dtype, values.shape, dimensions, json.dumps(attributes))
        first = self._first.setdefault(kind, name)
        if first != name:
            self._objects[f"{name}/{_METADATA}"] = self._objects[f"{first}/{_METADATA}"]
            if values.size:
                chunk = "/".join(["c"] + ["0"] * values.ndim)
                little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
                self._objects[f"{name}/{chunk}"] = default_buffer_prototype().buffer.from_bytes(
                    _with_sum(little_endian.tobytes())
                )
            return
        self._group.create_array(
            name,
            data=values,
            chunks=tuple(max(1, n) for n in values.shape),
            compressors=Crc32cCodec(),
            dimension_names=dimensions,
            attributes=attributes,
            config={"write_empty_chunks": True},
        )

    def put_into(self, store: ZarrStore) -> None:
        """Write the arrays to ``store``, over what is there of their names."""
        put_objects(store, {key: value for key, value in self._objects.items() if key != _METADATA})


def put_objects(store: ZarrStore, objects: Mapping[str, Buffer]) -> None:
    """Write objects side by side, each in place of what is there."""
    sync(_put_all(store, objects))


async def _put_all(store: ZarrStore, objects: Mapping[str, Buffer]) -> None:
    await asyncio.gather(*(store.set(key, value) for key, value in objects.items()))
