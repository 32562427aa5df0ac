"""Prefect's server behind a door: it asks for a login, answers to its own names and its own page, and shows reports.

`galflow serve` starts it as a process, deploy/entrypoint in a container, and a run that has no server one for itself
(flows.run_server). It is Prefect's own app, unchanged; what stands before it is in flows.gate and flows.form_answers,
and beside it flows.reports.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from flows import environment
from flows.login import require_login
from galflow.errors import GalflowError, SpecError

NAMES = "GALFLOW_SERVER_NAMES"
"""Environment variable: further names by which the server may be called, HOST:PORT, separated by commas."""
LOGIN = "PREFECT_SERVER_API_AUTH_STRING"
"""Environment variable: NAME:TOKEN."""


def settings(page: str) -> dict[str, str]:
    """Prefect's settings for a server whose UI a browser sees at ``page``, as http://127.0.0.1:4200."""
    return {
        "PREFECT_SERVER_UI_API_URL": f"{page}/api",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": page,
    }


_OF_A_RUN = {"PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1"}
"""Prefect's settings for a server that nobody looks at, without the services that start runs by the clock."""
_POOL = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"
"""The logger of the connections to Prefect's database."""


def main() -> None:
    """Serve until SIGINT or SIGTERM. Exit 2 without a login."""
    words = argparse.ArgumentParser(prog="python -m flows.prefect_server", description=__doc__)
    words.add_argument("--host", default="127.0.0.1")
    words.add_argument("--port", type=int, default=4200)
    words.add_argument("--page", help="origin of the UI as browsers see it; by default http://127.0.0.1:PORT")
    words.add_argument("--of-a-run", type=int, metavar="SOCKET", help="end with the parent; listen at this descriptor")
    given = words.parse_args()
    try:
        login = os.environ.get(LOGIN, "")
        require_login(login, LOGIN)
        environment.prepare(temporary_server=False)
    except GalflowError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2 if isinstance(error, SpecError) else 1)
    page = (given.page or f"http://127.0.0.1:{given.port}").rstrip("/")
    os.environ.update(settings(page) if given.of_a_run is None else _OF_A_RUN)
    _serve(given, page, login)


def _serve(given: argparse.Namespace, page: str, login: str) -> None:
    import prefect
    import uvicorn
    from prefect.settings import get_current_settings

    # The second UI calls an analytics host, and is served at /v2 whatever the settings say.
    prefect.__ui_v2_static_path__ = Path(os.devnull) / "none"
    from prefect.server.api.server import create_app

    from flows.form_answers import FormAnswers
    from flows.gate import App, Gate, own_names

    server = get_current_settings().server
    names = [name.strip() for name in os.environ.get(NAMES, "").split(",") if name.strip()]
    signed: dict[str, App] = {}
    if given.of_a_run is None:
        from flows.reports import reports
        from tasks.report_links import PATH

        signed[PATH] = reports(login)
    config = uvicorn.Config(
        Gate(FormAnswers(create_app(final=True)), page, [*own_names(given.port), *names], signed),
        host=given.host,
        port=given.port,
        loop="auto" if given.of_a_run is None else "flows.parent_watch:new_event_loop",
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )
    ours = None if given.of_a_run is None else [socket.socket(fileno=given.of_a_run)]
    served = uvicorn.Server(config)
    if given.of_a_run is not None:
        # What Prefect's own services ask of the database when the run ends is broken off: no matter for a trace.
        logging.getLogger(_POOL).addFilter(lambda record: not served.should_exit)
    with suppress(KeyboardInterrupt):  # uvicorn raises Ctrl-C again once it has ended in order
        served.run(ours)
    if not served.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
