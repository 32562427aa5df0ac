"""A real worker: its warnings reach the run once, its counts Prometheus, and Dask's report of it the store."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import dask
import pytest
from distributed import Worker

from galflow.errors import DataError, GalflowError, SpecError
from galflow.logs import LogContext, LogSettings, log_context
from galflow.runs.plan import Unit
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec
from galflow.storage.receipts import Receipt, verify_store
from galflow.storage.store import Store
from tasks.cluster import running_cluster
from tasks.fan_out import StageResult, Work, run_stage
from tasks.performance import keep_report, recorded
from tasks.unit_log import WARNINGS_TOPIC, LogOfUnits, hear_warnings, run_unit
from tasks.worker_pool import open_workers

Specify = Callable[..., RunSpec]


@pytest.fixture
def loggers_kept() -> Iterator[None]:
    """The root logger without handlers; it and those that a worker changes are put back afterwards."""
    of_dask = ("distributed", "distributed.client", "distributed.gc", "distributed.sizeof")
    names = (None, "galflow", "tasks", "flows", *of_dask, "bokeh", "tornado", "tornado.application")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger, logger.level, logger.propagate, logger.handlers[:]) for logger in loggers]
    loggers[0].handlers.clear()
    yield
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def cluster(specify: Specify, port: int) -> Iterator[ClusterSpec]:
    """One worker, whose scheduler's dashboard is at a given port."""
    with running_cluster(specify(workers=1, dashboard=f"127.0.0.1:{port}")) as reached:
        yield reached.cluster


def run(cluster: ClusterSpec, **verbs: Callable[[], Receipt]) -> StageResult:
    units = [Unit("cut", name, f"f-{name}", name, None) for name in verbs]
    return run_stage("cut", units, [Work(unit, verbs[unit.name]) for unit in units], cluster)


# Made inside functions, so that they travel by value.


def warning(text: str) -> Callable[[], Receipt]:
    def warn() -> Receipt:
        log = logging.getLogger("galflow.odd")
        log.info("%s: an aside", text)
        log.warning(text)
        thread = threading.Thread(target=log.error, args=(f"{text}, from a helper",))
        thread.start()
        thread.join()
        logging.getLogger("elsewhere").warning("%s: of another library", text)
        return Receipt(product=text, fingerprint=text, rows=7)

    return warn


def failing() -> Callable[[], Receipt]:
    error = DataError("torn")

    def fail() -> Receipt:
        raise error

    return fail


def test_what_workers_warn_of_is_told_once_with_its_unit(
    cluster: ClusterSpec, caplog: pytest.LogCaptureFixture
) -> None:
    with log_context(LogContext("mine/1", "ingest")):
        run(cluster, t1=warning("odd tile"), t2=warning("another"))
    told = [(r.levelname, r.getMessage(), r.where) for r in caplog.records if r.name == "galflow.odd"]
    assert told == [
        (level, f"{text}{more}", LogContext("mine/1", "ingest", unit))
        for unit, text in (("t1", "odd tile"), ("t2", "another"))
        for level, more in (("WARNING", ""), ("ERROR", ", from a helper"))
    ]
    assert {r.process for r in caplog.records if r.name == "galflow.odd"}.isdisjoint({os.getpid()})


def test_the_warnings_of_another_run_on_the_same_scheduler_are_not_told(
    cluster: ClusterSpec, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = Work(Unit("cut", "t9", "f-t9", "t9", None), warning("theirs"))
    with log_context(LogContext("mine/1", "ingest")):
        foreign = replace(theirs.context, run="other/2")
        with open_workers(cluster) as pool:
            client = pool.client
            hear_warnings(client)
            client.submit(run_unit, theirs.verb, foreign, pure=False).result()
            client.submit(run_unit, warning("mine"), theirs.context, pure=False).result()
    assert [r.getMessage() for r in caplog.records if r.name == "galflow.odd"] == ["mine", "mine, from a helper"]


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=20) as answer:
        return str(answer.read().decode())


def test_prometheus_finds_dasks_metrics_and_galflows_counts(cluster: ClusterSpec, port: int) -> None:
    with log_context(LogContext("mine/1", "score mock")):
        run(cluster, t1=warning("x"), t2=warning("y"), t3=failing())
    assert 'dask_scheduler_workers{state="idle"}' in get(f"http://127.0.0.1:{port}/metrics")
    (group,) = json.loads(get(f"http://127.0.0.1:{port}/galflow/targets"))
    (worker,) = group["targets"]
    found = get(f"http://{worker}/metrics")
    assert "dask_worker_tasks" in found
    counts = dict(re.findall(r"^(galflow_\w+_total\{.*score mock.*\}) (\S+)$", found, re.MULTILINE))
    seconds = counts.pop('galflow_unit_seconds_total{stage="score mock"}')
    assert 0 < float(seconds) < 60
    assert counts == {
        'galflow_units_total{outcome="done",stage="score mock"}': "2.0",
        'galflow_units_total{outcome="failed",stage="score mock"}': "1.0",
        'galflow_rows_total{stage="score mock"}': "14.0",
    }


