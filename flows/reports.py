"""Serves published reports on the address of Prefect's UI, from a folder or an S3 store, by signed links alone.

A report is a page of whoever wrote its store. So the browser is told to give it no origin: its scripts can reach
neither Prefect's API nor the login that the UI keeps in the browser.
"""

from __future__ import annotations

import mimetypes
import re
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from galflow.errors import GalflowError
from galflow.storage.store import Store
from tasks.report_links import PATH, ReportFolder

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,+=@ -]*")
"""One part of a file's path: no dot in front, so neither a hidden file nor a way up."""
_OWN_ONLY = "'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
_HEADERS = {
    "content-security-policy": (
        # What a link opens (Aladin, SIMBAD) is a page of its own and needs an origin.
        "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-downloads allow-modals; "
        f"default-src {_OWN_ONLY}; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "access-control-allow-origin": "null",  # a page without an origin may read its own data files
    "referrer-policy": "no-referrer",  # the link is what opens it
    "cache-control": "private, no-cache",
}


class NoSuchReport(GalflowError):
    """Nothing is published there."""


def reports(login: str) -> Starlette:
    """The app that answers ``/reports/...``; ``login`` is what links are signed with."""

    async def answer(request: Request) -> Response:
        words: dict[str, Any] = request.path_params
        folder = ReportFolder.read(login, words["signature"], words["told"])
        if folder is None:
            return PlainTextResponse(
                "this link was not made by a run of this service, or its login has changed since; the catalogue and "
                "the report lie in the run's store",
                403,
            )
        try:
            content = await run_in_threadpool(read_file, folder, words["name"])
        except NoSuchReport as error:
            return PlainTextResponse(str(error), 404)
        except GalflowError as error:
            return PlainTextResponse(f"the report's store does not give it: {error}", 502)
        kind = mimetypes.guess_type(words["name"])[0] or "application/octet-stream"
        return Response(content, media_type=kind, headers=_HEADERS)

    return Starlette(routes=[Route(f"{PATH}/{{signature}}/{{told}}/{{name:path}}", answer)])


def read_file(folder: ReportFolder, name: str) -> bytes:
    """A file of a report. NoSuchReport if there is none, or its name or a link leads out of the report's folder."""
    absent = NoSuchReport(f"report {folder.run!r} has no file {name!r}; expected one such as index.html")
    if not all(_NAME.fullmatch(part) for part in (folder.run, *name.split("/"))):
        raise absent
    store = Store.open(folder.root, folder.endpoint_url)
    key = f"{folder.prefix}/{name}"
    if store.is_local:
        inside = Path(store.root.removeprefix("file://"), folder.prefix).resolve()
        if not Path(store.root.removeprefix("file://"), key).resolve().is_relative_to(inside):
            raise absent
    if not store.exists(key):
        raise absent
    return store.get(key)
