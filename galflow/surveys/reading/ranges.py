"""A file of which only the bytes that are asked for are fetched, neighbours together, and none twice.

It knows nothing of where the file lies: who makes it says how ranges are fetched. Safe under threads.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

REQUEST_BYTES = 1 << 15
"""What one more request costs, in bytes; ranges closer than this are fetched as one. 64 requests in flight that take
25 ms each cost as much time as 40 kB do at 100 MB/s."""
_AHEAD = 1 << 16
"""What is fetched at least where little is read: a header and what follows it."""
_PART = 1 << 26
"""What one request asks for at most."""
_PARTS_AT_ONCE = 4
_SMALL_FILE, _SMALL_PART = 1 << 26, 1 << 22
"""A file as small as this is kept once it is read; of a larger one what was read in small parts: its headers."""

Fetch = Callable[[Sequence[tuple[int, int]]], Sequence[bytes]]
"""The bytes of each of some ranges [start, stop)."""


def joined(ranges: np.ndarray, gap: int = REQUEST_BYTES) -> np.ndarray:
    """(m, 2) ranges [start, stop) that cover ``ranges``, (n, 2), in their order, those closer than ``gap`` as one."""
    if not len(ranges):
        return np.zeros((0, 2), np.int64)
    ordered = np.asarray(ranges, np.int64)[np.argsort(ranges[:, 0], kind="stable")]
    reached = np.maximum.accumulate(ordered[:, 1])
    first = np.flatnonzero(np.r_[True, ordered[1:, 0] - reached[:-1] >= gap])
    return np.stack([ordered[first, 0], reached[np.r_[first[1:] - 1, len(ordered) - 1]]], axis=1)


def cost(ranges: np.ndarray) -> int:
    """What fetching these joined ranges costs, in bytes, requests included."""
    return int((ranges[:, 1] - ranges[:, 0]).sum()) + REQUEST_BYTES * len(ranges)


class RangedContent:
    """The bytes of one file, as far as they were fetched."""

    def __init__(self, size: int, fetch: Fetch, *, keep: bool = False, forgets: bool = False) -> None:
        """``keep``: whatever is fetched will be asked for again, however large the file; ``forgets``: nothing will."""
        self.size = size
        self._fetch = fetch
        self._keeps_all, self._forgets = keep or size <= _SMALL_FILE, forgets
        self._lock = threading.Lock()
        self._starts: list[int] = []
        self._parts: list[bytes] = []

    def prefetch(self, ranges: np.ndarray) -> None:
        """Fetch and keep what is not there yet of ``joined`` ranges, (n, 2)."""
        with self._lock:
            wanted = [missing for start, stop in ranges.tolist() for missing in self._missing(start, stop)]
            self._add(wanted, self._fetch(wanted) if wanted else ())

    def read(self, start: int, stop: int) -> bytes | bytearray:
        """The bytes [start, stop) as far as the file has them."""
        start, stop = max(0, start), min(stop, self.size)
        if stop <= start:
            return b""
        with self._lock:
            missing = self._missing(start, stop)
            if missing and stop - start < _AHEAD and not self._forgets:
                missing = self._missing(start, min(start + _AHEAD, self.size))
            if not self._forgets and (self._keeps_all or all(b - a <= _SMALL_PART for a, b in missing)):
                self._add(missing, self._fetch(missing) if missing else ())
                return self._held(start, stop)
            out = bytearray(stop - start)
            for at, part in self._pieces(start, stop):
                out[at - start : at - start + len(part)] = part
            parts = [(a, min(a + _PART, b)) for first, b in missing for a in range(first, b, _PART)]
            for number in range(0, len(parts), _PARTS_AT_ONCE):
                some = parts[number : number + _PARTS_AT_ONCE]
                for (a, b), fetched in zip(some, self._fetch(some), strict=True):
                    out[a - start : b - start] = fetched
            return out

    def _missing(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What of [start, stop) was not fetched yet."""
        missing = []
        for at, part in self._pieces(start, stop):
            if at > start:
                missing.append((start, at))
            start = at + len(part)
        return [*missing, (start, stop)] if start < stop else missing

    def _pieces(self, start: int, stop: int) -> list[tuple[int, memoryview]]:
        """(first byte, bytes) of what is there of [start, stop), in order."""
        found = []
        number = max(0, bisect_right(self._starts, start) - 1)
        while number < len(self._starts) and self._starts[number] < stop:
            first, part = self._starts[number], self._parts[number]
            a, b = max(start, first), min(stop, first + len(part))
            if a < b:
                found.append((a, memoryview(part)[a - first : b - first]))
            number += 1
        return found

    def _held(self, start: int, stop: int) -> bytes:
        return b"".join(part for _, part in self._pieces(start, stop))

    def _add(self, ranges: Sequence[tuple[int, int]], parts: Sequence[bytes]) -> None:
        if ranges:
            added = zip((start for start, _ in ranges), parts, strict=True)
            every = sorted([*zip(self._starts, self._parts, strict=True), *added], key=lambda entry: entry[0])
            self._starts, self._parts = [start for start, _ in every], [part for _, part in every]


class RangeFile(io.RawIOBase):
    """A seekable file of bytes over a content, for one reader; several may read one content."""

    def __init__(self, content: RangedContent) -> None:
        self.content = content
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte; fetches nothing."""
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.content.size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; how many there were."""
        found = self.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(found)] = found
        return len(found)

    def read(self, size: int | None = -1) -> bytes:
        """The next ``size`` bytes, or all that are left."""
        stop = self.content.size if size is None or size < 0 else self._at + size
        found = self.content.read(self._at, stop)
        self._at += len(found)
        return found  # type: ignore[return-value]  # of much a bytearray, which is not copied once more
