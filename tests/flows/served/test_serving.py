"""`galflow serve` as a process of its own: it answers, runs what is asked for through the API, and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from flows import serving
from galflow.errors import GalflowError, SpecError
from galflow.runs.opened import open_run

if TYPE_CHECKING:
    from conftest import Served


def test_offers_every_flow_with_a_first_run_in_its_form(served: Served) -> None:
    root = f"file://{served.folder / 'galflow-out'}"
    assert served.said.splitlines() == [
        f"UI at http://127.0.0.1:{served.port} - start a run from its Deployments page; stop with Ctrl-C",
        f"log in with {served.login} (kept in {served.folder}/prefect/galflow-login)",
        f"products go to {root}, unless store.root in the form says otherwise",
        "nightly.yaml runs by itself: 30 2 * * * (Asia/Tokyo)",
        f"`galflow release` and `galflow watch` reach it with PREFECT_API_URL={served.api}",
    ]
    assert served.ask("health") is True
    offered = served.ask("deployments/filter", {})
    assert {d["name"]: d["entrypoint"].rpartition(".")[2] for d in offered} == {
        "survey-adhoc": "survey_run", "survey-nightly": "survey_run", "reprocess": "reprocess",
        "publish-adhoc": "publish_run", "ingest-adhoc": "ingest_survey", "train-adhoc": "train",
        "score-adhoc": "score", "compare-adhoc": "compare_with_sky", "simulations-adhoc": "compare_simulations",
        "emulate-adhoc": "emulate",
    }  # fmt: skip
    for deployment in offered:
        assert deployment["description"]
        if deployment["name"] != "survey-nightly":
            name = {"emulate-adhoc": "emulated", "simulations-adhoc": "first-comparison"}.get(deployment["name"])
            assert deployment["parameters"]["spec"]["name"] == (name or "first-run")
            assert f'"{root}"' in json.dumps(deployment["parameters"]["spec"])


def test_listens_on_this_machine_alone_and_tells_nobody(served: Served) -> None:
    listening = served.listening()
    assert ("127.0.0.1", served.port) in listening
    assert {address for address, _ in listening} == {"127.0.0.1"}
    server, runner = psutil.Process(served.process.pid).children()
    for child in (server, runner):
        told = child.environ()
        assert (told["DO_NOT_TRACK"], told["PREFECT_SERVER_ANALYTICS_ENABLED"]) == ("1", "false")


def test_refuses_what_cannot_be_meant_before_there_is_a_run(served: Served) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        served.start_run("survey-run/survey-adhoc", served.tiny | {"survey": {"kind": "hubbel"}})
    answer = refused.value.response
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("To mend: survey.kind")
    assert "hubbel" in answer.json()["detail"]
    assert served.runs_of("survey-run/survey-adhoc") == []


@pytest.mark.full
def test_runs_what_is_asked_for_through_the_api(served: Served, tmp_path: Path) -> None:
    run = served.start_run("ingest/ingest-adhoc", served.tiny | {"store": {"root": str(tmp_path / "store")}})
    assert served.end_of(run) == "COMPLETED", served.complained
    assert len(list((tmp_path / "store" / "cutouts").rglob("*.receipt.json"))) == 1


@pytest.mark.full
def test_simulations_are_compared_through_the_api(served: Served, tmp_path: Path) -> None:
    sky = {"tiles": 1, "tile_size": 320, "objects_per_tile": 80, "anomaly_fraction": 0.0}
    mock = {"kind": "synthetic", "name": "simulation", "options": sky | {"seed": 4}}
    compared = served.tiny | {
        "survey": {"kind": "synthetic", "options": sky},
        "models": [{"name": "pca", "model": "pca.PCA"}],
        "training": {"reference_fraction": 0.45},
        "store": {"root": str(tmp_path / "store")},
    }
    run = served.start_run("compare-simulations/simulations-adhoc", compared)
    assert served.end_of(run) == "FAILED", "there is no simulation to compare"
    assert "comparison.samples is empty" in served.complained
    compared |= {"comparison": {"bootstraps": 50, "samples": [{"name": "mock", "survey": mock}]}}
    run = served.start_run("compare-simulations/simulations-adhoc", compared)
    assert served.end_of(run) == "COMPLETED", served.complained
    opened = open_run(str(tmp_path / "store"))
    assert {None, "mock", "background_galaxies", "empty_sky"} == set(opened.likelihoods["sample"].to_pylist())
    assert opened.report is not None


def test_refuses_a_port_that_is_taken(served: Served) -> None:
    with pytest.raises(
        GalflowError, match=rf"port {served.port} of 127.0.0.1 cannot be had .*choose another with --port"
    ):
        serving.serve_here(served.port, None)


def test_leaves_nothing_behind_when_it_is_interrupted(served: Served) -> None:
    served.wait_for(lambda: served.runs_of("survey-run/survey-nightly"), "the scheduled runs")
    family, before = served.family(), len(served.complained)
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(60) == 0
    require_gone(served, family, before)
    # The nights while it is not up are not made up for when it is again.
    assert books_of(served, "select count(*) from flow_run where auto_scheduled") == [(0,)]


def books_of(served: Served, question: str, *values: str) -> list[tuple[Any, ...]]:
    """What Prefect's database answers when its server is gone."""
    with contextlib.closing(sqlite3.connect(served.folder / "prefect" / "prefect.db")) as books:
        return books.execute(question, values).fetchall()


