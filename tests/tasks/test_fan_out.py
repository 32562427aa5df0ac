"""Units of work on a real cluster of two workers: receipts in order, failures recorded, killers found out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from distributed import Client

from galflow.errors import DataError, GalflowError
from galflow.runs.plan import Unit
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import Receipt
from tasks import fan_out, worker_pool
from tasks.cluster import running_cluster
from tasks.fan_out import Failure, StageResult, Work, run_stage
from tasks.worker_check import Needs
from tasks.worker_pool import WorkerPool, open_workers

Verb = Callable[..., Receipt]


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSpec]:
    """Two workers, reached by address."""
    with running_cluster(_spec()) as reached:
        yield reached.cluster


def _spec() -> RunSpec:
    return parse_spec(
        {
            "name": "fan-out",
            "survey": {"kind": "synthetic"},
            "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
            "cluster": {"workers": 2, "in_flight_per_worker": 3},
        }
    )


# The verbs are made inside functions: so they travel to the workers by value, and no worker has to find this file.


def making(seconds: float = 0.0) -> Verb:
    """A verb that makes its unit in so many seconds, and notes that it was called."""

    def make(name: str, calls: str) -> Receipt:
        with open(f"{calls}/{name}", "a") as file:
            file.write("x")
        time.sleep(seconds)
        return Receipt(product=name, fingerprint=f"f-{name}", rows=len(name))

    return make


def dying(then: Verb | None = None, deaths: int = 99) -> Verb:
    """A verb that kills its worker so many times, and then does something else."""

    def die(name: str, calls: str) -> Receipt:
        with open(f"{calls}/{name}", "a") as file:
            file.write("x")
        if then is None or os.path.getsize(f"{calls}/{name}") <= deaths:
            # Not at once: Dask gives a worker up for good that dies before its nanny knows that it has started.
            time.sleep(0.5)
            os._exit(1)
        return then(name, calls)

    return die


def raising(error: Exception) -> Verb:
    """A verb that fails."""

    def fail(name: str, calls: str) -> Receipt:
        raise error

    return fail


def calls_of(folder: Path, name: str) -> int:
    return len((folder / name).read_text())


def run(folder: Path, cluster: ClusterSpec, verbs: dict[str, Verb], done: tuple[str, ...] = ()) -> StageResult:
    """A stage of units with these verbs, some of them done already."""
    units = [
        Unit("cut", name, f"f-{name}", name, Receipt(product=name, fingerprint=f"f-{name}") if name in done else None)
        for name in sorted([*verbs, *done])
    ]
    todo = [Work(u, verbs[u.name], {"name": u.name, "calls": str(folder)}) for u in units if u.name not in done]
    return run_stage("cut", units, todo, cluster)


def test_receipts_come_in_the_order_of_the_units(cluster: ClusterSpec, tmp_path: Path) -> None:
    names = [f"t{i:02d}" for i in range(20)]
    result = run(tmp_path, cluster, dict.fromkeys(names[::2], making()), tuple(names[1::2]))
    assert [r.product for r in result.receipts] == names
    assert (result.failures, result.made) == ((), 10)
    assert [calls_of(tmp_path, name) for name in names[::2]] == [1] * 10


def test_nothing_to_do_asks_no_cluster() -> None:
    nowhere = ClusterSpec(kind="address", address="tcp://127.0.0.1:9")
    unit = Unit("cut", "a", "f-a", "a", Receipt(product="a", fingerprint="f-a"))
    result = run_stage("cut", [unit], [], nowhere)
    assert ([r.product for r in result.receipts], result.made) == (["a"], 0)


def test_errors_are_recorded_and_the_others_go_on(
    cluster: ClusterSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    verbs = {"a": making(), "b": raising(DataError("tile b is empty; fetch it again")), "c": making()}
    verbs |= {"d": raising(ZeroDivisionError("by zero")), "e": making(), "f": raising(TimeoutError("too slow"))}
    with caplog.at_level(logging.ERROR, "tasks.fan_out"):
        result = run(tmp_path, cluster, verbs)
    assert [r.product for r in result.receipts] == ["a", "c", "e"]
    assert set(result.failures) == {
        Failure("cut", "b", "tile b is empty; fetch it again"),
        Failure("cut", "d", "ZeroDivisionError: by zero"),
        Failure("cut", "f", "TimeoutError: too slow"),
    }
    # A bug's trace is wanted; galflow's own errors say all there is to say.
    assert "Compute Failed" not in capfd.readouterr().err
    told = sorted((r.getMessage(), r.exc_info is not None) for r in caplog.records)
    assert told == [("cut d failed", True), ("cut f failed", True)]


def test_unit_that_kills_its_worker_is_recorded_and_blames_nobody_else(cluster: ClusterSpec, tmp_path: Path) -> None:
    """Innocent units wait on the killers' workers and die with them; they are made all the same."""
    names = [f"t{i}" for i in range(7)]
    verbs = dict.fromkeys(names, making(seconds=0.6)) | {"t1": dying(), "t2": dying(making(), deaths=1)}
    result = run(tmp_path, cluster, verbs)
    assert [r.product for r in result.receipts] == [n for n in names if n != "t1"]
    (failure,) = result.failures
    assert (failure.stage, failure.name) == ("cut", "t1")
    assert "its worker died three times, at last with nothing else on it" in failure.reason
    # Either may have died once with the other's worker.
    assert calls_of(tmp_path, "t1") in (2, 3)
    assert calls_of(tmp_path, "t2") in (2, 3)
    # The crew is complete again for the next stage, with torch's threads as declared.
    with open_workers(cluster) as pool:
        pool.wait(2, "both are wanted")
        assert set(pool.client.run(threads_of_torch()).values()) == {cluster.threads_per_worker}


