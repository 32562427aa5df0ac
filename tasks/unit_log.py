"""What a Dask worker tells of the units it works on: a line in its log, counts for Prometheus, its warnings to the run.

It runs on workers, so it imports no Prefect. A warning of galflow's own goes to the process that started the run, over
Dask's events; other lines stay in the worker's log.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Worker

from galflow.logs import (
    OWN_LOGGERS,
    LogContext,
    LogSettings,
    current_context,
    from_fields,
    log_context,
    log_to_stderr,
    to_fields,
)
from galflow.storage.receipts import Receipt
from tasks.metrics import count_unit
from tasks.same_code import started_by

WARNINGS_TOPIC = "galflow-warnings"
_LOGGERS_OF_DASK = ("distributed", "distributed.client", "distributed.gc", "bokeh", "tornado", "tornado.application")
logger = logging.getLogger(__name__)


def run_unit(verb: Callable[..., Receipt | None], here: LogContext, /, *arguments: Any, **named: Any) -> Receipt | None:
    """Call a verb for the unit at ``here``; what is logged meanwhile says so, and its end is a line of its own."""
    with log_context(here):
        started = time.perf_counter()
        try:
            receipt = verb(*arguments, **named)
        except Exception as error:
            seconds = time.perf_counter() - started
            count_unit(here.stage, "failed", seconds)
            logger.info("failed after %.1f s: %s", seconds, error)
            raise
        seconds = time.perf_counter() - started
        if receipt is not None:
            count_unit(here.stage, str(receipt.outcome), seconds, receipt.rows)
            logger.info("%s: %d rows in %.1f s", receipt.outcome, receipt.rows, seconds)
        return receipt


def run_beside(
    verb: Callable[..., Receipt | None], here: LogContext, /, *arguments: Any, **named: Any
) -> Receipt | None:
    """Call a verb that helps with the unit at ``here``: another tells and counts how that ended."""
    with log_context(here):
        return verb(*arguments, **named)


def hear_warnings(client: Client) -> None:
    """What workers warn of in units of this run is logged here, as if it had been made here."""
    run = current_context().run

    def hear(event: tuple[float, Any]) -> None:
        if event[1]["run"] == run:  # others may use the same scheduler
            record = from_fields(event[1])
            logging.getLogger(record.name).handle(record)

    client.subscribe_topic(WARNINGS_TOPIC, hear)


@dataclass(frozen=True)
class LogOfUnits:
    """Has a worker write its log as the run's own process does, and send its warnings there."""

    settings: LogSettings
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)
    """Of the run."""

    def set_up(self, worker: Worker) -> None:
        """Run when a stage begins on a worker."""
        if (self.host, self.process) == (socket.gethostname(), os.getpid()):
            return  # a worker within the run's own process, whose log is that of the run
        # A worker that the run has started writes to the run's own standard error, where each warning comes up anyway.
        shares = (self.host, self.process) == (socket.gethostname(), started_by())
        sender = _ToRun(worker)
        for name in OWN_LOGGERS:
            own = logging.getLogger(name)
            own.handlers = [handler for handler in own.handlers if not isinstance(handler, _ToRun)] + [sender]
        for name in _LOGGERS_OF_DASK:
            of_dask = logging.getLogger(name)
            of_dask.handlers.clear()
            of_dask.propagate = True
            if shares:
                of_dask.setLevel(max(logging.WARNING, of_dask.level))
        # Dask cannot weigh its own profile, which it sends for its performance report.
        logging.getLogger("distributed.sizeof").setLevel(logging.ERROR)
        log_to_stderr(
            self.settings, (lambda record: not (_goes_to_run(record) or _is_the_end(record))) if shares else None
        )


class _ToRun(logging.Handler):
    """Sends warnings to whoever watches the cluster."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        if _goes_to_run(record):
            self._worker.log_event(WARNINGS_TOPIC, to_fields(record))


def _is_the_end(record: logging.LogRecord) -> bool:
    """Dask's trace of a worker whose scheduler is gone. If that was not the run's end, the run says it itself."""
    return record.name == "distributed.worker" and str(record.msg).startswith("Failed to communicate with scheduler")


def _goes_to_run(record: logging.LogRecord) -> bool:
    own = record.name.partition(".")[0] in OWN_LOGGERS
    return own and record.levelno >= logging.WARNING and bool(current_context().unit)
