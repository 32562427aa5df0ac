"""The explorer on this machine: one run's rows and pictures in the browser, until Ctrl-C.

It listens on 127.0.0.1 alone, answers under its own names and to its own page (flows.gate), and to whoever knows the
token, which is in the address that is printed: behind #, so that it is sent to nobody.
"""

from __future__ import annotations

import contextlib
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import uvicorn

from flows.gate import Gate, own_names
from galflow.errors import SpecError
from galflow.explore.explored import ExploredRun
from galflow.explore.service import create_app, new_token
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

HOST = "127.0.0.1"
Say = Callable[[str], None]


class FirstPage(NamedTuple):
    """With which page one begins, and whether a browser is opened on it."""

    name: str = ""
    """As label.html; "": the gallery."""
    browser: bool = False


def explore_here(
    store: Store,
    manifest: RunManifest,
    port: int,
    cache: Path | None,
    say: Say,
    progress: Say,
    *,
    stop: Callable[[], None] = lambda: None,
    first: FirstPage = FirstPage(),  # noqa: B008 # a tuple, which nobody can change
) -> None:
    """Serve the run at 127.0.0.1:``port`` (0: any free one) until Ctrl-C. SpecError if the port is taken.

    ``stop`` is called once all is read.
    """
    listening = _listen(port)
    with contextlib.closing(listening):
        explored = ExploredRun.open(store, manifest, cache, progress)
        stop()
        token, number = new_token(), listening.getsockname()[1]
        page = f"http://{HOST}:{number}"
        app = Gate(create_app(explored, token), page, own_names(number))
        server = _Server(
            uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=2),
            lambda: _tell(f"{page}/{first.name}#token={token}", explored, say, first.browser),
        )
        with contextlib.closing(explored), contextlib.suppress(KeyboardInterrupt):
            server.run([listening])


def _tell(address: str, explored: ExploredRun, say: Say, browser: bool) -> None:
    say(f"{explored.name}, {explored.rows.count:,} rows: {address}")
    say("Whoever has this address sees the run; Ctrl-C ends it.")
    if browser:
        webbrowser.open(address)


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise SpecError(
            f"port {port} of {HOST} cannot be had ({error.strerror}); give another --port, or none"
        ) from None
    return listening


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
