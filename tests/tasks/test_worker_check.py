"""What a worker answers before it gets work: what it lacks for good, and what may pass."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from distributed import Client, LocalCluster

from galflow.logs import LogSettings
from galflow.storage.store import Store
from tasks.unit_log import LogOfUnits
from tasks.worker_check import Answer, Needs, Question, prepare


@pytest.fixture
def client() -> Iterator[Client]:
    """Of one worker, in this process."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def answer(client: Client, needs: Needs, probe: str = "probe/run") -> Answer:
    (found,) = client.run(prepare, Question(needs, probe, (), 1, LogOfUnits(LogSettings()))).values()
    assert isinstance(found, Answer)
    return found


def _asked_at(port: int, what: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> Answer:
    names = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in (names | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # which other tests have made for their own servers
    root = "s3://nowhere/survey"
    return answer(client, Needs(store=Store.open(root)) if what == "store" else Needs(files=(f"{root}/tile.fits",)))


@pytest.mark.parametrize("what", ["store", "files"])
def test_a_server_that_is_not_there_may_come_back(what: str, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        found = _asked_at(closed.getsockname()[1], what, client, monkeypatch)
    assert found.may_pass
    (lacks,) = found.lacks
    assert lacks.startswith("it cannot use the store or the survey's files: ")
    assert "s3://nowhere/survey" in lacks


def test_what_is_absent_does_not_come_by_itself(client: Client, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    there, absent = tmp_path / "a.fits", tmp_path / "b.fits"
    there.write_bytes(b"SIMPLE")
    found = answer(client, Needs(store, (there.as_uri(), absent.as_uri())))
    assert not found.may_pass
    other_place, no_file = found.lacks
    assert "is another place here than for the run: what the run wrote there is not found" in other_place
    assert f"it cannot read the survey's file {absent.as_uri()}" in no_file
    store.put("probe/run", b"probe/run")
    assert answer(client, Needs(store, (there.as_uri(),))) == Answer(found.host, ())
    assert store.list("probe") == ["probe/run"]