def test_a_dashboard_port_that_is_taken_is_named(cluster: ClusterSpec, specify: Specify, port: int) -> None:
    with (
        pytest.raises(GalflowError, match=rf"cluster.dashboard: nothing can listen at 127.0.0.1:{port} .*another port"),
        running_cluster(specify(workers=1, dashboard=f"127.0.0.1:{port}")),
    ):
        pass


@pytest.mark.parametrize("text", ["8787", "127.0.0.1", "127.0.0.1:70000", "http://127.0.0.1:8787", ":8787", "a b:1"])
def test_a_dashboard_that_is_no_address_is_refused(text: str, specify: Specify) -> None:
    with pytest.raises(SpecError, match=r"cluster.dashboard: a host and a port up to 65535 are expected, as 127"):
        specify(dashboard=text)


def test_dashboard_and_report_change_no_product(specify: Specify) -> None:
    assert specify(dashboard="127.0.0.1:8787", performance_report=True).content() == specify().content()
    with pytest.raises(SpecError, match=r"dashboard is given, but kind: address does not use it"):
        specify(kind="address", address="tcp://127.0.0.1:9", dashboard="127.0.0.1:8787")


def test_dasks_report_of_a_scheduler_by_address_is_kept_and_verified(cluster: ClusterSpec, local_store: Store) -> None:
    pages: list[bytes] = []

    def start_that_fails() -> None:
        with recorded(cluster, pages.append):
            run(cluster, first=warning("x"))
            run(cluster, second=warning("y"))
            raise DataError("after two stages")

    with pytest.raises(DataError, match="after two stages"):
        start_that_fails()
    (page,) = pages
    assert b"Dask Performance Report" in page
    assert b"cdn.bokeh.org" not in page
    assert all(f"cut-f-{name}-1".encode() in page for name in ("first", "second"))
    uri = keep_report(local_store, "run-1", page)
    key = uri.removeprefix(f"{local_store.root}/")
    assert re.fullmatch(r"reports/run-1/performance-\d{8}T\d{6}\.html", key)
    assert verify_store(local_store)[:2] == (1, [])
    local_store.put(key, page[:-1])
    assert [key in fault for fault in verify_store(local_store).faults] == [True]


def test_a_report_that_cannot_be_had_is_a_warning(
    cluster: ClusterSpec, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    gone = ClusterSpec(kind="address", address=f"tcp://127.0.0.1:{free_port()}")
    done = []
    with dask.config.set({"distributed.comm.timeouts.connect": "500ms"}), recorded(gone, done.append):
        done.append(b"the run")

    def refuse(page: bytes) -> None:
        raise GalflowError("the store is full")

    with recorded(cluster, refuse):
        done.append(b"another")
    assert done == [b"the run", b"another"]
    told = [r.getMessage() for r in caplog.records if r.name == "tasks.performance"]
    assert [text.startswith("there is no performance report of this start: ") for text in told] == [True, True]
    assert told[1].endswith("GalflowError: the store is full")


@pytest.mark.parametrize(("parent", "shown"), [(os.getppid(), ["INFO"]), (1, ["INFO", "WARNING", "ERROR"])])
def test_a_worker_that_the_run_did_not_start_has_its_warnings_in_its_own_log_too(
    parent: int, shown: list[str], capsys: pytest.CaptureFixture[str], loggers_kept: None
) -> None:
    sent: list[dict[str, Any]] = []

    class MockWorker:
        def log_event(self, topic: str, event: dict[str, Any]) -> None:
            assert topic == WARNINGS_TOPIC
            sent.append(event)

    for _ in range(2):  # a second run on the same worker
        LogOfUnits(LogSettings("INFO"), process=parent).set_up(cast(Worker, MockWorker()))
    logger = logging.getLogger("galflow.odd")
    logger.warning("outside of a unit nobody but the worker hears it")
    with log_context(LogContext("mine/1", "score", "t1")):
        logger.info("an aside")
        logger.warning("odd")
        logger.error("odder")
    assert [(event["level"], event["message"], event["unit"]) for event in sent] == [
        ("WARNING", "odd", "t1"), ("ERROR", "odder", "t1"),
    ]  # fmt: skip
    first, *said = [line for line in capsys.readouterr().err.splitlines() if "galflow.odd" in line]
    assert first.startswith("WARNING galflow.odd: outside of a unit")
    assert [line.partition(" ")[0] for line in said] == shown
