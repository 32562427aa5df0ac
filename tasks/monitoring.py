"""How a run is watched: where its log and its page in the UI come from. It changes nothing of what a run does."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler

from galflow.logs import OWN_LOGGERS, LogSettings, TextLines, log_context, log_to_stderr, set_levels
from galflow.runs.check import check_run
from galflow.runs.plan import plan_run
from galflow.spec.emulation import EmulationSpec
from galflow.spec.run import RunSpec
from galflow.storage.leases import HeldLease, run_lease
from galflow.storage.look import one_look
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store
from tasks.cluster import running_cluster
from tasks.credentials import use_credentials
from tasks.fan_out import StageResult
from tasks.performance import keep_report, recorded
from tasks.proxies import bypass_for_this_machine
from tasks.run_page import RunPage, StageRow, page_of, present_page

_MOST_ON_PAGE = 200
"""Lines of one run's log that Prefect's server keeps: a warning about each of 20,000 tiles helps nobody there."""
_LEASE: ContextVar[HeldLease | None] = ContextVar("galflow_lease", default=None)
logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def watched_run(spec: RunSpec) -> Iterator[RunSpec]:
    """``running_cluster``, with the run's name in the log, its page in the UI and, on request, Dask's report of it.

    All the while the run holds a lease of its store, so that garbage collection leaves it what it may use.
    """
    with ExitStack() as held:
        bypass_for_this_machine()
        held.enter_context(one_look())
        held.enter_context(log_context(run=_run_of(spec)))
        held.enter_context(_log())
        use_credentials(spec.store)
        page = held.enter_context(page_of(spec))
        check_run(spec)  # a fault is told before workers are waited for; the stage asks the same within this look
        held.enter_context(_leased(spec))
        reached = held.enter_context(running_cluster(spec))
        if spec.cluster.performance_report:
            held.enter_context(recorded(reached.cluster, lambda html: _keep(spec, page, html)))
        yield reached


@contextmanager
def watched_emulation(spec: EmulationSpec) -> Iterator[EmulationSpec]:
    """``running_cluster`` for an emulated survey, whose products no garbage collection takes."""
    with ExitStack() as held:
        bypass_for_this_machine()
        held.enter_context(one_look())
        held.enter_context(log_context(run=_run_of(spec)))
        held.enter_context(_log())
        use_credentials(spec.store)
        yield held.enter_context(running_cluster(spec))


@contextmanager
def _leased(spec: RunSpec) -> Iterator[None]:
    with run_lease(Store.of(spec.store), spec) as lease:
        token = _LEASE.set(lease)
        try:
            yield
        finally:
            _LEASE.reset(token)


def _run_of(spec: RunSpec | EmulationSpec) -> str:
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return f"{run.name}/{run.id}" if run else spec.name


def _keep(spec: RunSpec, page: RunPage, html: bytes) -> None:
    store = Store.of(spec.store)
    # A run that is not published is planned to become this one.
    run = page.manifest.run if page.manifest else plan_run(spec, store).run
    page.link("Dask's performance report", keep_report(store, run, html))


@contextmanager
def _log() -> Iterator[None]:
    """The log as the environment wants it, also where Prefect has begun one; warnings on the run's page."""
    settings = LogSettings.from_environment()
    set_levels(settings)
    if any(isinstance(handler, PrefectConsoleHandler) for handler in logging.getLogger().handlers):
        log_to_stderr(settings, replaced=(PrefectConsoleHandler,))
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        yield
        return
    to_page = _ToPage(str(context.flow_run.id))
    for name in OWN_LOGGERS:
        logging.getLogger(name).addHandler(to_page)
    try:
        yield
    finally:
        for name in OWN_LOGGERS:
            logging.getLogger(name).removeHandler(to_page)


class _ToPage(APILogHandler):
    """Warnings for the run's page in the UI, until there are too many."""

    def __init__(self, flow_run: str) -> None:
        super().__init__(level=logging.WARNING)
        self.setFormatter(TextLines("%(message)s%(place)s"))
        self._flow_run = flow_run
        self._told = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._told += 1
        if self._told > _MOST_ON_PAGE + 1:
            return
        if self._told > _MOST_ON_PAGE:
            text = f"more than {_MOST_ON_PAGE} warnings: the others stand in the log of the process that does the run"
            record = logging.makeLogRecord({"name": __name__, "levelno": logging.WARNING, "msg": text})
        record.flow_run_id = self._flow_run  # Dask's events come in a thread that knows of no run
        super().emit(record)


def stage(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A function as a stage of a run: a Prefect task whose end is a line in the log and a row on the run's page.

    The store is the only truth about what is done: Prefect's own result cache stays off. A stage with an argument
    ``sample`` is called after it too.
    """

    def decorate(verb: Callable[P, R]) -> Task[P, R]:
        signature = inspect.signature(verb)

        @functools.wraps(verb)
        def watched(*arguments: P.args, **named: P.kwargs) -> R:
            sample = signature.bind(*arguments, **named).arguments.get("sample")
            full_name = f"{name} {sample}" if sample else name
            started = time.perf_counter()
            with log_context(stage=full_name):
                try:
                    result = verb(*arguments, **named)
                except Exception as error:
                    _tell(StageRow(full_name, time.perf_counter() - started, failures=[str(error)]))
                    raise
                _tell(_row(full_name, time.perf_counter() - started, result), result)
            return result

        return task(name=name, cache_policy=NO_CACHE, persist_result=False)(watched)

    return decorate


def _row(name: str, seconds: float, result: Any) -> StageRow:
    if not isinstance(result, StageResult):
        return StageRow(name, seconds)
    failures = [f"{failure.name}: {failure.reason}" for failure in result.failures]
    return StageRow(name, seconds, result.made, len(result.receipts) - result.made, failures)


def _tell(row: StageRow, result: Any = None) -> None:
    logger.info("%s in %.1f s", row.told, row.seconds)
    if (lease := _LEASE.get()) is not None:
        if isinstance(result, StageResult):
            lease.used(receipt.product for receipt in result.receipts)
        elif isinstance(result, RunManifest):
            lease.published()
    page = present_page()
    if page is None:
        return
    if isinstance(result, RunManifest):
        page.published(result)
    page.stage_ended(row)
