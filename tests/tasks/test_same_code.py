"""A worker with other code is named and gets no work: real workers, with a copy of the packages on their path."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from distributed import LocalCluster

import galflow
from galflow.errors import GalflowError
from galflow.runs.plan import Unit
from galflow.spec.cluster import ClusterSpec
from galflow.storage.receipts import Receipt
from tasks.fan_out import Work, run_stage
from tasks.same_code import difference, digest_of, running_code
from tasks.worker_pool import open_workers

SOURCES = Path(galflow.__file__).resolve().parents[1]


@pytest.fixture
def scheduler() -> Iterator[LocalCluster]:
    """A scheduler without workers."""
    with LocalCluster(
        n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=logging.CRITICAL
    ) as running:
        yield running


@contextmanager
def worker(address: str, sources: Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker as another machine would start it, under a nanny, with these sources first on its path."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard",
               "--local-directory", str(folder), "--death-timeout", "60", "--host", "127.0.0.1"]  # fmt: skip
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | {"PYTHONPATH": str(sources)}, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Copies:
    """Folders with the packages that a worker runs."""

    same: Path
    altered: Path
    """With one line more in one file."""
    older: Path
    """From before workers could say what they run."""


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[Copies]:
    """Made at the moment at which this process looks at its own code: a developer may be editing it."""
    made = Copies(*(tmp_path / name for name in ("same", "altered", "older")))
    running_code.cache_clear()
    for package in ("galflow", "tasks"):
        shutil.copytree(SOURCES / package, made.same / package, ignore=shutil.ignore_patterns("__pycache__"))
    running_code()
    shutil.copytree(made.same, made.altered)
    with (made.altered / "galflow" / "photometry.py").open("a") as file:
        file.write("# edited on this machine\n")
    (made.older / "tasks").mkdir(parents=True)
    for module in ("__init__", "same_code"):
        (made.older / "tasks" / f"{module}.py").write_text('"""An older one."""\n')
    yield made
    running_code.cache_clear()


def spec_of(scheduler: LocalCluster) -> ClusterSpec:
    return ClusterSpec(kind="address", address=scheduler.scheduler_address)


def work(folder: Path) -> list[Work]:
    """Two units that note that they were begun."""

    def make(name: str, calls: str) -> Receipt:
        with open(f"{calls}/{name}", "a") as file:
            file.write("x")
        return Receipt(product=name, fingerprint=name)

    return [Work(Unit("cut", n, n, n, None), make, {"name": n, "calls": str(folder)}) for n in ("a", "b")]


def test_same_sources_elsewhere_are_the_same_code(scheduler: LocalCluster, copies: Copies, tmp_path: Path) -> None:
    with worker(scheduler.scheduler_address, copies.same, tmp_path):
        scheduler.wait_for_workers(1, timeout=120)
        todo = work(tmp_path)
        result = run_stage("cut", [w.unit for w in todo], todo, spec_of(scheduler))
    assert ([r.product for r in result.receipts], result.failures) == (["a", "b"], ())


@pytest.mark.full
def test_other_sources_everywhere_stop_the_stage_before_any_unit(
    scheduler: LocalCluster, copies: Copies, tmp_path: Path
) -> None:
    with worker(scheduler.scheduler_address, copies.altered, tmp_path) as process:
        scheduler.wait_for_workers(1, timeout=120)
        (address,) = scheduler.scheduler_info["workers"]
        todo = work(tmp_path)
        with pytest.raises(GalflowError) as caught:
            run_stage("cut", [w.unit for w in todo], todo, spec_of(scheduler))
        assert process.poll() is None, "it may be somebody else's"
    said = str(caught.value)
    theirs = digest_of(copies.altered / "galflow", copies.altered / "tasks")
    assert f"can do the work of this run; 1 more may not have its work: {socket.gethostname()} ({address}) runs" in said
    assert f"(sources {theirs}, Python " in said
    assert f"this run {running_code()}; install the same galflow there and start the worker again" in said
    assert "Nothing was handed to them" in said
    assert not (tmp_path / "a").exists()


def test_a_run_goes_on_without_the_worker_that_has_other_sources_and_leaves_nothing(
    scheduler: LocalCluster, copies: Copies, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said why, once; the next run has no check of this one before it."""
    other = tmp_path / "other"
    other.mkdir()
    with (
        worker(scheduler.scheduler_address, copies.altered, other),
        worker(scheduler.scheduler_address, copies.same, tmp_path),
    ):
        scheduler.wait_for_workers(2, timeout=120)
        todo = work(tmp_path)
        with caplog.at_level(logging.WARNING, "tasks.worker_pool"):
            result = run_stage("cut", [w.unit for w in todo], todo, spec_of(scheduler))
        assert ([r.product for r in result.receipts], result.failures) == (["a", "b"], ())
        told = [r.getMessage() for r in caplog.records if r.name == "tasks.worker_pool"]
        said = [line for line in told if line.startswith("worker on host")]  # beside "a worker is wanted", if slow
        assert len(said) == 1
        assert said[0].startswith(f"worker on host {socket.gethostname()} (tcp://127.0.0.1:")
        assert "gets no work of this run: runs galflow" in said[0]
        assert not [name for name in scheduler.scheduler.worker_plugins if "galflow" in name]
        assert len(scheduler.scheduler.workers) == 2


