"""Objects that are written once, a piece at a time: a store shows them whole, or not at all.

On a disk a piece goes to the disk at once, so that nothing but the piece is in memory; an object store wants the object
whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable
from typing import Protocol

from galflow.errors import TakenError
from galflow.storage.checksums import FileSum


class ObjectStream(Protocol):
    """One object on its way."""

    def write(self, piece: bytes) -> None:
        """The next bytes."""

    def commit(self) -> FileSum:
        """Let the object be seen; its checksum. TakenError if other bytes lie there already."""

    def abandon(self) -> None:
        """Leave nothing of it behind."""


class LocalStream:
    """An object of a folder, written beside its place under a name that no listing shows."""

    def __init__(self, target: str, temporary_prefix: str) -> None:
        self._target = target
        folder = os.path.dirname(target)
        os.makedirs(folder, exist_ok=True)
        self._temporary = os.path.join(folder, f"{temporary_prefix}{uuid.uuid4().hex}")
        self._file = open(self._temporary, "xb", buffering=0)  # noqa: SIM115 - closed by commit and abandon
        self._digest, self._size = hashlib.sha256(), 0

    def write(self, piece: bytes) -> None:
        """To the disk."""
        left = memoryview(piece)
        while left:
            left = left[self._file.write(left) or 0 :]
        self._digest.update(piece)
        self._size += len(piece)

    def commit(self) -> FileSum:
        """Give the file its name, which nobody else's has."""
        self._file.close()
        written = FileSum(sha256=self._digest.hexdigest(), size=self._size)
        try:
            os.link(self._temporary, self._target)
        except FileExistsError:
            with open(self._target, "rb") as there:
                if FileSum.copying(there) != written:
                    raise TakenError(f"{self._target} holds other bytes than were to be written there") from None
        return written

    def abandon(self) -> None:
        """Remove the file's temporary name, and the file if it has no other."""
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._temporary)


class WholeStream:
    """An object that is handed on when all of it is there."""

    def __init__(self, put: Callable[[bytes], FileSum]) -> None:
        self._put = put
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> None:
        """Keep it."""
        self._pieces.append(piece)

    def commit(self) -> FileSum:
        """Hand all of it on."""
        content, self._pieces = b"".join(self._pieces), []
        return self._put(content)

    def abandon(self) -> None:
        """Forget it."""
        self._pieces = []
