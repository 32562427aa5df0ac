"""What was made last, kept for whoever asks for it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Recent(Generic[Made]):
    """The few things that were made last, by key. Threads may share it."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._kept: OrderedDict[Hashable, Made] = OrderedDict()

    def peek(self, key: Hashable) -> Made | None:
        """What is kept under ``key``, if anything is."""
        with self._lock:
            return self._kept.get(key)

    def keep(self, key: Hashable, made: Made) -> Made:
        """Keep it, and let go of what was asked for longest ago."""
        with self._lock:
            self._kept[key] = made
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What is kept under ``key``, or is made now."""
        found = self.peek(key)
        return self.keep(key, make() if found is None else found)
