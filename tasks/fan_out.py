"""Hands units of work to a Dask cluster, a bounded number at a time, and collects their receipts.

Keys and URIs travel, never arrays. A unit that fails, or that kills its workers, is recorded as a failure; the others
go on. Workers may come and go meanwhile. This file waits for nobody for ever.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from typing import Any

from distributed import Future, KilledWorker, as_completed

from galflow.errors import GalflowError
from galflow.logs import LogContext, current_context
from galflow.runs.plan import Unit
from galflow.spec.cluster import ClusterSpec
from galflow.storage.receipts import DOUBTS_DETAIL, Receipt
from galflow.surveys.reading.places import Place
from tasks.cluster import PROGRESS_TOPIC
from tasks.progress import StageProgress
from tasks.run_page import tell_dashboard
from tasks.unit_log import hear_warnings, run_unit
from tasks.worker_check import Needs
from tasks.worker_pool import SCHEDULER_LOST, WorkerPool, open_workers

_LOOK_SECONDS = 0.02
_GATHER_SECONDS = 60.0
_BLAME_SECONDS = 5.0
"""So long a unit whose workers are gone is not handed out anew: it may be told that it was what ended one."""
_NAMED = 4
"""Products named beside a reason; the others are counted."""
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
    places: Mapping[str, Place | None] = field(default_factory=dict)
    """Of an ingest: where each tile lies."""
    unopened: tuple[str, ...] = ()
    """Of an ingest: tiles that lie wholly beyond the selected regions."""

    @property
    def partial(self) -> list[str]:
        """Why receipts are partial, empty or in doubt: a line a reason, with the products that have it."""
        found: dict[str, list[str]] = {}
        for receipt in self.receipts:
            doubts = str(receipt.details.get(DOUBTS_DETAIL, ""))
            for reason in (*receipt.reasons, *([doubts] if doubts else [])):
                found.setdefault(reason, []).append(receipt.name)
        return [f"{_named(names)}: {reason}" for reason, names in found.items()]


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


@dataclass(frozen=True, eq=False)
class Work:
    """A verb for one unit: a plain function of small, picklable arguments that returns the unit's receipt."""

    unit: Unit
    verb: Callable[..., Receipt | None]
    """None is what a rank returns that does not lead; a unit done by one worker always gives its receipt."""
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> LogContext:
        """What the log of this unit says beside its words."""
        here = current_context()
        return replace(here, stage=here.stage or self.unit.stage, unit=self.unit.name)


Collect = Callable[[WorkerPool, Sequence[Work], int], Iterator[tuple[Work, Receipt | Failure]]]
"""Does what is to do, so much of it ahead for each worker, and gives each piece of work with its receipt or its failure
as it ends."""


def run_stage(
    stage: str,
    units: Sequence[Unit],
    todo: Sequence[Work],
    cluster: ClusterSpec,
    collect: Collect | None = None,
    needs: Needs | None = None,
) -> StageResult:
    """Do what is to do of a stage, on a cluster that is opened only if there is anything, and closed afterwards.

    ``collect`` does it; by default each unit is one worker's. ``needs`` is what a worker must reach to get any.
    """
    receipts = {u.fingerprint: u.receipt for u in units if u.receipt is not None}
    failures: list[Failure] = []
    if todo:
        with StageProgress(stage, len(units), len(receipts)) as progress, open_workers(cluster, needs) as pool:
            client = pool.client
            client.subscribe_topic(PROGRESS_TOPIC, lambda event: progress.part(*event[1]))
            hear_warnings(client)
            tell_dashboard(client.dashboard_link)
            for work, outcome in (collect or _collect)(pool, todo, cluster.in_flight_per_worker):
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                else:
                    receipts[work.unit.fingerprint] = outcome
                objects = 0 if isinstance(outcome, Failure) else outcome.rows
                progress.advance(failed=isinstance(outcome, Failure), name=work.unit.name, objects=objects)
    ordered = tuple(receipts[u.fingerprint] for u in units if u.fingerprint in receipts)
    return StageResult(ordered, tuple(failures), len(todo) - len(failures))


