"""Hands units of work to a Dask cluster, a bounded number at a time, and collects their receipts.

Keys and URIs travel, never arrays. A unit that fails, or that kills its worker three times, is recorded as a failure;
the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed

from galflow.errors import GalflowError
from galflow.plan import Unit
from galflow.receipts import Receipt
from galflow.spec import ClusterSpec
from tasks.cluster import PROGRESS_TOPIC, open_client
from tasks.progress import StageProgress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A unit that could not be made, and why."""

    stage: str
    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class StageResult:
    """What a stage left: the receipts of its units, done before or now, in the units' order; and its failures."""

    receipts: tuple[Receipt, ...] = ()
    failures: tuple[Failure, ...] = ()
    made: int = 0
    """How many units were made now rather than found done."""


@dataclass(frozen=True, eq=False)
class Work:
    """A verb for one unit: a plain function of small, picklable arguments that returns the unit's receipt."""

    unit: Unit
    verb: Callable[..., Receipt]
    arguments: dict[str, Any] = field(default_factory=dict)


def run_stage(stage: str, units: Sequence[Unit], todo: Sequence[Work], cluster: ClusterSpec) -> StageResult:
    """Do what is to do of a stage, on a cluster that is opened only if there is anything, and closed afterwards."""
    receipts = {u.fingerprint: u.receipt for u in units if u.receipt is not None}
    failures: list[Failure] = []
    if todo:
        with StageProgress(stage, len(units), len(receipts)) as progress, open_client(cluster) as client:
            client.subscribe_topic(PROGRESS_TOPIC, lambda event: progress.note(str(event[1])))
            in_flight = cluster.in_flight_per_worker * max(1, len(client.scheduler_info()["workers"]))
            for work, outcome in _collect(client, todo, in_flight):
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                else:
                    receipts[work.unit.fingerprint] = outcome
                progress.advance(failed=isinstance(outcome, Failure))
    ordered = tuple(receipts[u.fingerprint] for u in units if u.fingerprint in receipts)
    return StageResult(ordered, tuple(failures), len(todo) - len(failures))


def _collect(client: Client, todo: Sequence[Work], in_flight: int) -> Iterator[tuple[Work, Receipt | Failure]]:
    waiting = iter(todo)
    running: dict[str, Work] = {}

    def submit(work: Work) -> Future:
        future = client.submit(
            work.verb, **work.arguments, key=f"{work.unit.stage}-{work.unit.fingerprint}", pure=False
        )
        running[str(future.key)] = work
        return future

    finished = as_completed([submit(work) for work in islice(waiting, in_flight)], loop=client.loop)
    for future in finished:
        work = running.pop(str(future.key))
        yield work, _outcome(work, future)
        future.release()
        for following in islice(waiting, 1):
            finished.add(submit(following))


def _outcome(work: Work, future: Future) -> Receipt | Failure:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        reason = "it killed its worker three times (out of memory, or a crash in native code)"
    elif isinstance(error, GalflowError):
        reason = str(error)
    else:
        # Not one of galflow's own errors: a bug, whose trace is wanted.
        logger.error("%s %s failed", work.unit.stage, work.unit.name, exc_info=error)
        reason = f"{type(error).__name__}: {error}"
    return Failure(work.unit.stage, work.unit.name, reason)
