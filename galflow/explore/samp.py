"""Tables, positions and stamps sent to TOPCAT, Aladin, DS9 and whatever else listens to SAMP on this machine.

SAMP 1.3 (IVOA Simple Application Messaging Protocol), its Standard Profile: a hub, as TOPCAT and Aladin start one, says
in a file of the user's home where it answers by XML-RPC and with which secret. galflow only sends: it starts no hub and
takes no message. astropy.samp would do it too, but is deprecated and will be removed.
"""

from __future__ import annotations

import os
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from galflow.errors import GalflowError

TABLE, POSITION, IMAGE = "table.load.votable", "coord.pointAt.sky", "image.load.fits"
_METADATA = {"samp.name": "galflow", "samp.description.text": "Every row of a run's catalogue: galflow explore"}
_LOCKFILE, _LOCKURL = "SAMP_HUB", "std-lockurl:"
_ANSWER_SECONDS = 30
"""A program has so long to take what it is sent."""
_START = "start TOPCAT or Aladin, and send it again"


class NoListener(GalflowError):
    """Nothing on this machine takes what is to be sent."""


def send_table(votable: Path, name: str) -> list[str]:
    """Have a VOTable loaded; the names of the programs that were told."""
    return _send(TABLE, {"url": votable.resolve().as_uri(), "table-id": f"galflow:{name}", "name": name})


def send_position(ra: float, dec: float) -> list[str]:
    """Have a place on the sky shown, in degrees (ICRS)."""
    return _send(POSITION, {"ra": repr(ra), "dec": repr(dec)})


def send_image(stamp: Path, name: str) -> list[str]:
    """Have a FITS image loaded."""
    return _send(IMAGE, {"url": stamp.resolve().as_uri(), "image-id": f"galflow:{name}", "name": name})


def _send(kind: str, parameters: Mapping[str, str]) -> list[str]:
    with _registered() as hub:
        listening = hub.call("getSubscribedClients", kind)
        if not listening:
            raise NoListener(f"no program at the SAMP hub takes {kind}; {_START}")
        # Not notifyAll: a hub may hand a message on later, and drops it when its sender has gone by then.
        message = {"samp.mtype": kind, "samp.params": dict(parameters)}
        for one in listening:
            hub.call("callAndWait", one, message, str(_ANSWER_SECONDS))
        return sorted(str(hub.call("getMetadata", one).get("samp.name", one)) for one in listening)


@dataclass(frozen=True)
class _Hub:
    """A hub at which galflow is registered."""

    server: xmlrpc.client.ServerProxy
    key: str

    def call(self, verb: str, *arguments: Any) -> Any:
        return getattr(self.server.samp.hub, verb)(self.key, *arguments)


@contextmanager
def _registered() -> Iterator[_Hub]:
    lockfile = _lockfile()
    try:
        lines = lockfile.read_text(encoding="utf-8").splitlines()
        said = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        server = xmlrpc.client.ServerProxy(said["samp.hub.xmlrpc.url"])
        hub = _Hub(server, server.samp.hub.register(said["samp.secret"])["samp.private-key"])  # type: ignore[index,call-overload]
    except (OSError, KeyError, ValueError, xmlrpc.client.Error) as error:
        raise NoListener(f"no SAMP hub answers as {lockfile} says ({error}); {_START}") from error
    try:
        hub.call("declareMetadata", _METADATA)
        yield hub
    except (OSError, xmlrpc.client.Error) as error:
        raise NoListener(f"the SAMP hub does not take it ({error}); {_START}") from error
    finally:
        hub.call("unregister")


def _lockfile() -> Path:
    """Where the user's hub says how it is reached."""
    named = os.environ.get(_LOCKFILE, "")
    if named.startswith(_LOCKURL):
        return Path(unquote(urlsplit(named.removeprefix(_LOCKURL)).path))
    return Path.home() / ".samp"