@pytest.mark.full
def test_leaves_nothing_behind_when_it_is_ended_in_the_middle_of_a_run(served: Served, tmp_path: Path) -> None:
    long = {"training": {"epochs": 100_000, "batch_size": 4}, "models": [{"name": "vae", "model": "vae.VAE"}]}
    run = served.start_run("train/train-adhoc", served.tiny | long | {"store": {"root": str(tmp_path / "store")}})
    served.wait_for(lambda: served.state(run) == "RUNNING", "the run to start")
    served.wait_for(lambda: len(served.family()) > 4, "its worker")
    assert {address for address, _ in served.listening()} == {"127.0.0.1"}  # its Dask too
    family, before = served.family(), len(served.complained)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) == 0
    require_gone(served, family, before)
    assert books_of(served, "select state_type from flow_run where id = ?", run) == [("CRASHED",)]


def require_gone(served: Served, family: list[psutil.Process], before: int) -> None:
    _, alive = psutil.wait_procs(family, timeout=1)
    assert not alive
    assert served.complained.splitlines()[-1] == "stopping ..."
    assert "Traceback" not in served.complained[before:]
    assert not list((served.folder / "prefect").glob("galflow-served-*"))
    serving.require_free(served.port)


@pytest.mark.full
def test_server_that_ends_by_itself_is_told_with_its_folder(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "prefect" / "prefect.db").mkdir(parents=True)  # a folder where Prefect wants a file
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(GalflowError, match=rf"the Prefect server ended by itself \(exit 3\).*{tmp_path}"):
        serving.serve_here(a_free_port(), str(tmp_path / "store"))
    assert signal.getsignal(signal.SIGTERM) is before
    capfd.readouterr()


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("nightly", "text"),
    [
        (serving.Nightly("every night"), r"--cron 'every night' .* is no schedule .*write minute, hour"),
        (serving.Nightly(timezone="Mars/Olympus"), r"--timezone 'Mars/Olympus' is no schedule .*zone such as Europe"),
        (serving.Nightly(specification=Path("absent.yaml")), r"cannot read the specification absent.yaml"),
    ],
)
def test_a_nightly_run_that_cannot_be_meant_is_refused_before_anything_starts(
    nightly: serving.Nightly, text: str
) -> None:
    with pytest.raises(SpecError, match=text):
        serving.serve_here(a_free_port(), None, nightly)
