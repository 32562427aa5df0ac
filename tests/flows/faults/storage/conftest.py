"""A network between galflow and the object store that is as bad as ordered."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

_CHUNK = 1 << 16
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: close() sends RST instead of FIN."""


class BadNetwork:
    """A TCP proxy on this machine. It passes everything on to a server, until it is told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open = True
        self.delay_seconds = 0.0
        """How long each answer is held back."""
        self.reset_after: Callable[[], int | None] = lambda: None
        """Asked for each connection: after so many bytes of what the client sends it is reset; None: never."""
        self.resets = 0
        self.answers = 0
        self._spawn(self._accept)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._open = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            client.settimeout(0.5)
            server.settimeout(0.5)
            self._spawn(self._up, client, server, self.reset_after())
            self._spawn(self._down, server, client)

    def _up(self, client: socket.socket, server: socket.socket, reset_after: int | None) -> None:
        sent = 0
        for data in self._pieces(client):
            sent += len(data)
            if reset_after is not None and sent > reset_after:
                # The server has had a part of the body, the client is told that nobody is there.
                with contextlib.suppress(OSError):
                    server.sendall(data[: len(data) // 2])
                self.resets += 1
                for end in (client, server):
                    with contextlib.suppress(OSError):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                        end.close()
                return
            try:
                server.sendall(data)
            except OSError:
                break
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_WR)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        for data in self._pieces(server):
            time.sleep(self.delay_seconds)
            self.answers += 1
            try:
                client.sendall(data)
            except OSError:
                break
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.close()

    def _pieces(self, end: socket.socket) -> Iterator[bytes]:
        while self._open:
            try:
                data = end.recv(_CHUNK)
            except TimeoutError:
                continue
            except OSError:
                return
            if not data:
                return
            yield data


@pytest.fixture
def network(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[BadNetwork]:
    """Between galflow and the session's S3 server."""
    where = urlsplit(s3_server.endpoint_url)
    assert where.hostname is not None
    assert where.port is not None
    proxy = BadNetwork(where.hostname, where.port)
    yield proxy
    proxy.close()
