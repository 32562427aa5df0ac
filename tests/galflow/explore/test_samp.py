"""What is sent arrives at a program that listens, over astropy's own hub."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from urllib.parse import unquote, urlsplit

import pytest
from astropy.io import fits
from astropy.table import Table

from galflow.explore import samp
from galflow.explore.explored import ExploredRun
from galflow.explore.exports import Export, write_export
from galflow.explore.query import Query
from galflow.explore.stamps import stamp_of

with warnings.catch_warnings():  # astropy 8 says that pyvo will have it
    warnings.simplefilter("ignore")
    from astropy.samp import SAMPHubServer, SAMPIntegratedClient

Received = Queue[tuple[str, dict[str, str]]]
_WAIT_SECONDS = 60


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """Messages that a program at a hub of the test's own received."""
    lockfile = tmp_path / "samp-hub"
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{lockfile.as_uri()}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    hub = SAMPHubServer(web_profile=False, lockfile=str(lockfile), addr="127.0.0.1")
    hub.start()
    client = SAMPIntegratedClient(name="listener", addr="127.0.0.1")
    client.connect(hub_params={"samp.hub.xmlrpc.url": hub._url, "samp.secret": hub._hub_secret})
    received: Received = Queue()

    def take(key: str, sender: str, answer_to: str, kind: str, words: dict[str, str], extra: dict[str, str]) -> None:
        received.put((kind, words))
        client.reply(answer_to, {"samp.status": "samp.ok", "samp.result": {}})

    for kind in (samp.TABLE, samp.POSITION, samp.IMAGE):
        client.bind_receive_call(kind, take)
    yield received
    client.disconnect()
    hub.stop()


def _path(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))


def test_tables_positions_and_stamps_arrive(local_run: ExploredRun, listener: Received, tmp_path: Path) -> None:
    path = write_export(local_run, Export(Query(order="anomaly_rank"), "votable", 5), tmp_path)
    assert samp.send_table(path, "five rows") == ["listener"]
    assert samp.send_position(150.25, -2.5) == ["listener"]
    stamp = tmp_path / "stamp.fits"
    stamp.write_bytes(stamp_of(local_run, 3))
    assert samp.send_image(stamp, "an object") == ["listener"]
    found = dict(listener.get(timeout=_WAIT_SECONDS) for _ in range(3))
    table = Table.read(_path(found[samp.TABLE]["url"]), format="votable")
    assert [int(rank) for rank in table["anomaly_rank"]] == [1, 2, 3, 4, 5]
    assert (float(found[samp.POSITION]["ra"]), float(found[samp.POSITION]["dec"])) == (150.25, -2.5)
    with fits.open(_path(found[samp.IMAGE]["url"])) as files:
        assert files["FLUX"].header["RANK"] == 4


def test_without_a_hub_it_says_what_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMP_HUB", f"std-lockurl:{(tmp_path / 'none').as_uri()}")
    with pytest.raises(samp.NoListener, match="start TOPCAT or Aladin"):
        samp.send_position(1.0, 2.0)
