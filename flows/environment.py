"""Prefect's settings and the terminal's log for galflow: quiet, without telemetry, in a folder of its own, behind a
login.

Whoever sets one of these variables is obeyed. Call ``prepare`` before Prefect is imported: it reads its settings then.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import site
from pathlib import Path
from urllib.parse import urlsplit

from flows.login import USER, VARIABLES, login_for
from galflow.errors import GalflowError
from galflow.logs import LogSettings, log_to_stderr

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # it calls an analytics host
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
    # `python -m` would import whatever lies in the current folder: a tasks.py, say, or a flows.py.
    "PYTHONSAFEPATH": "1",
}
PARENT = "GALFLOW_PARENT_PID"
"""Who must be alive for a temporary server to stay: flows.parent_watch."""
_SETTINGS_FILES = ("profiles.toml", "prefect.toml", "pyproject.toml", ".env")
"""Where Prefect looks for a server's address and login when the environment has none."""
_SERVER_SETTING = re.compile(r"PREFECT_(SERVER_)?API_(URL|AUTH)|^\[(tool\.prefect\.)?(server\.)?api\]", re.MULTILINE)
_RUNS = ("prefect.flow_runs", "prefect.task_runs")
_NO_SERVER = "Unable to connect to"
_SLOW_TO_STOP = "Worker process still alive after"


def prefect_home() -> Path:
    """Prefect's folder: PREFECT_HOME, or galflow's own."""
    if given := os.environ.get("PREFECT_HOME"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "galflow" / "prefect"


def prepare(*, temporary_server: bool = True) -> None:
    """Set what is not set already; GalflowError if Prefect's folder cannot be made.

    Args:
        temporary_server: Whether Prefect may start a server for this command alone, which then asks for a login that
            only this process and its children know. A web page could read Prefect's secrets from one that does not.
    """
    if "PREFECT_HOME" not in os.environ:
        home = prefect_home()
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
    os.environ[PARENT] = str(os.getpid())
    _same_galflow_below()
    _log_in(temporary_server)


def _same_galflow_below() -> None:
    """Started from its sources' folder, this galflow is not found by a process that does not look there."""
    sources = str(Path(__file__).resolve().parents[1])
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if sources not in (*site.getsitepackages(), site.getusersitepackages(), *known):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sources, *known]))


def needs_own_server() -> bool:
    """Whether a run must bring its Prefect server with it: none is configured, neither here nor in Prefect's files."""
    allowed = os.environ.get("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "true").lower() not in ("false", "0", "no", "off")
    return allowed and not os.environ.get("PREFECT_API_URL") and not _configured_in_a_file()


def _log_in(temporary_server: bool) -> None:
    """The login of the server that this command will speak to, unless it is set."""
    if temporary_server and needs_own_server():
        login = os.environ.get(VARIABLES[0]) or f"{USER}:{secrets.token_urlsafe(32)}"
        os.environ.update(dict.fromkeys(VARIABLES, login))
    elif (api := os.environ.get("PREFECT_API_URL")) and not any(name in os.environ for name in VARIABLES):
        served = login_for(api, prefect_home())
        if served is not None:
            os.environ["PREFECT_API_AUTH_STRING"] = served
            os.environ.setdefault("GALFLOW_UI_URL", urlsplit(api)._replace(path="").geturl())


def _configured_in_a_file() -> bool:
    if "PREFECT_PROFILES_PATH" in os.environ:
        return True
    files = [folder / name for folder in (prefect_home(), Path.cwd()) for name in _SETTINGS_FILES]
    return any(f.is_file() and _SERVER_SETTING.search(f.read_text("utf-8", errors="replace")) for f in files)


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
