"""The cluster that a specification names: how many workers, with how many threads, and gone at the end."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any

import psutil
import pytest

from galflow.errors import SpecError
from galflow.spec import RunSpec, parse_spec
from tasks import cluster
from tasks.cluster import open_client, running_cluster


def spec(**settings: Any) -> RunSpec:
    return parse_spec(
        {
            "name": "cluster",
            "survey": {"kind": "synthetic"},
            "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
            "cluster": settings,
        }
    )


def workers_of_this_process() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(_command(p))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def test_local_cluster_is_as_declared_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)

    def ask() -> tuple[int, int, str]:
        import torch

        return torch.get_num_threads(), os.getpid(), os.environ["MALLOC_TRIM_THRESHOLD_"]

    before = {p.pid for p in workers_of_this_process()}
    with running_cluster(spec(workers=1, threads_per_worker=3)) as reached:
        assert reached.cluster.kind == "address"
        assert str(reached.cluster.address).startswith("tcp://127.0.0.1:")
        assert reached.content() == spec().content()
        with open_client(reached.cluster) as client:
            ((threads, pid, threshold),) = client.run(ask).values()
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


def test_running_scheduler_is_used_as_it_is() -> None:
    given = spec(kind="address", address="tcp://127.0.0.1:9")
    with running_cluster(given) as reached:
        assert reached is given


def test_cuda_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    with (
        pytest.raises(SpecError, match=r"install galflow\[cuda\], or use kind: local"),
        running_cluster(spec(kind="cuda")),
    ):
        pass


def test_worker_that_is_slow_to_end_spoils_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Busy:
        scheduler_address = "tcp://127.0.0.1:1"

        def close(self) -> None:
            raise TimeoutError

    monkeypatch.setattr(cluster, "_start", lambda spec: Busy())
    with caplog.at_level(logging.WARNING, "tasks.cluster"), running_cluster(spec()) as reached:
        assert reached.cluster.address == Busy.scheduler_address
    assert [r.getMessage() for r in caplog.records] == ["a worker did not end when it was asked to, and was killed"]
