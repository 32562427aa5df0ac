"""Whether the workers run the code that hands them their work: the same version, the same sources, byte by byte.

A unit travels as the name of a function, so a worker with another galflow would make other products under the same
fingerprints. Such a worker is named and gets nothing to do. Libraries are not compared; Dask warns of those it needs.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from distributed import Client, Worker, WorkerPlugin
from distributed.core import Status

import galflow
from galflow.errors import GalflowError

logger = logging.getLogger(__name__)
SENT_AWAY_TOPIC = "galflow-other-code"
"""On which a worker that joined later tells that it leaves again, and why."""
_MEND = "install the same galflow there and start the worker again, or start the run from the workers' installation"


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


def require_same_code(client: Client) -> None:
    """GalflowError if any worker of the cluster runs something else; who joins later is looked at as it joins."""
    own = running_code()
    # The function goes by name, so a worker without it answers with an ImportError or AttributeError.
    _judge(own, client.run(running_code, on_error="return"))
    client.subscribe_topic(SENT_AWAY_TOPIC, _tell)
    client.register_plugin(SameCode(own))


def _judge(own: RunningCode, answers: Mapping[str, RunningCode | Exception]) -> None:
    differing = []
    for address, answer in answers.items():
        if isinstance(answer, OSError):
            continue  # It has gone since it was asked.
        if isinstance(answer, Exception):
            differing.append(f"{address} has no such galflow ({type(answer).__name__}: {answer})")
        elif not own.agrees_with(answer):
            if own.is_parent_of(answer):
                logger.warning("galflow was edited while it ran: worker %s runs what is there now", address)
            else:
                differing.append(f"{address} runs {answer}")
    if differing:
        shown = "; ".join(differing[:5]) + (f"; and {len(differing) - 5} more" if len(differing) > 5 else "")
        raise GalflowError(
            f"{len(differing)} of {len(answers)} workers run other code than this process, {own}: {shown}. "
            f"Nothing was handed to them; {_MEND}"
        )


def _tell(event: tuple[float, Any]) -> None:
    logger.warning("%s", event[1])


@dataclass(frozen=True)
class SameCode(WorkerPlugin):
    """Sends a worker away that joins with other code than that of the process that registered this."""

    wanted: RunningCode
    name: str = "galflow-same-code"

    def setup(self, worker: Worker) -> None:
        """Run when a worker starts, before it can be given anything to do."""
        own = running_code()
        if own.agrees_with(self.wanted) or self.wanted.is_parent_of(own):
            return
        reason = f"worker {worker.address} runs {own}, but the run {self.wanted}: it leaves the cluster; {_MEND}"
        logger.error("%s", reason)
        worker.log_event(SENT_AWAY_TOPIC, reason)
        # From here on it begins no task. It cannot close before it has started, so it does that next.
        worker.status = Status.closing_gracefully
        worker.loop.add_callback(_leave, worker)


async def _leave(worker: Worker) -> None:
    """As a worker that is retired: what the scheduler meant for it goes elsewhere and is not blamed for its end."""
    await worker.scheduler.retire_workers(
        workers=[worker.address], close_workers=False, remove=True, stimulus_id="galflow-other-code"
    )
    await worker.close(nanny=True, reason="galflow-other-code")