def threads_of_torch() -> Callable[[], int]:
    def ask() -> int:
        import torch

        return torch.get_num_threads()

    return ask


def test_stage_keeps_a_bounded_number_in_flight(cluster: ClusterSpec, tmp_path: Path) -> None:
    """Told by the scheduler, as it takes the units in."""
    names = [f"t{i:02d}" for i in range(30)]

    def counting(name: str, calls: str) -> Receipt:
        from distributed import get_client

        known = get_client().run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        return Receipt(product=name, fingerprint=f"f-{name}", rows=known)

    result = run(tmp_path, replace_in_flight(cluster, 2), dict.fromkeys(names, counting))
    assert len(result.receipts) == 30
    # Two workers, two ahead for each, and one that has just ended.
    assert 1 <= max(r.rows for r in result.receipts) <= 2 * 2 + 1


def replace_in_flight(cluster: ClusterSpec, number: int) -> ClusterSpec:
    return cluster.model_copy(update={"in_flight_per_worker": number})


class Deserted:
    """A client of a cluster that has no worker."""

    status = "running"

    def scheduler_info(self, n_workers: int) -> dict[str, dict[str, object]]:
        return {"workers": {}}

    def subscribe_topic(self, topic: str, handler: Callable[..., None]) -> None:
        """Nobody tells anything."""


def deserted(minutes: float) -> WorkerPool:
    nowhere = ClusterSpec(kind="address", address="tcp://127.0.0.1:1", wait_minutes=minutes)
    return WorkerPool(cast(Client, Deserted()), nowhere, Needs(), cast(ThreadPoolExecutor, None))


def test_cluster_without_workers_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = deserted(minutes=10)
    began = time.monotonic()
    # The file's own clock: the cluster's threads go on by the real one.
    monkeypatch.setattr(worker_pool, "time", SimpleNamespace(monotonic=lambda: began + 599))
    pool.update()
    monkeypatch.setattr(worker_pool, "time", SimpleNamespace(monotonic=lambda: began + 601))
    with pytest.raises(GalflowError, match=r"tcp://127.0.0.1:1 has had no worker for this run for 10 minutes "):
        pool.update()


def test_waiting_for_workers_is_said_after_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(worker_pool, "_TELL_SECONDS", 0.05)
    with pytest.raises(GalflowError, match=r"has had no worker for this run for 0.01 minutes"):
        deserted(minutes=0.01).wait(3, "three are wanted")
    said = [r.getMessage() for r in caplog.records if r.name == "tasks.worker_pool"]
    assert said == [
        "three are wanted, and the cluster at tcp://127.0.0.1:1 has 0: waiting for up to 0.01 minutes "
        "(cluster.wait_minutes)"
    ]


def test_lost_scheduler_ends_the_stage() -> None:
    """A unit that was cancelled with its scheduler has neither succeeded nor failed."""

    class Cancelled:
        status = "cancelled"

        def result(self, timeout: float) -> Receipt:
            raise CancelledError("scheduler-connection-lost")

    unit = Unit("cut", "a", "f-a", "a", None)
    with pytest.raises(GalflowError, match=r"the Dask scheduler was lost .* the same command again"):
        fan_out._outcome(Work(unit, making(), {}), Cancelled())


def test_receipt_that_nobody_hands_over_counts_as_a_lost_worker() -> None:
    class Lost:
        status = "lost"

        def result(self, timeout: float) -> Receipt:
            raise TimeoutError

    assert fan_out._outcome(Work(Unit("cut", "a", "f-a", "a", None), making(), {}), Lost()) is None
