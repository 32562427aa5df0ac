"""Checksums of what is written, and the Zarr stores that keep them and miss what is not there.

A sum is taken from the bytes on their way out; what was written is read back only where somebody else wrote it first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict
from zarr.abc.store import ByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import WrapperStore

from galflow.errors import TakenError

_PIECE = 4 << 20
"""Bytes of a file in memory at a time."""


class FileSum(BaseModel):
    """What an object must be."""

    model_config = ConfigDict(frozen=True)

    sha256: str
    size: int
    """Bytes."""

    @classmethod
    def of(cls, data: bytes | memoryview) -> FileSum:
        """The sum of these bytes."""
        return cls(sha256=hashlib.sha256(data).hexdigest(), size=len(data))

    @classmethod
    def copying(cls, source: BinaryIO, target: BinaryIO | None = None) -> FileSum:
        """The sum of all that is left of ``source``, a piece at a time, written to ``target`` on the way if given."""
        digest, size = hashlib.sha256(), 0
        while piece := source.read(_PIECE):
            digest.update(piece)
            size += len(piece)
            if target is not None:
                target.write(piece)
        return cls(sha256=digest.hexdigest(), size=size)


Create = Callable[[str, Buffer], Awaitable[bool]]
"""Writes an object unless there is one; whether it did. Of two writers at once exactly one wins."""


class SummingStore(WrapperStore[ZarrStore]):
    """A Zarr store that notes the checksum of every object written through it, and never replaces another's object."""

    def __init__(self, store: ZarrStore, create: Create, sums: dict[str, FileSum] | None = None) -> None:
        super().__init__(store)
        self._create = create
        self.sums: dict[str, FileSum] = {} if sums is None else sums

    def with_read_only(self, read_only: bool = False) -> SummingStore:
        """The same place and the same sums, for reading alone or for writing too."""
        return type(self)(self._store.with_read_only(read_only), self._create, self.sums)

    async def set(self, key: str, value: Buffer) -> None:
        """Write and note; the sum is taken while the bytes are on their way.

        What was written through this store may be written anew. TakenError if somebody else wrote other bytes.
        """
        summing = asyncio.to_thread(FileSum.of, value.as_numpy_array().data)
        if key in self.sums:
            _, self.sums[key] = await asyncio.gather(self._store.set(key, value), summing)
            return
        created, summed = await asyncio.gather(self._create(key, value), summing)
        if not created:
            there = await self._store.get(key, default_buffer_prototype())
            if there is None or FileSum.of(there.as_numpy_array().data) != summed:
                raise TakenError(f"{self._store}/{key} holds other bytes than were to be written there")
        self.sums[key] = summed

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write and note unless there is such an object."""
        if not await self._store.exists(key):
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Remove and forget."""
        await self._store.delete(key)
        self.sums.pop(key, None)


class StrictReadStore(WrapperStore[ZarrStore]):
    """A Zarr store to read from, in which a chunk that is not there is lost.

    Zarr would take it for zeros, so that a vanished shard became a field of black pixels without a word.
    """

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The bytes; FileNotFoundError for a chunk that is not there."""
        found = await self._store.get(key, prototype, byte_range)
        if found is None and "c" in key.split("/")[:-1]:
            raise FileNotFoundError(f"chunk {key} is missing")
        return found
