"""Reads rows of an array that galflow.cutouts.zarr_writing wrote, three times as fast as zarr's own reader does.

zarr decodes and copies a chunk of a shard in many small steps; here a chunk goes from its bytes to its place in one. An
array laid out in any other way is left to zarr. This file knows neither cutouts nor catalogues.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import google_crc32c
import numpy as np
import zarr
from numcodecs import blosc

_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
_SUM_BYTES = 4
_FAR_SMALLER = 50
_PLACE = struct.Struct("<QQ")

Fetch = Callable[[str, int, int | None], bytes]
"""Key below the array, first byte (negative: from the end) and where to stop -> bytes."""


@dataclass(eq=False)
class ShardReader:
    """One array, opened."""

    fetch: Fetch
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """Little-endian."""
    rows_in_chunk: int
    chunks_in_shard: int
    _shard: tuple[int, list[tuple[int, int]]] = field(default=(-1, []), repr=False)
    """The shard that was read last: its number, and where its chunks lie."""
    _last: tuple[bytes, np.ndarray] | None = field(default=None, repr=False)
    """The last chunk that is far smaller as stored, and it decoded: chunks of one value a band follow each other."""

    @classmethod
    def of(cls, array: zarr.Array[Any], fetch: Fetch) -> Self | None:
        """None if the array is not laid out as galflow writes pixels."""
        stored = array.metadata.to_dict()
        codecs: Any = stored.get("codecs", ())
        if array.shards is None or len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
            return None
        said = codecs[0]["configuration"]
        inner = list(said["codecs"])
        known = (
            len(inner) == 3
            and inner[0] == _LITTLE
            and (inner[1]["name"], inner[2]["name"]) == ("blosc", "crc32c")
            and [c["name"] for c in said["index_codecs"]] == ["bytes", "crc32c"]
            and said["index_location"] == "end"
            and array.chunks[1:] == array.shards[1:] == array.shape[1:]
            and 0 not in array.shape
        )
        if not known:
            return None
        in_shard = array.shards[0] // array.chunks[0]
        return cls(fetch, array.shape, array.dtype.newbyteorder("<"), array.chunks[0], in_shard)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``; perhaps read-only. ValueError or RuntimeError if it is damaged."""
        first, last = start // self.rows_in_chunk, -(-stop // self.rows_in_chunk)
        if last - first == 1:
            offset = first * self.rows_in_chunk
            return self._chunk(first)[start - offset : stop - offset]
        out = np.empty((stop - start, *self.shape[1:]), self.dtype)
        for number in range(first, last):
            offset = number * self.rows_in_chunk
            begin, end = max(start, offset), min(stop, offset + self.rows_in_chunk)
            out[begin - start : end - start] = self._chunk(number)[begin - offset : end - offset]
        return out

    def _chunk(self, number: int) -> np.ndarray:
        """A whole chunk; read-only if others may be given the same."""
        shard, within = divmod(number, self.chunks_in_shard)
        offset, length = self._places(shard)[within]
        data = _checked(self.fetch(self._key(shard), offset, offset + length), f"chunk {number}")
        if self._last is not None and self._last[0] == data:
            return self._last[1]
        chunk = np.empty((self.rows_in_chunk, *self.shape[1:]), self.dtype)
        blosc.decompress(data, chunk)
        if len(data) * _FAR_SMALLER < chunk.nbytes:
            chunk.flags.writeable = False
            self._last = (data, chunk)
        return chunk

    def _places(self, shard: int) -> list[tuple[int, int]]:
        if self._shard[0] != shard:
            index = self.fetch(self._key(shard), -(self.chunks_in_shard * _PLACE.size + _SUM_BYTES), None)
            places = list(_PLACE.iter_unpack(_checked(index, f"the index of shard {shard}")))
            if len(places) != self.chunks_in_shard:
                raise ValueError(f"the index of shard {shard} has {len(places)} places, not {self.chunks_in_shard}")
            self._shard = (shard, places)
        return self._shard[1]

    def _key(self, shard: int) -> str:
        return f"c/{shard}" + "/0" * (len(self.shape) - 1)


def _checked(data: bytes, what: str) -> bytes:
    """Without the checksum behind them, which must be theirs."""
    body = data[:-_SUM_BYTES]
    if google_crc32c.value(body) != int.from_bytes(data[-_SUM_BYTES:], "little"):
        raise ValueError(f"the checksum of {what} is not that of its bytes")
    return body
