"""Trains models on several workers together, one model at a time, and starts anew from the checkpoint when one dies.

Each rank is pinned to a worker of its own; rank 0's worker chooses the port at which they meet, anew for each attempt.
The first rank to fail ends the attempt: the others notice within seconds and are not waited for without end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence

from distributed import Client, Future, KilledWorker

from galflow.cluster_spec import ClusterSpec
from galflow.errors import GalflowError
from galflow.plan import Unit
from galflow.receipts import Receipt
from tasks.fan_out import Failure, StageResult, Work, run_stage
from tasks.rank_jobs import meeting_point, train_rank
from tasks.unit_log import run_beside, run_unit

ATTEMPTS = 3
_LOOK_SECONDS = 0.2
_LAST_WORDS_SECONDS = 30.0
"""So long the other ranks have to notice that one has died."""
logger = logging.getLogger(__name__)


def train_together(
    stage: str, units: Sequence[Unit], todo: Sequence[Work], cluster: ClusterSpec, world: int
) -> StageResult:
    """What ``run_stage`` does, for trainings of ``world`` ranks each, one after the other."""

    def collect(client: Client, todo: Sequence[Work], cluster: ClusterSpec) -> Iterator[tuple[Work, Receipt | Failure]]:
        for work in todo:
            yield work, _train(client, work, cluster, world)

    return run_stage(stage, units, todo, cluster, collect)


def _train(client: Client, work: Work, cluster: ClusterSpec, world: int) -> Receipt | Failure:
    stage, name = work.unit.stage, work.unit.name
    for attempt in range(1, ATTEMPTS + 1):
        try:
            workers = _workers(client, world, cluster.wait_minutes * 60)
            address = client.submit(meeting_point, workers=workers[:1], pure=False).result()
            futures = [
                client.submit(
                    run_beside if rank else run_unit, train_rank, work.where, rank, world, address, work.arguments,
                    workers=[worker], allow_other_workers=False, pure=False, retries=0,
                    key=f"{stage}-{work.unit.fingerprint}-{attempt}-{rank}",
                )
                for rank, worker in enumerate(workers)
            ]  # fmt: skip
            receipt = _result(futures)
        except KilledWorker:
            logger.warning("a worker died in attempt %d of %d", attempt, ATTEMPTS, extra={"where": work.where})
            continue
        except GalflowError as error:
            return Failure(stage, name, str(error))
        except Exception as error:
            # Not one of galflow's own errors: a bug, whose trace is wanted.
            logger.exception("%s %s failed", stage, name, extra={"where": work.where})
            return Failure(stage, name, f"{type(error).__name__}: {error}")
        return receipt
    return Failure(stage, name, f"one of its {world} workers died in each of {ATTEMPTS} attempts; see their logs")


def _result(futures: list[Future]) -> Receipt:
    """Rank 0's receipt; or, once one rank has failed, the error that explains it best."""
    try:
        while not all(future.done() for future in futures) and not any(f.status == "error" for f in futures):
            time.sleep(_LOOK_SECONDS)
        if all(future.status == "finished" for future in futures):
            return futures[0].result()
        patience = time.monotonic() + _LAST_WORDS_SECONDS
        while not all(future.done() for future in futures) and time.monotonic() < patience:
            time.sleep(_LOOK_SECONDS)
        raise _cause(futures)
    finally:
        for future in futures:
            future.cancel(force=True)


def _cause(futures: list[Future]) -> BaseException:
    """A death before galflow's own errors before what the others said when they lost a partner."""
    errors = [error for f in futures if f.status == "error" and (error := f.exception()) is not None]
    for kind in (KilledWorker, GalflowError):
        for error in errors:
            if isinstance(error, kind):
                return error
    return errors[0]


def _workers(client: Client, world: int, patience_seconds: float) -> list[str]:
    """Addresses of ``world`` workers; GalflowError if there are never so many."""
    patience = time.monotonic() + patience_seconds
    while True:
        found = sorted(client.scheduler_info(n_workers=-1)["workers"])
        if len(found) >= world:
            return found[:world]
        if time.monotonic() > patience:
            raise GalflowError(
                f"training.workers is {world}, but the cluster has {len(found)}; raise cluster.workers, or lower "
                "training.workers"
            )
        time.sleep(_LOOK_SECONDS)
