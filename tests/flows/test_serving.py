"""`galflow serve` as a process of its own: it answers, runs what is asked for through the API, and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows import serving
from galflow.errors import GalflowError

PATIENCE_SECONDS = 150
TINY: dict[str, Any] = {
    "name": "served",
    "survey": {"kind": "synthetic", "options": {"tiles": 1, "tile_size": 128, "objects_per_tile": 9}},
    "cutouts": {"size": 16},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
    "cluster": {"workers": 1},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(happened: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if found := happened():
            return found
        time.sleep(0.2)
    pytest.fail(f"waited {PATIENCE_SECONDS} s in vain for {what}")


@dataclass(frozen=True)
class Served:
    """A running `galflow serve`."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def complained(self) -> str:
        return (self.folder / "err").read_text()

    def ask(self, path: str, question: Any = None) -> Any:
        """Prefect's REST API."""
        data = None if question is None else json.dumps(question).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def start_run(self, flow: str, spec: dict[str, Any]) -> str:
        deployment = self.ask(f"deployments/name/{flow}/adhoc")
        return self.ask(f"deployments/{deployment['id']}/create_flow_run", {"parameters": {"spec": spec}})["id"]

    def state(self, run: str) -> str:
        return self.ask(f"flow_runs/{run}")["state"]["type"]

    def family(self) -> list[psutil.Process]:
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]


def start(folder: Path) -> Served:
    port = free_port()
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "GALFLOW_", "DO_NOT_TRACK"))}
    words = [sys.executable, "-m", "flows.cli", "serve", "--port", str(port), "--root", str(folder / "products")]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            words, stdout=out, stderr=err, cwd=folder, start_new_session=True,
            env=kept | {"PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    found = Served(port, folder, process)
    wait_for(lambda: "products go to" in found.said or process.poll() is not None, "galflow serve")
    assert process.poll() is None, found.complained
    return found


@pytest.fixture(scope="module")
def all_served() -> Iterator[list[Served]]:
    """Those that have been started, the last of which may still run."""
    started: list[Served] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(60)


@pytest.fixture
def served(all_served: list[Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """One that runs: the last one, or another where a test has stopped it."""
    if not all_served or all_served[-1].process.poll() is not None:
        all_served.append(start(tmp_path_factory.mktemp("served")))
    return all_served[-1]


def test_offers_every_flow_with_the_demo_in_its_form(served: Served) -> None:
    root = f"file://{served.folder / 'products'}"
    assert served.said.splitlines() == [
        f"UI at http://127.0.0.1:{served.port} - start a run from its Deployments page; stop with Ctrl-C",
        f"products go to {root}, unless store.root in the form says otherwise",
    ]
    assert served.ask("health") is True
    offered = served.ask("deployments/filter", {})
    assert {d["entrypoint"].rpartition(":")[2] for d in offered} == {
        "survey_run", "publish_run", "ingest_survey", "train", "score", "compare_with_sky",
    }  # fmt: skip
    for deployment in offered:
        assert deployment["parameters"]["spec"]["name"] == "demo"
        assert deployment["parameters"]["spec"]["store"] == {"root": root}
        assert deployment["description"]


def test_listens_on_this_machine_alone_and_tells_nobody(served: Served) -> None:
    listening = [c for p in served.family() for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert served.port in {c.laddr.port for c in listening}
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    children = served.family()[1:]
    assert len(children) >= 2
    for child in children:
        told = child.environ()
        assert (told["DO_NOT_TRACK"], told["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")


def test_runs_what_is_asked_for_through_the_api(served: Served, tmp_path: Path) -> None:
    run = served.start_run("ingest", TINY | {"store": {"root": str(tmp_path / "store")}})
    ended = wait_for(lambda: (s := served.state(run)) not in ("SCHEDULED", "PENDING", "RUNNING") and s, "the run")
    assert ended == "COMPLETED", served.complained
    assert len(list((tmp_path / "store" / "cutouts").rglob("*.receipt.json"))) == 1


def test_refuses_a_port_that_is_taken(served: Served) -> None:
    with pytest.raises(
        GalflowError, match=rf"port {served.port} of 127.0.0.1 cannot be had .*choose another with --port"
    ):
        serving.serve_here(served.port, None)


def test_leaves_nothing_behind_when_it_is_interrupted(served: Served) -> None:
    family = served.family()
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(60) == 0
    require_gone(served, family)


@pytest.mark.full
def test_leaves_nothing_behind_when_it_is_ended_in_the_middle_of_a_run(served: Served, tmp_path: Path) -> None:
    long = {"training": {"epochs": 100_000, "batch_size": 4}, "models": [{"name": "vae", "model": "vae.VAE"}]}
    run = served.start_run("train", TINY | long | {"store": {"root": str(tmp_path / "store")}})
    wait_for(lambda: served.state(run) == "RUNNING", "the run to start")
    wait_for(lambda: len(served.family()) > 4, "its worker")
    family = served.family()
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) == 0
    require_gone(served, family)
    with contextlib.closing(sqlite3.connect(served.folder / "prefect" / "prefect.db")) as books:
        assert books.execute("select state_type from flow_run where id = ?", (run,)).fetchall() == [("CRASHED",)]


def require_gone(served: Served, family: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(family, timeout=1)
    assert not alive
    assert served.complained.splitlines()[-1] == "stopping ..."
    assert "Traceback" not in served.complained
    serving.require_free(served.port)


def test_server_that_ends_by_itself_is_told_with_its_folder(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "prefect").write_text("a file where Prefect wants a folder")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(GalflowError, match=rf"the Prefect server ended by itself \(exit 3\).*{tmp_path}"):
        serving.serve_here(free_port(), str(tmp_path / "store"))
    assert signal.getsignal(signal.SIGTERM) is before
    capfd.readouterr()
