"""The door of a served Prefect: who may ask anything at all, before Prefect sees the request.

A browser runs the pages of everybody, and each of them can reach a server on this machine. So the name by which the
server is called must be one of its own (DNS rebinding brings another), and a page that asks must be the server's own
page. Prefect checks the login behind this door, and neither of the two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse, RedirectResponse

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOOKS = ("GET", "HEAD")
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def own_names(port: int) -> list[str]:
    """The names of a server that this machine alone can reach."""
    return [f"{name}:{port}" for name in _LOOPBACK]


class Gate:
    """An ASGI app that lets through to ``app`` what its own page asks, and programs that know the login.

    Args:
        app: Prefect's server.
        page: Its own page's origin, as http://127.0.0.1:4200: what the browser has in its address line.
        names: What may stand in a request's Host, as 127.0.0.1:4200. Anything else is refused.
        signed: Apps that answer below a path, whose links are signed: whoever has one may follow it, from any page.
    """

    def __init__(self, app: App, page: str, names: Sequence[str], signed: Mapping[str, App] | None = None) -> None:
        self._app = app
        self._signed = signed or {}
        self._page = page.lower()
        self._names = {name.lower() for name in (*names, urlsplit(page).netloc)}
        self._headers = _page_headers(page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = _Headers(scope["headers"])
        signed = self._signed_app(scope)
        refusal = self._wrong_name(headers) or (None if signed else self._wrong_page(scope, headers))
        if refusal is not None and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal})  # before it opens: a 403
        elif refusal is not None:
            await PlainTextResponse(refusal, 403)(scope, receive, send)
        elif signed is not None:
            await signed(scope, receive, self._with_headers(send))
        elif (elsewhere := self._elsewhere(scope, headers)) is not None:
            await RedirectResponse(elsewhere)(scope, receive, send)
        else:
            await self._app(scope, receive, self._with_headers(send))

    def _signed_app(self, scope: Scope) -> App | None:
        if scope["type"] != "http" or scope["method"] not in _LOOKS:
            return None
        return next((app for path, app in self._signed.items() if scope["path"].startswith(f"{path}/")), None)

    def _wrong_name(self, headers: _Headers) -> str | None:
        hosts = headers.all("host")
        if len(hosts) == 1 and hosts[0].lower() in self._names:
            return None
        return (
            f"this server is not called {', '.join(repr(h) for h in hosts) or 'nothing'}; open {self._page}. Its "
            "names are set by whoever runs it, in GALFLOW_SERVER_NAMES"
        )

    def _wrong_page(self, scope: Scope, headers: _Headers) -> str | None:
        """A page of another origin (another port is another origin). Programs send none of these headers."""
        origins = headers.all("origin")
        if any(origin.lower() != self._page for origin in origins):
            return f"pages of {', '.join(repr(o) for o in origins)} may not ask this server; only {self._page} may"
        site = headers.first("sec-fetch-site")
        if site in ("", "same-origin", "none") or _is_navigation(scope, headers):
            return None
        return f"a page of another origin may not ask this server; only {self._page} may"

    def _elsewhere(self, scope: Scope, headers: _Headers) -> str | None:
        """A person who opens the page by another of its names is sent on: its requests go to the first."""
        if not _is_navigation(scope, headers):
            return None
        path: str = scope["path"]
        if headers.first("host").lower() == urlsplit(self._page).netloc or path.startswith("/api"):
            return None
        raw = scope.get("raw_path") or path.encode()
        query = scope.get("query_string") or b""
        return f"{self._page}/{raw.decode('latin-1').lstrip('/')}{'?' if query else ''}{query.decode('latin-1')}"

    def _with_headers(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message.get("headers", [])}
                more = [(name, value) for name, value in self._headers if name not in there]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        return sent


class _Headers:
    """A request's headers, as text; names are lower case."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    def all(self, name: str) -> list[str]:
        return [value for found, value in self._raw if found == name]

    def first(self, name: str) -> str:
        return next(iter(self.all(name)), "")


def _is_navigation(scope: Scope, headers: _Headers) -> bool:
    """A person follows a link or types an address: the answer is a page of its own, which the other cannot read."""
    return (
        scope["type"] == "http"
        and scope["method"] in _LOOKS
        and headers.first("sec-fetch-mode") == "navigate"
        and headers.first("sec-fetch-dest") == "document"
    )


def _page_headers(page: str) -> list[tuple[bytes, bytes]]:
    """What the browser is told about every answer: talk to nobody else, and be in nobody's frame."""
    sockets = page.replace("http", "ws", 1)
    policy = (
        f"default-src 'self'; connect-src 'self' {sockets}; img-src 'self' data: blob:; font-src 'self' data:; "
        "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-eval' blob:; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
    return [
        (b"content-security-policy", policy.encode("ascii")),
        (b"x-frame-options", b"DENY"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    ]
