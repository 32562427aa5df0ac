"""What a worker is asked before it gets any work, and how it answers; it runs on the worker.

It says what is missing for this run, with the name of its host; the answers are judged in tasks.worker_pool. The same
question sets the worker up: torch's threads, its log. It is asked anew by each stage, so nothing of a run stays.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from distributed import Worker

from galflow.errors import GalflowError, StoreError
from galflow.storage.store import Store
from galflow.surveys.reading.files import open_lazily
from tasks.unit_log import LogOfUnits

_CHECK_SECONDS = 60.0
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_PROFILE")
"""What a run may have in its environment and a worker not."""


@dataclass(frozen=True)
class Needs:
    """What the units of a stage read and write."""

    store: Store | None = None
    files: tuple[str, ...] = ()
    """URIs of some of the survey's files."""


@dataclass(frozen=True)
class Question:
    """What a run wants of a worker."""

    needs: Needs
    probe: str
    """The key of an object that the run has written, which holds this key."""
    variables: tuple[str, ...]
    """Which of CREDENTIALS the run has."""
    threads: int
    """Torch's."""
    log: LogOfUnits


@dataclass(frozen=True)
class Answer:
    """What a worker said."""

    host: str
    lacks: tuple[str, ...]
    """What it cannot do, in words; nothing if it may have work."""


async def prepare(question: Question, dask_worker: Worker) -> Answer:
    """Set this worker up for a run, and say what it lacks. The worker answers others meanwhile."""
    torch.set_num_threads(question.threads)  # Dask pins OpenMP to one, whatever was asked for
    logging.getLogger("distributed.worker").addFilter(_not_of_a_unit)
    question.log.set_up(dask_worker)
    try:
        lacks = await asyncio.wait_for(asyncio.to_thread(_lacks, question), _CHECK_SECONDS)
    except TimeoutError:
        lacks = (f"its store or the survey's files have not answered for {_CHECK_SECONDS:.0f} s",)
    return Answer(socket.gethostname(), lacks)


def _not_of_a_unit(record: logging.LogRecord) -> bool:
    """Keeps a worker from printing the trace of every unit that failed: the run says it, once and in a line."""
    return not str(record.msg).startswith("Compute Failed")


def _lacks(question: Question) -> tuple[str, ...]:
    found = tuple(_of_the_store(question)) + tuple(_of_the_files(question))
    absent = [name for name in question.variables if not os.environ.get(name)]
    if found and absent:
        return (*found, f"{', '.join(absent)} is in the run's environment and not in the worker's")
    return found


def _of_the_store(question: Question) -> Iterator[str]:
    store = question.needs.store
    if store is None:
        return
    folder = question.probe.rpartition("/")[0]
    own = f"{folder}/{uuid.uuid4().hex}"
    try:
        if question.probe not in store.list(folder) or store.get(question.probe) != question.probe.encode():
            yield (
                f"{store.uri('')} is another place here than for the run: what the run wrote there is not found; give "
                "a folder that all hosts share, or an s3:// root"
            )
            return
        store.put(own, b"galflow")
        store.delete(own)
    except StoreError as error:
        yield f"it cannot use the store: {error}"


def _of_the_files(question: Question) -> Iterator[str]:
    for uri in question.needs.files:
        try:
            with open_lazily(uri) as file:
                file.read(1)
        except (GalflowError, OSError) as error:
            yield f"it cannot read the survey's file {uri}: {error}"
            return
