"""A Prefect server for one run where none is configured: on this machine, behind a login that only the run knows.

Prefect would start one by itself when it is first asked for, after everything is imported, and would import its server
into the run's own process too. This one gets ready while the run imports what it needs.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import urllib.request

from flows import environment
from galflow.errors import GalflowError

_HOST = "127.0.0.1"
_PATIENCE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
"""Prefect's own setting for such a server; flows.environment sets it where nobody has."""
_STOP_SECONDS = 5
_started: list[subprocess.Popen[bytes]] = []


def start() -> None:
    """Start it, unless a server is configured or it is there already; it ends with this process. Before Prefect's
    import, which reads the address that is set here.
    """
    if _started or not environment.needs_own_server():
        return
    with socket.create_server((_HOST, 0), backlog=100) as listening:
        port = listening.getsockname()[1]
        words = ["-m", "flows.prefect_server", "--port", str(port), "--of-a-run", str(listening.fileno())]
        # A session of its own: the terminal's Ctrl-C is for the run, which still tells the server of it.
        server = subprocess.Popen([sys.executable, *words], pass_fds=[listening.fileno()], start_new_session=True)
    _started.append(server)
    atexit.register(_stop)
    os.environ["PREFECT_API_URL"] = f"http://{_HOST}:{port}/api"


def wait() -> None:
    """Return once it answers; GalflowError if it does not."""
    if not _started:
        return
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        # Its socket is there from the beginning: the question waits in it.
        direct.open(f"{os.environ['PREFECT_API_URL']}/health", timeout=float(os.environ[_PATIENCE])).close()
    except OSError as error:
        raise GalflowError(
            f"the Prefect server of this run {_what_happened(error)}; its folder is {environment.prefect_home()} "
            "(PREFECT_HOME), which must be one that can be written and has room"
        ) from error


def _what_happened(error: OSError) -> str:
    try:
        return f"ended with exit code {_started[0].wait(_STOP_SECONDS)}"
    except subprocess.TimeoutExpired:
        return f"does not answer ({error})"


def _stop() -> None:
    server = _started.pop()
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
