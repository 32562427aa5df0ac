"""The folder in which copies of large catalogues lie: which run each is of, who uses it, and which are deleted.

Deleted are copies of runs that are gone or were published anew, of earlier runs of the same name, and beyond
``LARGEST_BYTES`` those that were opened longest ago; never one that an explorer has open, and never a folder that is no
copy of the explorer's.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from galflow.errors import GalflowError
from galflow.explore.database import Progress
from galflow.spec.run import fingerprint
from galflow.storage.receipts import RunManifest, read_manifest
from galflow.storage.store import Store

DATABASE = "rows.duckdb"
VERSION = "2"
"""Raised when the copies that were built before cannot be read any longer."""
LARGEST_BYTES = 20 * 2**30
"""Of all copies together; one alone may be larger."""
_ABOUT, _USED = "about.json", "used"
_UNFINISHED = re.compile(r"\.[0-9a-f]{16}\.\d+")
_COPY = re.compile(rf"[0-9a-f]{{16}}|{_UNFINISHED.pattern}")
"""Names of copies, and of those that are being built."""


@dataclass(frozen=True)
class CopyOf:
    """Of what a folder is a copy."""

    store: str
    run: str
    name: str
    finished: str
    version: str = VERSION
    added: dict[str, Any] | None = field(default=None, compare=False)
    """What is said of the columns that the catalogue itself has not, as JSON."""

    @classmethod
    def run_of(cls, store: Store, manifest: RunManifest, added: dict[str, Any] | None = None) -> CopyOf:
        """A published run's."""
        return cls(store.root, manifest.run, manifest.name, manifest.finished, added=added)

    @property
    def folder(self) -> str:
        """Its name."""
        return fingerprint(self.version, self.store, self.run, self.finished)

    def write(self, folder: Path) -> None:
        """Beside the copy."""
        (folder / _ABOUT).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> CopyOf | None:
        """Of what a folder says that it is a copy; None where it does not say."""
        try:
            return cls(**json.loads((folder / _ABOUT).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def use(folder: Path) -> IO[bytes]:
    """Keep a folder from being deleted until the file is closed. FileNotFoundError if it is gone."""
    used = (folder / _USED).open("ab")
    fcntl.flock(used, fcntl.LOCK_SH)
    if not (folder / _USED).exists():  # deleted between the two
        used.close()
        raise FileNotFoundError(folder)
    os.utime(folder / _USED)
    return used


def delete_old(cache: Path, store: Store, opened: RunManifest, progress: Progress) -> None:
    """Delete what need not be kept beside the copy of the run that is open now."""
    kept: list[tuple[float, int, Path]] = []
    for folder in _copies(cache):
        copy = CopyOf.read(folder)
        if copy is None:
            _delete(folder, "an old copy", progress)
        elif not _is_current(copy, store, opened):
            _delete(folder, f"the copy of {copy.run}", progress)
        elif copy.folder != CopyOf.run_of(store, opened).folder:
            kept.append((_last_used(folder), _bytes(folder), folder))
    room = LARGEST_BYTES - _bytes(cache / CopyOf.run_of(store, opened).folder)
    for _, size, folder in sorted(kept, reverse=True):
        room -= size
        if room < 0:
            _delete(folder, "a copy that was not opened for long", progress)


def _copies(cache: Path) -> Iterator[Path]:
    """Folders that are copies by their name and content: whoever named the cache may keep other things there."""
    for folder in sorted(cache.iterdir()):
        if not _COPY.fullmatch(folder.name) or not folder.is_dir() or folder.is_symlink():
            continue
        if _UNFINISHED.fullmatch(folder.name) or any((folder / name).exists() for name in (_ABOUT, DATABASE)):
            yield folder


def _is_current(copy: CopyOf, store: Store, opened: RunManifest) -> bool:
    """Whether a copy is of this galflow, and, in this store, of a run as it is published and not replaced."""
    if copy.version != VERSION:
        return False
    if copy.store != store.root:
        return True  # nobody asks other stores
    if copy.name == opened.name and copy.finished < opened.finished:
        return False
    try:
        manifest = read_manifest(store, copy.run)
    except GalflowError:
        return True  # a damaged manifest is told of where its run is opened
    return manifest is not None and manifest.finished == copy.finished


def _delete(folder: Path, what: str, progress: Progress) -> None:
    """Delete a copy that nobody has open."""
    with (folder / _USED).open("ab") as used:
        try:
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        progress(f"deleting {what}")
        shutil.rmtree(folder)


def _last_used(folder: Path) -> float:
    with suppress(FileNotFoundError):
        return (folder / _USED).stat().st_mtime
    return 0.0


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
