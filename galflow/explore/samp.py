"""Tables, positions and stamps sent to TOPCAT, Aladin, DS9 and whatever else listens to SAMP on this machine.

SAMP: IVOA Simple Application Messaging Protocol 1.3. The hub is the one that runs already, as TOPCAT and Aladin start
it; nothing is started here, and nothing from elsewhere is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from astropy.samp import SAMPHubError, SAMPIntegratedClient, SAMPProxyError

from galflow import __version__
from galflow.errors import GalflowError

TABLE, POSITION, IMAGE = "table.load.votable", "coord.pointAt.sky", "image.load.fits"
_METADATA = {
    "samp.name": "galflow",
    "samp.description.text": "galflow explore: every row of a run's catalogue",
    "galflow.version": __version__,
}


class NoHub(GalflowError):
    """Nothing on this machine speaks SAMP."""


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
    with _connected() as client:
        listening = list(client.get_subscribed_clients(kind))
        names = [str(client.get_metadata(one).get("samp.name", one)) for one in listening]
        if not listening:
            raise NoHub(f"no program at the SAMP hub takes {kind}; start TOPCAT or Aladin, and send it again")
        client.notify_all({"samp.mtype": kind, "samp.params": dict(parameters)})
    return names


@contextmanager
def _connected() -> Iterator[SAMPIntegratedClient]:
    client = SAMPIntegratedClient(metadata=_METADATA, callable=False, addr="127.0.0.1")
    try:
        client.connect()
    except (SAMPHubError, SAMPProxyError, OSError) as error:
        raise NoHub(f"no SAMP hub runs on this machine ({error}); start TOPCAT or Aladin, and send it again") from error
    try:
        yield client
    finally:
        client.disconnect()
