"""What a worker is asked before it gets any work (``ask_workers``), and how it answers (``prepare``, on the worker).

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
from typing import Any, NamedTuple

import torch
from distributed import Client, Worker

from galflow.errors import GalflowError, StoreError, UnreachableError
from galflow.logs import LogSettings
from galflow.spec.cluster import ClusterSpec
from galflow.storage.layout import probe_key
from galflow.storage.store import Store
from galflow.surveys.reading.files import open_bytes, reading_errors
from tasks.same_code import MEND, RunningCode, difference, running_code
from tasks.unit_log import LogOfUnits

logger = logging.getLogger(__name__)
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
    may_pass: bool = False
    """Whether that is for want of an answer of the store or the files: it may come later."""


class Verdict(NamedTuple):
    """What a run makes of a worker's answers."""

    host: str
    lacks: str | None
    """Why it may have no work; None if it may."""
    may_pass: bool = False


def ask_workers(client: Client, workers: list[str], needs: Needs, cluster: ClusterSpec) -> dict[str, Verdict]:
    """Ask workers for their code and for what a stage needs, and set them up. One that has gone is not in the answer.

    StoreError if the run itself cannot use the store, OSError if the scheduler is gone.
    """
    own = running_code()
    # Functions go by name, so a worker without them answers with an ImportError or AttributeError.
    codes = client.run(running_code, workers=workers, on_error="return")
    strangers = [worker for worker, code in codes.items() if not isinstance(code, RunningCode | OSError)]
    hosts = client.run(socket.gethostname, workers=strangers, on_error="return") if strangers else {}
    found: dict[str, Verdict] = {}
    for worker, code in codes.items():
        host = code.host if isinstance(code, RunningCode) else hosts.get(worker)
        if isinstance(code, OSError) or not isinstance(host, str):
            continue
        lacks = difference(own, code)
        found[worker] = Verdict(host, None if lacks is None else f"{lacks}; {MEND}")
        if not isinstance(code, Exception) and lacks is None and not own.agrees_with(code):
            logger.warning("galflow was edited while it ran: worker %s runs what is there now", worker)
    fit = [worker for worker, verdict in found.items() if verdict.lacks is None]
    for worker, answer in _prepared(client, fit, needs, cluster).items():
        if isinstance(answer, OSError):
            del found[worker]
        elif isinstance(answer, Exception):
            found[worker] = Verdict(found[worker].host, f"could not answer ({type(answer).__name__}: {answer})")
        elif answer.lacks:
            lacks = "lacks what the run needs: " + "; ".join(answer.lacks)
            found[worker] = Verdict(answer.host, lacks, answer.may_pass)
    return found


def _prepared(client: Client, workers: list[str], needs: Needs, cluster: ClusterSpec) -> dict[str, Any]:
    if not workers:
        return {}
    folder = probe_key()
    probe = f"{folder}/run"
    question = Question(
        needs=needs,
        probe=probe,
        variables=tuple(name for name in CREDENTIALS if os.environ.get(name)),
        threads=cluster.threads_per_worker,
        log=LogOfUnits(LogSettings.from_environment()),
    )
    if needs.store is None:
        return dict(client.run(prepare, question, workers=workers, on_error="return"))
    needs.store.put(probe, probe.encode())
    try:
        return dict(client.run(prepare, question, workers=workers, on_error="return"))
    finally:
        needs.store.delete(folder)


async def prepare(question: Question, dask_worker: Worker) -> Answer:
    """Set this worker up for a run, and say what it lacks. The worker answers others meanwhile."""
    torch.set_num_threads(question.threads)  # Dask pins OpenMP to one, whatever was asked for
    logging.getLogger("distributed.worker").addFilter(_not_of_a_unit)
    question.log.set_up(dask_worker)
    try:
        lacks, may_pass = await asyncio.wait_for(asyncio.to_thread(_lacks, question), _CHECK_SECONDS), False
    except TimeoutError:
        lacks, may_pass = (f"its store or the survey's files have not answered for {_CHECK_SECONDS:.0f} s",), True
    except UnreachableError as error:
        lacks, may_pass = (f"it cannot use the store or the survey's files: {error}",), True
    return Answer(socket.gethostname(), lacks, may_pass)


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
    except UnreachableError:
        raise
    except StoreError as error:
        yield f"it cannot use the store: {error}"


def _of_the_files(question: Question) -> Iterator[str]:
    for uri in question.needs.files:
        try:
            with open_bytes(uri) as file, reading_errors(uri):
                file.read(1)
        except UnreachableError:
            raise
        except (GalflowError, OSError) as error:
            yield f"it cannot read the survey's file {uri}: {error}"
            return
