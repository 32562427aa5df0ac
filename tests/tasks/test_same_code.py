"""A worker with other code is named and gets no work: real workers, with a copy of the packages on their path."""

from __future__ import annotations

import logging
import os
import shutil
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
from galflow.cluster_spec import ClusterSpec
from galflow.errors import GalflowError
from galflow.plan import Unit
from galflow.receipts import Receipt
from tasks.cluster import open_client
from tasks.fan_out import Work, run_stage
from tasks.same_code import _judge, digest_of, running_code

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


def test_worker_with_other_sources_stops_the_stage_before_any_unit(
    scheduler: LocalCluster, copies: Copies, tmp_path: Path
) -> None:
    with worker(scheduler.scheduler_address, copies.altered, tmp_path):
        scheduler.wait_for_workers(1, timeout=120)
        (address,) = scheduler.scheduler_info["workers"]
        todo = work(tmp_path)
        with pytest.raises(GalflowError) as caught:
            run_stage("cut", [w.unit for w in todo], todo, spec_of(scheduler))
    said = str(caught.value)
    theirs = digest_of(copies.altered / "galflow", copies.altered / "tasks")
    assert said.startswith(
        f"1 of 1 workers run other code than this process, {running_code()}: {address} runs galflow "
    )
    assert f"(sources {theirs}, Python " in said
    assert "Nothing was handed to them; install the same galflow there and start the worker again" in said
    assert not (tmp_path / "a").exists()


def test_worker_that_joins_with_other_sources_is_sent_away(
    scheduler: LocalCluster, copies: Copies, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets nothing to do, its nanny does not start it again, and the run says why it went."""
    with caplog.at_level(logging.WARNING, "tasks.same_code"), open_client(spec_of(scheduler)) as client:
        futures = [client.submit(w.verb, **w.arguments, pure=False) for w in work(tmp_path)]
        with worker(scheduler.scheduler_address, copies.altered, tmp_path) as process:
            assert process.wait(120) == 0
        assert [f.status for f in futures] == ["pending"] * 2
        assert not (tmp_path / "a").exists()
        said = [r.getMessage() for r in caplog.records if r.name == "tasks.same_code"]
        assert len(said) == 1
        assert "but the run galflow" in said[0]
        assert "it leaves the cluster; install the same galflow there" in said[0]
        # Who comes next with the right code does what was meant for it, and no unit is blamed.
        with worker(scheduler.scheduler_address, copies.same, tmp_path):
            assert [r.product for r in [f.result(timeout=60) for f in futures]] == ["a", "b"]


def test_worker_with_an_older_galflow_is_named(scheduler: LocalCluster, copies: Copies, tmp_path: Path) -> None:
    with worker(scheduler.scheduler_address, copies.older, tmp_path):
        scheduler.wait_for_workers(1, timeout=120)
        with (
            pytest.raises(GalflowError, match=r"tcp://\S+ has no such galflow \(.*AttributeError.*running_code"),
            open_client(spec_of(scheduler)),
        ):
            pass


def test_workers_of_this_process_are_of_its_installation(caplog: pytest.LogCaptureFixture) -> None:
    """Someone edits the sources while a run goes on: its own worker, started again, has the new ones. It is said."""
    own = running_code()
    edited = replace(own, sources="0" * 16, parent=own.process, process=own.process + 1)
    with caplog.at_level(logging.WARNING, "tasks.same_code"):
        _judge(own, {"tcp://1": edited, "tcp://2": OSError("gone")})
    assert [r.getMessage() for r in caplog.records] == [
        "galflow was edited while it ran: worker tcp://1 runs what is there now"
    ]


def test_many_differing_workers_are_counted_and_some_shown() -> None:
    own = running_code()
    answers = {f"tcp://{i}": replace(own, python="3.99", parent=1) for i in range(7)}
    with pytest.raises(GalflowError, match=r"^7 of 8 workers run other code .*Python 3\.99\); and 2 more\. Nothing"):
        _judge(own, {**answers, "tcp://8": own})


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
