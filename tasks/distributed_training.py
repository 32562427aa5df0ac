"""Trains models on several workers together, one model at a time, and starts anew from the checkpoint when one is lost.

Each rank is pinned to a worker of its own; rank 0's worker chooses the port at which they meet, anew for each attempt.
A rank whose worker died or is silent ends the attempt within seconds, whatever the scheduler's settings: the others are
told to leave it, and meet anew with workers that are there. Attempts are counted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from distributed import Future, KilledWorker

from galflow.errors import GalflowError, RankError
from galflow.runs.plan import Unit
from galflow.spec.cluster import ClusterSpec
from galflow.storage.receipts import Receipt
from tasks.fan_out import Failure, StageResult, Work, run_stage
from tasks.rank_jobs import meeting_point, train_rank
from tasks.unit_log import run_beside, run_unit
from tasks.worker_check import Needs
from tasks.worker_pool import SCHEDULER_LOST, WorkerPool

ATTEMPTS = 3
_LOOK_SECONDS = 0.2
_LAST_WORDS_SECONDS = 30.0
"""So long the other ranks have to say why they failed, once one has."""
logger = logging.getLogger(__name__)


def train_together(
    stage: str, units: Sequence[Unit], todo: Sequence[Work], cluster: ClusterSpec, world: int, needs: Needs
) -> StageResult:
    """What ``run_stage`` does, for trainings of ``world`` ranks each, one after the other."""

    def collect(pool: WorkerPool, todo: Sequence[Work], in_flight: int) -> Iterator[tuple[Work, Receipt | Failure]]:
        for work in todo:
            yield work, _train(pool, work, world)

    return run_stage(stage, units, todo, cluster, collect, needs)


def _train(pool: WorkerPool, work: Work, world: int) -> Receipt | Failure:
    stage, name = work.unit.stage, work.unit.name
    lost = ""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _attempt(pool, work, world, attempt)
        except RankError as error:
            lost = str(error)
            logger.warning("attempt %d of %d: %s", attempt, ATTEMPTS, lost, extra={"where": work.context})
        except GalflowError as error:
            return Failure(stage, name, str(error))
        except CancelledError as error:
            raise GalflowError(SCHEDULER_LOST.format(error)) from error
        except Exception as error:
            # Not one of galflow's own errors: a bug, whose trace is wanted.
            logger.exception("%s %s failed", stage, name, extra={"where": work.context})
            return Failure(stage, name, f"{type(error).__name__}: {error}")
    return Failure(
        stage, name, f"one of its {world} workers was lost in each of {ATTEMPTS} attempts, at last: {lost}; see the "
        "workers' logs on these hosts. The same command again goes on from the checkpoint"
    )  # fmt: skip


def _attempt(pool: WorkerPool, work: Work, world: int, number: int) -> Receipt:
    workers = pool.wait(world, f"training.workers is {world}")
    watch = _Watch(pool, workers)
    key = f"{work.unit.stage}-{work.unit.fingerprint}-{number}"
    place = pool.client.submit(meeting_point, workers=workers[:1], pure=False, retries=0, key=f"{key}-meeting")
    (address,) = _results([place], watch)
    return _results(
        [
            pool.client.submit(
                run_beside if rank else run_unit, train_rank, work.context, rank, world, address, work.arguments,
                workers=[worker], allow_other_workers=False, pure=False, retries=0, key=f"{key}-{rank}",
            )
            for rank, worker in enumerate(workers)
        ],
        watch,
    )[0]  # fmt: skip


class _Watch:
    """Over the workers of one attempt."""

    def __init__(self, pool: WorkerPool, workers: Sequence[str]) -> None:
        self._pool, self._workers = pool, workers

    def look(self) -> None:
        """RankError if one of them is lost, or silent for too long."""
        self._pool.update()
        there = set(self._pool.members)
        for rank, worker in enumerate(self._workers):
            if worker not in there:
                raise RankError(f"rank {rank} was lost with its worker on host {self._pool.host_of(worker)}")


def _results(futures: list[Future], watch: _Watch) -> list[Any]:
    """What they return; or, once one has failed, the error that explains it best. RankError if a worker is lost."""
    try:
        while not all(future.done() for future in futures) and not any(f.status == "error" for f in futures):
            watch.look()
            time.sleep(_LOOK_SECONDS)
        if all(future.status == "finished" for future in futures):
            return [future.result(timeout=_LAST_WORDS_SECONDS) for future in futures]
        patience = time.monotonic() + _LAST_WORDS_SECONDS
        while not all(future.done() for future in futures) and time.monotonic() < patience:
            watch.look()
            time.sleep(_LOOK_SECONDS)
        raise _cause(futures)
    except TimeoutError as error:
        raise RankError("the worker that had the receipt was lost before it handed it over") from error
    finally:
        for future in futures:
            future.cancel(force=True)


def _cause(futures: list[Future]) -> BaseException:
    """A death before galflow's own errors, and those before what the others said when they lost a partner."""
    errors = [error for f in futures if f.status == "error" and (error := f.exception()) is not None]
    if any(isinstance(error, KilledWorker) for error in errors):
        return RankError("a worker died")
    for error in errors:
        if isinstance(error, GalflowError) and not isinstance(error, RankError):
            return error
    return errors[0] if errors else CancelledError("its tasks were cancelled")