@pytest.mark.full
def test_worker_that_joins_with_other_sources_gets_nothing(
    scheduler: LocalCluster, copies: Copies, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "tasks.worker_pool"), open_workers(spec_of(scheduler)) as pool:
        with worker(scheduler.scheduler_address, copies.altered, tmp_path):
            deadline = time.monotonic() + 120
            while not any("gets no work" in r.getMessage() for r in caplog.records):
                assert time.monotonic() < deadline
                pool.update()
                time.sleep(0.05)
            assert pool.members == []
        # Who comes next with the right code may do it.
        with worker(scheduler.scheduler_address, copies.same, tmp_path):
            assert len(pool.wait(1, "one is wanted")) == 1


@pytest.mark.full
def test_worker_with_an_older_galflow_is_named(scheduler: LocalCluster, copies: Copies, tmp_path: Path) -> None:
    with worker(scheduler.scheduler_address, copies.older, tmp_path):
        scheduler.wait_for_workers(1, timeout=120)
        with (
            pytest.raises(GalflowError, match=r"\(tcp://\S+\) has no such galflow \(.*AttributeError.*running_code"),
            open_workers(spec_of(scheduler)),
        ):
            pass


def test_workers_of_this_process_are_of_its_installation() -> None:
    """Someone edits the sources while a run goes on: its own worker, started again, has the new ones."""
    own = running_code()
    edited = replace(own, sources="0" * 16, parent=own.process, process=own.process + 1)
    assert difference(own, edited) is None
    assert difference(own, replace(edited, parent=1)) == f"runs {edited}, this run {own}"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda d: (d / "a.py").write_text("x = 2\n"), False),
        (lambda d: (d / "a.py").rename(d / "b.py"), False),
        (lambda d: (d / "templates" / "page.html").write_text("<p>"), False),
        (lambda d: (d / "c.py").touch(), False),
        (lambda d: os.utime(d / "a.py", (1, 1)), True),
        (lambda d: (d / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"y"), True),
        (lambda d: (d / ".a.py.swp").write_bytes(b"y"), True),
    ],
)
def test_digest_is_of_names_and_contents_of_sources(
    change: Callable[[Path], object], same: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "package"
    for inner in ("templates", "__pycache__"):
        (folder / inner).mkdir(parents=True)
    (folder / "a.py").write_text("x = 1\n")
    (folder / "templates" / "page.html").write_text("<h1>")
    before = digest_of(folder)
    change(folder)
    assert (digest_of(folder) == before) is same


def test_the_code_is_told_once_and_soon() -> None:
    started = time.perf_counter()
    assert running_code() is running_code()
    digest_of(SOURCES / "galflow", SOURCES / "tasks")
    assert time.perf_counter() - started < 5.0
