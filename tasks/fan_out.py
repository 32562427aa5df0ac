"""Hands units of work to a Dask cluster, a bounded number at a time, and collects their receipts.

Keys and URIs travel, never arrays. A unit that fails, or that kills its workers, is recorded as a failure; the others
go on. Workers may come and go meanwhile. This file waits for nobody for ever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed

from galflow.cluster_spec import ClusterSpec
from galflow.errors import GalflowError
from galflow.logs import Where, where
from galflow.plan import Unit
from galflow.receipts import DOUBTS_DETAIL, Receipt
from galflow.surveys.places import Place
from tasks.cluster import PROGRESS_TOPIC, open_client
from tasks.progress import StageProgress
from tasks.run_page import tell_dashboard
from tasks.unit_log import hear_warnings, run_unit

_LOOK_SECONDS = 0.02
_COUNT_SECONDS = 1.0
_GATHER_SECONDS = 60.0
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
    def where(self) -> Where:
        """What the log of this unit says beside its words."""
        here = where()
        return replace(here, stage=here.stage or self.unit.stage, unit=self.unit.name)


Collect = Callable[[Client, Sequence[Work], ClusterSpec], Iterator[tuple[Work, Receipt | Failure]]]
"""Does what is to do, and gives each piece of work with its receipt or its failure as it ends."""


def run_stage(
    stage: str, units: Sequence[Unit], todo: Sequence[Work], cluster: ClusterSpec, collect: Collect | None = None
) -> StageResult:
    """Do what is to do of a stage, on a cluster that is opened only if there is anything, and closed afterwards.

    ``collect`` does it; by default each unit is one worker's.
    """
    receipts = {u.fingerprint: u.receipt for u in units if u.receipt is not None}
    failures: list[Failure] = []
    if todo:
        with StageProgress(stage, len(units), len(receipts)) as progress, open_client(cluster) as client:
            client.subscribe_topic(PROGRESS_TOPIC, lambda event: progress.note(str(event[1])))
            hear_warnings(client)
            tell_dashboard(client.dashboard_link)
            for work, outcome in (collect or _collect)(client, todo, cluster):
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                else:
                    receipts[work.unit.fingerprint] = outcome
                progress.advance(failed=isinstance(outcome, Failure))
    ordered = tuple(receipts[u.fingerprint] for u in units if u.fingerprint in receipts)
    return StageResult(ordered, tuple(failures), len(todo) - len(failures))


def _collect(client: Client, todo: Sequence[Work], cluster: ClusterSpec) -> Iterator[tuple[Work, Receipt | Failure]]:
    """Every unit with its receipt or its failure, as they end.

    When a worker dies, each unit that it held is blamed, also those that only waited there. Those are tried again, one
    for each worker, and who is blamed once more, alone: what then kills a third worker did it.
    """
    crew = _Crew(client, cluster)
    blamed = list(todo)
    limits = ((None, cluster.in_flight_per_worker), (None, 1), (1, 1))
    for attempt, (at_once, on_each) in enumerate(limits, start=1):
        trying, blamed = blamed, []
        for work, outcome in _finished(client, trying, crew, at_once, on_each, attempt):
            if outcome is None:
                blamed.append(work)
            else:
                yield work, outcome
    reason = "its worker died three times, at last with nothing else on it (out of memory, or a crash in native code)"
    for work in blamed:
        logger.info("failed: %s", reason, extra={"where": work.where})
        yield work, Failure(work.unit.stage, work.unit.name, reason)


def _finished(
    client: Client, todo: Sequence[Work], crew: _Crew, at_once: int | None, on_each: int, attempt: int
) -> Iterator[tuple[Work, Receipt | Failure | None]]:
    """Units as they end, None for one whose worker died; at most ``at_once``, and ``on_each`` for each worker."""
    waiting = iter(todo)
    running: dict[str, Work] = {}
    finished = as_completed(loop=client.loop)
    while True:
        limit = at_once or on_each * max(1, crew.workers())
        for work in islice(waiting, max(0, limit - len(running))):
            key = f"{work.unit.stage}-{work.unit.fingerprint}-{attempt}"
            running[key] = work
            finished.add(client.submit(run_unit, work.verb, work.where, **work.arguments, key=key, pure=False))
        if not running:
            return
        ended = finished.next_batch(block=False)
        for future in ended:
            work = running.pop(str(future.key))
            yield work, _outcome(work, future)
            future.release()
        if not ended:
            crew.workers()
            time.sleep(_LOOK_SECONDS)


class _Crew:
    """How many workers the cluster has at present."""

    def __init__(self, client: Client, cluster: ClusterSpec) -> None:
        self._client = client
        self._address = cluster.address
        self._patience_seconds = cluster.wait_minutes * 60
        self._workers = 0
        self._counted = -_COUNT_SECONDS
        self._last_seen = time.monotonic()

    def workers(self) -> int:
        """Counted about once a second; GalflowError when there has been none for too long."""
        now = time.monotonic()
        if now - self._counted >= _COUNT_SECONDS:
            self._counted = now
            self._workers = int(self._client.scheduler_info(n_workers=1)["n_workers"])
            if self._workers:
                self._last_seen = now
            elif now - self._last_seen > self._patience_seconds:
                raise GalflowError(
                    f"the Dask cluster at {self._address} has had no worker for "
                    f"{self._patience_seconds / 60:.0f} minutes; look at its workers' logs, then give the same command "
                    "again: it does what is missing"
                )
        return self._workers


def _outcome(work: Work, future: Future) -> Receipt | Failure | None:
    """A unit's receipt or failure; None if Dask blames it for the death of its worker."""
    try:
        return future.result(timeout=_GATHER_SECONDS)
    except KilledWorker:
        return None
    except CancelledError as error:
        raise GalflowError(
            f"the Dask scheduler was lost ({error}); start it, then give the same command again: it does the rest"
        ) from error
    except GalflowError as error:
        return Failure(work.unit.stage, work.unit.name, str(error))
    except Exception as error:
        if isinstance(error, TimeoutError) and future.status != "error":
            return None  # The worker died before it had handed the receipt over, and nobody has made it again.
        # Not one of galflow's own errors: a bug, whose trace is wanted.
        logger.exception("%s %s failed", work.unit.stage, work.unit.name, extra={"where": work.where})
        return Failure(work.unit.stage, work.unit.name, f"{type(error).__name__}: {error}")