def _collect(pool: WorkerPool, todo: Sequence[Work], in_flight: int) -> Iterator[tuple[Work, Receipt | Failure]]:
    """Every unit with its receipt or its failure, as they end.

    When a worker dies, each unit that it held is blamed, also those that only waited there. Those are tried again, one
    for each worker, and who is blamed once more, alone: what then kills a third worker did it.
    """
    blamed = list(todo)
    limits = ((None, in_flight), (None, 1), (1, 1))
    for attempt, (at_once, on_each) in enumerate(limits, start=1):
        trying, blamed = blamed, []
        for work, outcome in _Attempt(pool, trying, at_once, on_each, attempt).finished():
            if outcome is None:
                blamed.append(work)
            else:
                yield work, outcome
    reason = "its worker died three times, at last with nothing else on it (out of memory, or a crash in native code)"
    for work in blamed:
        logger.info("failed: %s", reason, extra={"where": work.context})
        yield work, Failure(work.unit.stage, work.unit.name, reason)


@dataclass(frozen=True, eq=False)
class _Given:
    """A unit that is with the scheduler."""

    work: Work
    future: Future
    workers: frozenset[str]
    """Those that may do it."""


class _Attempt:
    """Units under way: at most ``at_once``, and ``on_each`` for each worker.

    Which unit's worker was lost, the pool says: the scheduler's own counting depends on its settings, and meanwhile it
    would begin such a unit again elsewhere. A unit that none of its workers is left for is handed out anew.
    """

    def __init__(self, pool: WorkerPool, todo: Sequence[Work], at_once: int | None, on_each: int, attempt: int) -> None:
        self._pool = pool
        self._waiting = deque(todo)
        self._at_once, self._on_each, self._attempt = at_once, on_each, attempt
        self._running: dict[str, _Given] = {}
        self._ended = as_completed(loop=pool.client.loop)
        self._given = 0
        self._alone: dict[str, float] = {}
        """Units without a worker, and since when."""

    def finished(self) -> Iterator[tuple[Work, Receipt | Failure | None]]:
        """Units as they end; None for one whose worker was lost."""
        while True:
            self._pool.update()
            for work in self._lost():
                yield work, None
            self._hand_out(self._pool.members)
            if not self._running and not self._waiting:
                return
            ended = self._ended.next_batch(block=False)
            for future in ended:
                given = self._running.pop(str(future.key), None)
                if given is not None:
                    yield given.work, _outcome(given.work, future)
                    future.release()
            if not ended:
                time.sleep(_LOOK_SECONDS)

    def _hand_out(self, members: Sequence[str]) -> None:
        if not members:
            return
        there = frozenset(members)
        self._waiting.extendleft(self._orphans(there))
        limit = self._at_once or self._on_each * len(members)
        while self._waiting and len(self._running) < limit:
            work = self._waiting.popleft()
            self._given += 1
            key = f"{work.unit.stage}-{work.unit.fingerprint}-{self._given}-{self._attempt}"
            future = self._pool.client.submit(
                run_unit, work.verb, work.context, **work.arguments, key=key, pure=False, workers=list(members)
            )
            self._running[key] = _Given(work, future, there)
            self._ended.add(future)

    def _orphans(self, there: frozenset[str]) -> list[Work]:
        """Units none of whose workers is left, once it is sure that none of these was lost while it held one.

        That a worker is gone may be known before what it held is told.
        """
        now = time.monotonic()
        alone = {key for key, given in self._running.items() if not given.workers & there}
        self._alone = {key: self._alone.get(key, now) for key in alone}
        return [self._withdraw(key) for key, since in self._alone.items() if now - since > _BLAME_SECONDS]

    def _lost(self) -> Iterator[Work]:
        """Units that a worker held when it was lost."""
        for key in self._pool.lost_units() & self._running.keys():
            yield self._withdraw(key)

    def _withdraw(self, key: str) -> Work:
        given = self._running.pop(key)
        given.future.cancel(force=True)
        return given.work


def _outcome(work: Work, future: Future) -> Receipt | Failure | None:
    """A unit's receipt or failure; None if Dask blames it for the death of its worker."""
    try:
        return future.result(timeout=_GATHER_SECONDS)
    except KilledWorker:
        return None
    except CancelledError as error:
        raise GalflowError(SCHEDULER_LOST.format(error)) from error
    except GalflowError as error:
        return Failure(work.unit.stage, work.unit.name, str(error))
    except Exception as error:
        if isinstance(error, TimeoutError) and future.status != "error":
            return None  # The worker died before it had handed the receipt over, and nobody has made it again.
        # Not one of galflow's own errors: a bug, whose trace is wanted.
        logger.exception("%s %s failed", work.unit.stage, work.unit.name, extra={"where": work.context})
        return Failure(work.unit.stage, work.unit.name, f"{type(error).__name__}: {error}")
