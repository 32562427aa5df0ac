"""The cluster that a specification names: how many workers, with how many threads, and gone at the end."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from distributed import LocalCluster, get_worker

from galflow.errors import SpecError
from galflow.runs.plan import Unit
from galflow.spec.cluster import TlsFiles
from galflow.spec.run import RunSpec
from galflow.storage.receipts import Receipt
from tasks import cluster
from tasks.cluster import open_client, running_cluster
from tasks.fan_out import Work, run_stage
from tasks.worker_pool import open_workers

Specify = Callable[..., RunSpec]


def workers_of_this_process() -> list[psutil.Process]:
    """Forks of the one child that does nothing but fork."""
    forks = [p for p in psutil.Process().children(recursive=True) if "multiprocessing.forkserver" in _command(p)]
    return [p for p in forks if p.ppid() in {parent.pid for parent in forks}]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def test_local_cluster_is_as_declared_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, specify: Specify
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    others = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")}

    def ask() -> tuple[int, int, str]:
        import torch

        return torch.get_num_threads(), os.getpid(), os.environ["MALLOC_TRIM_THRESHOLD_"]

    before = {p.pid for p in workers_of_this_process()}
    with running_cluster(specify(workers=1, threads_per_worker=3)) as reached:
        assert reached.cluster.kind == "address"
        assert str(reached.cluster.address).startswith("tls://127.0.0.1:")
        assert reached.content() == specify().content()
        with open_workers(reached.cluster) as pool:
            ((threads, pid, threshold),) = pool.client.run(ask).values()
        assert threads == 3
        assert int(threshold) == 1 << 30
        assert pid in {p.pid for p in workers_of_this_process()} - before
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {p.pid for p in workers_of_this_process()} <= before
    # Dask sets these for its workers; a client that goes on computing must not inherit it.
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    assert {name: os.environ.get(name) for name in others} == others


def test_running_scheduler_is_used_as_it_is(specify: Specify) -> None:
    given = specify(kind="address", address="tcp://127.0.0.1:9")
    with running_cluster(given) as reached:
        assert reached is given


def test_cuda_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, specify: Specify) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with (
        pytest.raises(SpecError, match=r"install galflow\[cuda12\] or galflow\[cuda13\], .* or use kind: local"),
        running_cluster(specify(kind="cuda")),
    ):
        pass


def test_worker_that_is_slow_to_end_spoils_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, specify: Specify
) -> None:
    class Busy:
        scheduler_address = "tls://127.0.0.1:1"

        def close(self) -> None:
            raise TimeoutError

    monkeypatch.setattr(cluster, "_start", lambda spec, tls: Busy())
    with caplog.at_level(logging.WARNING, "tasks.cluster"), running_cluster(specify(kind="cuda")) as reached:
        assert reached.cluster.address == Busy.scheduler_address
    assert [r.getMessage() for r in caplog.records] == ["a worker did not end when it was asked to, and was killed"]


class MockCUDACluster:
    """In place of dask_cuda.LocalCUDACluster, which needs a GPU: keeps what it was asked for, starts nothing."""

    scheduler_address = "tcp://127.0.0.1:1"
    asked: dict[str, Any]

    def __init__(self, **keywords: Any) -> None:
        type(self).asked = keywords

    def close(self) -> None:
        """Nothing was started."""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"n_workers": None, "memory_limit": "auto", "protocol": "tls", "host": "127.0.0.1"}),
        ({"workers": 2, "memory_limit": "64GiB", "cuda": {"device_memory_limit": "60GiB", "protocol": "ucx"}},
         {"n_workers": 2, "memory_limit": "64GiB", "protocol": "ucx", "device_memory_limit": "60GiB"}),
    ],
)  # fmt: skip
def test_cuda_cluster_is_asked_for_as_specified(
    settings: dict[str, Any], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch, specify: Specify
) -> None:
    """With a mock; whether dask-cuda does it is seen on a machine with a GPU alone."""
    mock = ModuleType("dask_cuda")
    mock.__dict__["LocalCUDACluster"] = MockCUDACluster
    monkeypatch.setitem(sys.modules, "dask_cuda", mock)
    encrypted = expected["protocol"] == "tls"
    monkeypatch.setattr(MockCUDACluster, "scheduler_address", f"{'tls' if encrypted else 'tcp'}://127.0.0.1:1")
    with running_cluster(specify(kind="cuda", **settings)) as reached:
        assert reached.cluster.address == MockCUDACluster.scheduler_address
        assert (reached.cluster.tls is not None) == encrypted
    asked = MockCUDACluster.asked
    security = asked.pop("security", None)
    assert (security is not None and security.require_encryption) == encrypted, "UCX has no encryption; TCP does"
    assert asked == expected | {"threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}


def sleeping(number: int, seconds: float) -> list[Work]:
    """So many units that say which process made them."""

    def make(name: str) -> Receipt:
        time.sleep(seconds)
        return Receipt(product=name, fingerprint=name, rows=os.getpid())

    names = [f"t{i:02d}" for i in range(number)]
    return [Work(Unit("cut", name, name, name, None), make, {"name": name}) for name in names]


@pytest.mark.full
def test_adaptive_cluster_grows_with_the_work_and_shrinks_after_it(
    specify: Specify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cluster._SETTINGS, "distributed.adaptive.wait-count", 2)
    with running_cluster(specify(adaptive={"minimum": 1, "maximum": 2}, in_flight_per_worker=2)) as reached:
        with open_client(reached.cluster) as client:
            assert client.scheduler_info()["n_workers"] == 1
        # Dask does not know yet how long such a unit takes, and asks for a second worker.
        work = sleeping(7, 4.0)
        result = run_stage("cut", [w.unit for w in work], work, reached.cluster)
        assert [r.product for r in result.receipts] == [w.unit.name for w in work]
        assert result.failures == ()
        assert len({r.rows for r in result.receipts}) == 2
        with open_client(reached.cluster) as client:
            deadline = time.monotonic() + 60
            while client.scheduler_info()["n_workers"] != 1:
                assert time.monotonic() < deadline
                time.sleep(0.2)


def test_unit_of_a_worker_that_leaves_in_good_time_is_blamed_for_nothing(specify: Specify, tmp_path: Path) -> None:
    """So a batch job does shortly before its walltime is over (--lifetime), and a cluster that shrinks."""

    def make(name: str, calls: str) -> Receipt:
        worker = get_worker()
        with open(f"{calls}/{name}", "a") as file:
            file.write("x")
        if os.path.getsize(f"{calls}/{name}") == 1:
            worker.loop.add_callback(worker.close_gracefully)
            time.sleep(2)
        return Receipt(product=name, fingerprint=name, rows=int(worker.get_current_task().rpartition("-")[2]))

    todo = [Work(Unit("cut", "a", "a", "a", None), make, {"name": "a", "calls": str(tmp_path)})]
    with running_cluster(specify(workers=2)) as reached:
        result = run_stage("cut", [w.unit for w in todo], todo, reached.cluster)
    assert result.failures == ()
    assert [r.rows for r in result.receipts] == [1]  # in the first attempt, begun twice
    assert (tmp_path / "a").read_text() == "xx"


def test_stage_runs_over_tls_with_certificates_that_the_scheduler_knows(
    specify: Specify, make_tls: Callable[[str], TlsFiles]
) -> None:
    own, foreign = make_tls("survey"), make_tls("stranger")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, protocol="tls", security=cluster.security_of(own), host="127.0.0.1",
        dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
    ) as running:  # fmt: skip
        address = running.scheduler_address
        assert address.startswith("tls://127.0.0.1:")
        with running_cluster(specify(kind="address", address=address, tls=own.model_dump())) as reached:
            work = sleeping(3, 0.0)
            result = run_stage("cut", [w.unit for w in work], work, reached.cluster)
        assert ([r.product for r in result.receipts], result.made) == (["t00", "t01", "t02"], 3)
        stranger = specify(kind="address", address=address, tls=foreign.model_dump()).cluster
        with dask_config(connect="3s"), pytest.raises(OSError, match=r"(?i)certificate|ssl|tls"), open_client(stranger):
            pass


def dask_config(connect: str) -> Any:
    return cluster.dask.config.set({"distributed.comm.timeouts.connect": connect})


def test_certificate_that_is_not_there_is_named(specify: Specify, make_tls: Callable[[str], TlsFiles]) -> None:
    tls = make_tls("gone").model_dump() | {"key_file": "/nowhere/me.key"}
    given = specify(kind="address", address="tls://127.0.0.1:9", tls=tls)
    with (
        pytest.raises(SpecError, match=r"cluster\.tls\.key_file: cannot read /nowhere/me\.key \(No such file"),
        open_client(given.cluster),
    ):
        pass
