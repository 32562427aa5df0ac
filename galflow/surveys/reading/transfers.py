"""What reading a tile's files in an object store has moved: requests and bytes, counted where they are made.

Within ``counted`` a file is asked for no byte twice, whoever reads it: the header for the footprint, one band's pixels,
another's mask. What was fetched and may be asked for again is in memory until the context ends; nothing is put on disk.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from galflow.surveys.base import TileFile
from galflow.surveys.reading.object_ranges import OpenedObject
from galflow.surveys.reading.ranges import RangedContent


@dataclass(eq=False)
class Transfers:
    """Counts, and the contents of the files as far as they were fetched. Threads may share it."""

    shared: frozenset[str] = frozenset()
    """URIs whose pixels several bands read."""
    requests: int = 0
    bytes_read: int = 0
    _contents: dict[str, RangedContent] = field(default_factory=dict)
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def note(self, requests: int, read: int) -> None:
        """Count requests that brought so many bytes of a file."""
        with self._counting:
            self.requests += requests
            self.bytes_read += read

    def content(self, uri: str, opened: Callable[[], OpenedObject], *, forgets: bool) -> RangedContent:
        """As the function of that name."""
        with self._opening:
            if uri not in self._contents:
                file = opened()

                def counted_fetch(ranges: Sequence[tuple[int, int]]) -> Sequence[bytes]:
                    found = file.fetch(ranges)
                    self.note(len(ranges), sum(map(len, found)))
                    return found

                keep = uri in self.shared and not forgets
                self._contents[uri] = RangedContent(file.size, counted_fetch, keep=keep, forgets=forgets)
                self.note(1, 0)
            return self._contents[uri]

    @property
    def file_bytes(self) -> int:
        """Of the files that were opened, whole."""
        with self._opening:
            return sum(content.size for content in self._contents.values())

    def details(self, whole: str) -> dict[str, int | str]:
        """What a receipt says; nothing where no file lay in an object store. ``whole``: why bands were read whole."""
        if not self.requests:
            return {}
        return {
            "requests": self.requests,
            "bytes_read": self.bytes_read,
            "file_bytes": self.file_bytes,
            "read_whole": whole,
        }


_CURRENT: ContextVar[Transfers | None] = ContextVar("galflow_transfers", default=None)


def note(requests: int, read: int) -> None:
    """Count requests that brought so many bytes, where there is a context that counts."""
    transfers = _CURRENT.get()
    if transfers is not None:
        transfers.note(requests, read)


def content(uri: str, opened: Callable[[], OpenedObject], *, forgets: bool = False) -> RangedContent:
    """The content of a file, the same for all readers in one context. ``opened`` asks the store what the file is.

    ``forgets``: what is read is not kept, if the context has not opened the file before.
    """
    transfers = _CURRENT.get()
    if transfers is None:
        file = opened()
        return RangedContent(file.size, file.fetch, forgets=forgets)
    return transfers.content(uri, opened, forgets=forgets)


@contextmanager
def counted(files: Sequence[TileFile] = ()) -> Iterator[Transfers]:
    """Count what is read of a tile's files, and read none of their bytes twice, until the context ends.

    A thread takes part if it was started in a copy of the context.
    """
    readers = Counter((file.uri, file.role.partition("/")[0]) for file in files)
    transfers = Transfers(frozenset(uri for (uri, _), count in readers.items() if count > 1))
    token = _CURRENT.set(transfers)
    try:
        yield transfers
    finally:
        _CURRENT.reset(token)
