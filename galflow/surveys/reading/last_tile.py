"""Keeps the one tile that was decoded last, so that reading its bands one after another decodes it once.

It holds exactly one tile, and nothing of it is pickled: a worker that receives a survey starts with an empty one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LastTile(Generic[T]):
    """A cache of one entry, safe under threads: two threads that ask for the same tile compute it once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entry: tuple[str, T] | None = None

    def get(self, identity: str, make: Callable[[], T]) -> T:
        """What ``make`` gives for the tile of that identity, made now unless it was the last one asked for."""
        with self._lock:
            if self._entry is None or self._entry[0] != identity:
                self._entry = None  # let go of the old tile before the new one takes its memory
                self._entry = (identity, make())
            return self._entry[1]

    def __reduce__(self) -> tuple[type[LastTile[T]], tuple[()]]:
        return (LastTile, ())
