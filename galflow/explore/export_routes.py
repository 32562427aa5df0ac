"""What is taken along: files to be downloaded, and what is sent to other programs by SAMP.

A browser downloads by an address, with which no header goes: so whoever knows the token has a ticket made, and the
address with the ticket gives the file, once.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from galflow.errors import SpecError
from galflow.explore import samp
from galflow.explore.explored import ExploredRun
from galflow.explore.exports import Export, Format, rows_of, write_export
from galflow.explore.requests import Asked, Explored, object_number

router = APIRouter()
TICKETED = "/export/{ticket}"
_GOOD_FOR_SECONDS = 60.0


@dataclass
class Tickets:
    """Exports that were asked for and may be fetched, each once and soon."""

    _waiting: dict[str, tuple[float, Export]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def issue(self, export: Export) -> str:
        """What opens the download."""
        ticket, now = secrets.token_urlsafe(24), time.monotonic()
        with self._lock:
            self._waiting = {t: w for t, w in self._waiting.items() if now - w[0] < _GOOD_FOR_SECONDS}
            self._waiting[ticket] = (now, export)
        return ticket

    def redeem(self, ticket: str) -> Export:
        """What it is for; SpecError if it is none, or is used up or too old."""
        with self._lock:
            issued, export = self._waiting.pop(ticket, (0.0, None))
        if export is None or time.monotonic() - issued > _GOOD_FOR_SECONDS:
            raise SpecError("this download was fetched already, or was asked for too long ago; ask for it again")
        return export


def export_of(
    query: Asked, format: Format, limit: int | None = None, column: Annotated[list[str] | None, Query()] = None
) -> Export:
    """What is to be written."""
    return Export(query, format, limit, None if column is None else tuple(column))


Wanted = Annotated[Export, Depends(export_of)]


@router.post("/exports")
def ticket(request: Request, explored: Explored, export: Wanted) -> dict[str, Any]:
    """A ticket for a download, and how many rows it has; what cannot be written is refused here."""
    tickets: Tickets = request.app.state.tickets
    rows = rows_of(explored, export)
    return {"rows": rows, "ticket": tickets.issue(export)}


@router.get("/export")
def export(explored: Explored, wanted: Wanted) -> FileResponse:
    """The file, for programs that send the token."""
    return _file(explored, wanted)


@router.get(TICKETED)
def download(request: Request, explored: Explored, ticket: str) -> FileResponse:
    """The file, for a browser that has a ticket."""
    tickets: Tickets = request.app.state.tickets
    return _file(explored, tickets.redeem(ticket))


def _file(explored: ExploredRun, wanted: Export) -> FileResponse:
    """Written to a folder that is removed once the file is sent."""
    folder = tempfile.TemporaryDirectory(prefix="galflow-export-")
    try:
        path = write_export(explored, wanted, Path(folder.name))
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(path, filename=path.name, background=BackgroundTask(folder.cleanup))


@router.post("/samp/table")
def send_table(explored: Explored, query: Asked, limit: int | None = None) -> dict[str, Any]:
    """Have TOPCAT and the like load the rows."""
    wanted = Export(query, "votable", limit)
    path = write_export(explored, wanted, _kept_folder(explored))
    return {"rows": rows_of(explored, wanted), "told": samp.send_table(path, explored.name)}


@router.post("/samp/objects/{object_id}/{what}")
def send_object(explored: Explored, object_id: str, what: Literal["position", "stamp"]) -> dict[str, Any]:
    """Have Aladin and the like show an object's place, or load its pixels."""
    number = explored.numbers_of(object_number(object_id))[0]
    row = explored.rows.fetch([number], ["object_id", "ra", "dec"]).to_pylist()[0]
    if what == "position":
        if row["ra"] is None or row["dec"] is None:
            raise SpecError(f"object {object_id} has no position on the sky")
        return {"told": samp.send_position(row["ra"], row["dec"])}
    path = _kept_folder(explored) / f"{object_id}.fits"
    from galflow.explore.stamps import stamp_of  # astropy's FITS, without which the explorer starts

    path.write_bytes(stamp_of(explored, number))
    return {"told": samp.send_image(path, str(object_id))}


def _kept_folder(explored: ExploredRun) -> Path:
    """A new folder for what another program is about to read; they are removed when the explorer ends."""
    return Path(tempfile.mkdtemp(dir=explored.sent.name))
