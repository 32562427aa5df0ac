"""The workers that a run may use: asked before they get work, watched while they have it.

The scheduler tells who joins and who is lost, and with which units; a run needs no setting of the scheduler's for it,
and leaves nothing there. A worker that lacks something (tasks.worker_check) is named once and gets no work of this run;
it is not stopped, for it may be somebody else's. Every wait says what it waits for, and has an end.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from distributed import Client
from distributed.comm import get_address_host

from galflow.errors import GalflowError, StoreError
from galflow.spec.cluster import ClusterSpec
from tasks.cluster import open_client
from tasks.worker_check import Needs, Verdict, ask_workers

logger = logging.getLogger(__name__)
SCHEDULER_LOST = "the Dask scheduler was lost ({}); start it, then give the same command again: it does the rest"
_LOOK_SECONDS = 0.05
_RECOUNT_SECONDS = 2.0
_RECOUNT_SECONDS_EACH = 0.02
SILENT_SECONDS = 20.0
"""A worker of which the scheduler has heard nothing for so long is not waited for; else it does each half second."""
_TELL_SECONDS = 5.0
"""After so long a wait is said."""
_TELL_AGAIN_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 10.0
"""After so long a worker whose store or files did not answer is asked once more: that may pass."""
_MAY_PASS_SECONDS = 300.0
"""So long no worker may have work for that."""
_ALL_REFUSED_SECONDS = 5.0
"""So long another worker may still join when all that are there were refused."""
_SHOWN = 5
_NOBODY = "a worker is wanted"


@contextmanager
def open_workers(cluster: ClusterSpec, needs: Needs | None = None) -> Iterator[WorkerPool]:
    """The workers of the cluster at ``cluster.address``, closed at the end; the first of them have been asked."""
    with open_client(cluster) as client, ThreadPoolExecutor(1, "galflow-ask") as asking:
        try:
            yield WorkerPool(client, cluster, needs or Needs(), asking)
        finally:
            # A scheduler that must tell it of its own leaving prints a trace.
            client.unsubscribe_topic("all")


class WorkerPool:
    """What is known of a cluster's workers. ``update`` and what waits are called by one thread."""

    def __init__(self, client: Client, cluster: ClusterSpec, needs: Needs, asking: ThreadPoolExecutor) -> None:
        self.client = client
        self._cluster, self._needs, self._asking = cluster, needs, asking
        self._events: deque[dict[str, Any]] = deque()
        self._there: set[str] = set()
        self._hosts: dict[str, str] = {}
        """Of workers that may have work."""
        self._names: dict[str, str] = {}
        """The hosts of all that were ever asked."""
        self._ask_at = 0.0
        self._refused: dict[str, str] = {}
        self._ask_again: dict[str, float] = {}
        """Of those refused for what may pass: when to ask once more."""
        self._asked: tuple[list[str], Future[dict[str, Verdict]]] | None = None
        self._lost_units: set[str] = set()
        self._silent: set[str] = set()
        self._heard: dict[str, tuple[float, float]] = {}
        """Worker -> what the scheduler said of when it last heard of it, and since when it has said that."""
        self._was_lost = False
        self._recounted = -_RECOUNT_SECONDS
        self._useful = time.monotonic()
        self._wanted, self._why, self._tell_at = 1, _NOBODY, self._useful + _TELL_SECONDS
        client.subscribe_topic("all", lambda event: self._events.append(event[1]))
        self.update()
        if self._asked is not None:
            first = self._asked[1]
            while not first.done():
                self._tell_of_waiting([])
                time.sleep(_LOOK_SECONDS)
            self._taken(first)
        self.update()
        self._judge_all()

    @property
    def members(self) -> list[str]:
        """Addresses of the workers that may have work, sorted."""
        return sorted(self._there & self._hosts.keys() - self._silent)

    def host_of(self, worker: str, host: str = "") -> str:
        """The name of a worker's host, also of one that is gone."""
        return f"{host or self._names.get(worker) or get_address_host(worker)} ({worker})"

    def lost_units(self) -> set[str]:
        """Keys that a worker held when it was lost, each told once."""
        found, self._lost_units = self._lost_units, set()
        return found

    def update(self) -> None:
        """Take note of what has happened; GalflowError if there has been no worker for too long."""
        if self.client.status in ("closing", "closed"):
            raise GalflowError(SCHEDULER_LOST.format("its connection ended"))
        now = time.monotonic()
        if now - self._recounted >= max(_RECOUNT_SECONDS, len(self._there) * _RECOUNT_SECONDS_EACH):
            self._recounted = now
            self._recount()
        while self._events:
            self._note(self._events.popleft())
        self._ask()
        members = self.members
        self._tell_of_waiting(members)
        if members:
            self._useful = now
        elif now - self._useful > self._cluster.patience_minutes * 60:
            raise GalflowError(
                f"the Dask cluster at {self._cluster.address} has had no worker for this run for "
                f"{self._cluster.patience_minutes:g} minutes (cluster.wait_minutes){self._reasons()}; look at its "
                "workers' logs, then give the same command again: it does what is missing"
            )

    def wait(self, number: int, why: str) -> list[str]:
        """Addresses of ``number`` workers; GalflowError if there are not so many in time. ``why`` begins a sentence."""
        began = time.monotonic()
        self._wanted, self._why = number, why
        try:
            while True:
                self.update()
                members = self.members
                if len(members) >= number:
                    return members[:number]
                if time.monotonic() - began > self._cluster.patience_minutes * 60:
                    raise GalflowError(
                        f"{why}, but the cluster has {self._said(members)}{self._reasons()}; raise cluster.workers, or "
                        "lower training.workers"
                    )
                time.sleep(_LOOK_SECONDS)
        finally:
            self._wanted, self._why = 1, _NOBODY

    def _tell_of_waiting(self, members: Sequence[str]) -> None:
        """Say it after seconds, and then about once a minute."""
        now = time.monotonic()
        if len(members) >= self._wanted:
            self._tell_at = now + _TELL_SECONDS
        elif now >= self._tell_at:
            self._tell_at = now + _TELL_AGAIN_SECONDS
            logger.warning(
                "%s, and the cluster at %s has %s%s: waiting for up to %g minutes (cluster.wait_minutes)",
                self._why, self._cluster.address, self._said(members), self._reasons(), self._cluster.patience_minutes,
            )  # fmt: skip

    def _said(self, members: Sequence[str]) -> str:
        shown = ", ".join(self.host_of(worker) for worker in members[:_SHOWN])
        more = f" and {len(members) - _SHOWN} more" if len(members) > _SHOWN else ""
        return f"{len(members)}: {shown}{more}" if members else "0"

    def _reasons(self) -> str:
        """Why workers that are there were refused."""
        lines = [self._refused[worker] for worker in sorted(self._there & self._refused.keys())]
        shown = "; ".join(lines[:_SHOWN]) + (f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else "")
        return f"; {len(lines)} more may not have its work: {shown}" if lines else ""

    def _recount(self) -> None:
        """The scheduler's own list: what was said before this client listened is in no event.

        With when it last heard of each, by its own clock: a worker whose time stands still is silent.
        """
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        self._there = set(workers)
        now = time.monotonic()
        heard = {worker: (float(known["last_seen"]), now) for worker, known in workers.items()}
        self._heard = {w: old if (old := self._heard.get(w, new))[0] == new[0] else new for w, new in heard.items()}
        silent = {worker for worker, (_, since) in self._heard.items() if now - since > SILENT_SECONDS}
        for worker in (silent - self._silent) & self._hosts.keys():
            self._was_lost = True
            logger.warning("worker on host %s is silent for %g s: not waited for", self.host_of(worker), SILENT_SECONDS)
        for worker in self._silent & self._there & self._hosts.keys() - silent:
            logger.warning("worker on host %s is heard again", self.host_of(worker))
        self._silent = silent

    def _note(self, event: dict[str, Any]) -> None:
        worker = str(event.get("worker"))
        if event.get("action") == "add-worker":
            self._there.add(worker)
        elif event.get("action") == "remove-worker":
            self._there.discard(worker)
            # Another may come at the same address, and is asked then.
            known = self._hosts.pop(worker, None) is not None
            self._refused.pop(worker, None)
            self._ask_again.pop(worker, None)
            if not event.get("expected"):
                self._lost_units.update(map(str, event.get("processing-tasks", ())))
                if known:
                    self._was_lost = True
                    logger.warning("worker on host %s was lost; %d left", self.host_of(worker), len(self.members))
            elif known:
                logger.info("worker on host %s left", self.host_of(worker))

    def _ask(self) -> None:
        """Ask, beside everything else, those that were not asked yet, and take the answers."""
        if self._asked is not None and self._asked[1].done():
            (_, answers), self._asked = self._asked, None
            try:
                for worker, verdict in self._taken(answers).items():
                    if worker in self._there:
                        self._judge(worker, verdict)
            except StoreError as error:  # of the run itself, not of the workers
                logger.warning("workers that joined could not be asked, and will be again: %s", error)
                self._ask_at = time.monotonic() + _TELL_SECONDS
        now = time.monotonic()
        final = {worker for worker in self._refused if now < self._ask_again.get(worker, math.inf)}
        new = sorted(self._there - self._hosts.keys() - final)
        if new and self._asked is None and now >= self._ask_at:
            self._asked = new, self._asking.submit(ask_workers, self.client, new, self._needs, self._cluster)

    @staticmethod
    def _taken(answers: Future[dict[str, Verdict]]) -> dict[str, Verdict]:
        """GalflowError if the scheduler did not hand the question on: a worker's own fault is among the answers."""
        try:
            return answers.result()
        except OSError as error:
            raise GalflowError(SCHEDULER_LOST.format(error)) from error

    def _judge(self, worker: str, verdict: Verdict) -> None:
        host, lacks, may_pass = verdict
        self._names[worker] = host
        again = self._ask_again.pop(worker, None) is not None
        if may_pass:
            self._ask_again[worker] = time.monotonic() + _ASK_AGAIN_SECONDS
        if lacks is None:
            self._hosts[worker] = host
            self._refused.pop(worker, None)
            level = logging.WARNING if self._was_lost or again else logging.INFO
            logger.log(level, "worker on host %s joined", self.host_of(worker))
            return
        self._refused[worker] = f"{host} ({worker}) {lacks}"
        if not (again and may_pass):
            yet = f" yet, and is asked again every {_ASK_AGAIN_SECONDS:g} s" if may_pass else ""
            logger.warning("worker on host %s gets no work of this run%s: %s", self.host_of(worker, host), yet, lacks)

    def _judge_all(self) -> None:
        """GalflowError where all workers were refused and no other comes; what may pass is given time."""
        began = time.monotonic()
        while not self.members and self._there & self._refused.keys():
            passing = bool(self._there & self._ask_again.keys())
            patience = min(_MAY_PASS_SECONDS, self._cluster.patience_minutes * 60) if passing else _ALL_REFUSED_SECONDS
            if time.monotonic() - began > patience and self._asked is None:
                raise GalflowError(
                    f"no worker of the Dask cluster at {self._cluster.address} can do the work of this run"
                    f"{self._reasons()}. Nothing was handed to them; mend it there and give the same command again"
                )
            time.sleep(_LOOK_SECONDS)
            self.update()
