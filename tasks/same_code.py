"""Whether the workers run the code that hands them their work: the same version, the same sources, byte by byte.

A unit travels as the name of a function, so a worker with another galflow would make other products under the same
fingerprints. Such a worker is named and gets nothing to do (tasks.worker_pool). Libraries are not compared; Dask warns
of those it needs.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import platform
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import galflow

MEND = "install the same galflow there and start the worker again, or start the run from the workers' installation"


@dataclass(frozen=True)
class RunningCode:
    """What a process runs, and where."""

    version: str
    sources: str
    """16 hexadecimal digits of SHA-256 over the sources of galflow and tasks."""
    python: str
    """As 3.11: pickled functions are of one Python."""
    host: str
    process: int
    parent: int

    def agrees_with(self, other: RunningCode) -> bool:
        """Whether both run the same."""
        return (self.version, self.sources, self.python) == (other.version, other.sources, other.python)

    def is_parent_of(self, other: RunningCode) -> bool:
        """Whether this process started the other: then both are of one installation, whatever was edited meanwhile."""
        return (self.host, self.process) == (other.host, other.parent)

    def __str__(self) -> str:
        return f"galflow {self.version} (sources {self.sources}, Python {self.python})"


@cache
def running_code() -> RunningCode:
    """Of this process, read once: what is edited later has mostly been imported already."""
    folders = (Path(galflow.__file__).parent, Path(__file__).parent)
    major, minor, _ = platform.python_version_tuple()
    return RunningCode(
        version=galflow.__version__,
        sources=digest_of(*folders),
        python=f"{major}.{minor}",
        host=socket.gethostname(),
        process=os.getpid(),
        parent=started_by(),
    )


def started_by() -> int:
    """The process that started this one, also where it was forked from another at its bidding."""
    parent = multiprocessing.parent_process()
    return os.getppid() if parent is None or parent.pid is None else parent.pid


def digest_of(*folders: Path) -> str:
    """Of all files below the folders, by name and content; not of what Python or an editor puts beside them."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            place = path.relative_to(folder)
            if path.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in place.parts):
                content = path.read_bytes()
                digest.update(f"{folder.name}/{place.as_posix()}\n{len(content)}\n".encode())
                digest.update(content)
    return digest.hexdigest()[:16]


def difference(own: RunningCode, answer: RunningCode | Exception) -> str | None:
    """What a worker runs if it is not what this process runs, in words; None if it is the same."""
    if isinstance(answer, Exception):
        return f"has no such galflow ({type(answer).__name__}: {answer})"
    if own.agrees_with(answer) or own.is_parent_of(answer):
        return None
    return f"runs {answer}, this run {own}"
