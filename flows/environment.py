"""Prefect's settings and the terminal's log for galflow: quiet, without telemetry, in a folder of its own.

Whoever sets one of these variables is obeyed. Call ``prepare`` before Prefect is imported: it reads its settings then.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from galflow.errors import GalflowError
from galflow.logs import LogSettings, log_to_stderr

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_TO_API_ENABLED": "true",
    "PREFECT_CLI_COLORS": "false",
    # What it cannot tell its server: tasks.progress says once that the server does not answer.
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    # A server that is started again, or moves to another node, is waited for: two minutes in all.
    "PREFECT_CLIENT_MAX_RETRIES": "6",
    # The temporary server that Prefect starts for a run must not outlive it, not even one that is killed.
    "UVICORN_LOOP": "flows.parent_watch:new_event_loop",
}
_RUNS = ("prefect.flow_runs", "prefect.task_runs")
_NO_SERVER = "Unable to connect to"
_SLOW_TO_STOP = "Worker process still alive after"


def prepare() -> None:
    """Set what is not set already; GalflowError if Prefect's folder cannot be made."""
    if "PREFECT_HOME" not in os.environ:
        home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "galflow" / "prefect"
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GalflowError(
                f"cannot make the folder {home} for Prefect's database: {error.strerror}; "
                "set PREFECT_HOME to a folder that can be written"
            ) from error
        os.environ["PREFECT_HOME"] = str(home)
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)


def _said_elsewhere(record: logging.LogRecord) -> bool:
    """An error inside a run comes out of the flow too, and is then told once, by whoever called it.

    Prefect would tell it three times before, with a trace each: as the task's, as its state's and as the flow's. On the
    run's page in the UI they remain. That Prefect's server is away, tasks.progress says. A worker that Dask kills at
    the end of a run had nothing left to do.
    """
    if record.name.startswith(_RUNS):
        return record.levelno >= logging.ERROR
    if record.name == "prefect.events.clients":
        return str(record.msg).startswith(_NO_SERVER)
    return record.name == "distributed.nanny" and str(record.msg).startswith(_SLOW_TO_STOP)


def log_to_terminal() -> None:
    """Warnings and errors of all libraries as one line on standard error, without what is said elsewhere.

    Prefect leaves a root logger alone that has a handler already, so this comes before it is imported. SpecError if the
    environment asks for a log that does not exist.
    """
    log_to_stderr(LogSettings.from_environment(), lambda record: not _said_elsewhere(record))
