"""What starts runs without a person, on a real server: a new release, the clock; and who is told when one fails."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import yaml

from flows.run_state import WITH_FAILURES
from galflow.catalog.published import read_published
from galflow.storage.receipts import list_runs, read_manifest
from galflow.storage.store import Store

if TYPE_CHECKING:
    from conftest import Command, RunToItsEnd, Served

POLL_SECONDS = 12
"""A little more than the runner lets pass between two looks for runs."""
PROJECT = Path(__file__).resolve().parents[3]


def cutout_files(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (root / "cutouts").rglob("*") if path.is_file()}


def test_the_clock_is_set_to_the_nightly_times(served: Served) -> None:
    """Prefect's scheduler has written down the coming runs: with SQLAlchemy 2.1 it fails at that and nothing fires."""
    coming = served.wait_for(lambda: served.runs_of("survey-run/survey-nightly"), "the scheduled runs")
    first = datetime.fromisoformat(coming[0]["expected_start_time"]).astimezone(ZoneInfo("Asia/Tokyo"))
    assert (first.hour, first.minute) == (2, 30)
    assert first - datetime.now(ZoneInfo("UTC")) <= timedelta(days=1)
    assert coming[0]["auto_scheduled"]
    assert coming[0]["parameters"]["spec"]["name"] == "nightly"
    assert served.runs_of("survey-run/survey-adhoc") == []


def test_a_release_starts_reprocess_with_what_the_event_carries(
    served: Served, galflow: Command, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(served.tiny | {"name": "released", "store": {"root": str(root)}}))
    run = release(served, galflow, "dr2", "--spec", str(spec))
    assert run["parameters"]["spec"]["survey"]["name"] == "mock"
    assert served.end_of(run["id"]) == "COMPLETED", served.complained
    shown = httpx.get(served.report_link(run["id"]))
    assert (shown.status_code, "released" in shown.text) == (200, True)
    (published,) = list_runs(Store.open(root))
    assert read_manifest(Store.open(root), published).specification["survey"]["release"] == "dr2"


def release(served: Served, galflow: Command, name: str, *words: str) -> dict[str, Any]:
    """Publish a release by the command; the run that it starts."""
    before = {run["id"] for run in served.runs_of("reprocess/reprocess")}
    told = galflow("release", "mock", name, *words, **served.environment)
    assert told.returncode == 0, told.stderr
    assert told.stdout == (
        f"galflow.release.published: release {name} of survey mock, for released; told {served.api}\n"
    )  # fmt: skip
    (run,) = served.wait_for(
        lambda: [r for r in served.runs_of("reprocess/reprocess") if r["id"] not in before], "the automation"
    )
    assert run["parameters"]["release"] == name
    assert run["parameters"]["spec"]["name"] == "released"
    return run


@pytest.mark.full
def test_a_release_of_unchanged_tiles_makes_nothing_anew_but_the_catalogue(
    served: Served, galflow: Command, run_to_its_end: RunToItsEnd, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    finished = run_to_its_end(tmp_path, served.tiny | {"name": "released"}, **served.environment)
    first, cut = finished.manifest.run, cutout_files(root)
    # Without a specification: what was published last of this survey.
    run = release(served, galflow, "dr3", "--root", str(root))
    assert served.end_of(run["id"]) == "COMPLETED", served.complained
    (later,) = set(list_runs(finished.store)) - {first}
    manifest = read_manifest(finished.store, later)
    assert manifest.specification["survey"]["release"] == "dr3"
    # A row keeps the release that its tile was cut under.
    assert set(read_published(manifest.located(finished.store).catalog)["release"].to_pylist()) == {"1"}
    assert cutout_files(root) == cut


@pytest.mark.full
def test_a_watcher_tells_the_server_what_it_found(served: Served, galflow: Command, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(yaml.safe_dump(served.tiny | {"name": "seen", "store": {"root": str(tmp_path / "s")}}))
    before = {run["id"] for run in served.runs_of("reprocess/reprocess")}
    said = galflow("watch", str(spec), "--once", **served.environment)
    assert said.returncode == 0, said.stderr
    assert said.stdout == f"seen: 1 new: t00000 (since ever); emitted galflow.release.published to {served.api}\n"
    runs = served.wait_for(
        lambda: [r for r in served.runs_of("reprocess/reprocess") if r["id"] not in before], "the automation"
    )
    assert [run["parameters"]["spec"]["name"] for run in runs] == ["seen"]
    wanted = {"filter": {"event": {"name": ["galflow.release.published"]}}}
    # The server writes events down in batches: an automation can act on one that it does not yet list.
    (event,) = served.wait_for(
        lambda: [e for e in served.ask("events/filter", wanted)["events"] if e["payload"]["run_name"] == "seen"],
        "the event",
    )
    assert event["resource"] == {
        "prefect.resource.id": "galflow.survey.mock", "prefect.resource.name": "mock", "galflow.release": "1",
    }  # fmt: skip
    payload = event["payload"]
    assert payload.pop("spec")["survey"]["name"] == "mock"
    assert payload == {
        "survey": "mock", "release": "1", "run_name": "seen", "since": None, "new": ["t00000"], "changed": [],
        "gone": [],
    }  # fmt: skip
    assert served.end_of(runs[0]["id"]) == "COMPLETED", served.complained


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that takes notifications, and what it has taken."""
    taken: list[dict[str, Any]] = []

    class Taker(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", taken
        server.shutdown()
        thread.join()


@pytest.mark.full
def test_a_failed_run_is_told_through_a_block_that_keeps_the_secret(
    served: Served, webhook: tuple[str, list[dict[str, Any]]]
) -> None:
    address, taken = webhook
    secret = "hook-secret-7d1f"
    kind = served.ask("block_types/slug/custom-webhook")
    schema = served.ask("block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})[0]
    block = served.ask(
        "block_documents/",
        {
            "name": "team", "block_type_id": kind["id"], "block_schema_id": schema["id"],
            "data": {
                "name": "team", "url": address, "json_data": {"text": "{{subject}}|{{body}}", "key": "{{key}}"},
                "secrets": {"key": secret},
            },
        },
    )  # fmt: skip
    # Registered twice, as after an update: still one of each.
    for _ in range(2):
        done = subprocess.run(
            ["sh", str(PROJECT / "deploy" / "notify"), block["id"]], capture_output=True, text=True, check=False,
            env=os.environ | {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PREFECT_API_URL": served.api,
                "PREFECT_API_AUTH_STRING": served.login,
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    names = [automation["name"] for automation in served.ask("automations/filter", {})]
    assert sorted(names) == [
        "galflow: a new release is reprocessed", "galflow: a run failed or crashed", "galflow: a run waits too long",
        "galflow: a run was done with failures",
    ]  # fmt: skip

    # A run that is not begun before tomorrow, and fails at once.
    tomorrow = (datetime.now(ZoneInfo("UTC")) + timedelta(days=1)).isoformat()
    run = served.start_run("ingest/ingest-adhoc", served.tiny, tomorrow)
    failed = {"type": "FAILED", "message": "band none-such is not there"}
    served.ask(f"flow_runs/{run}/set_state", {"state": failed, "force": True})
    name = served.ask(f"flow_runs/{run}")["name"]
    told = served.wait_for(lambda: [t for t in taken if name in t["text"]], "the notification")
    assert told[0]["text"].startswith(f"galflow: ingest {name} Failed|")
    assert "none-such" in told[0]["text"]
    assert told[0]["key"] == secret

    run = served.start_run("ingest/ingest-adhoc", served.tiny, tomorrow)
    partly = {"type": "COMPLETED", "name": WITH_FAILURES, "message": "1 of its parts failed: cut t00007"}
    served.ask(f"flow_runs/{run}/set_state", {"state": partly, "force": True})
    name = served.ask(f"flow_runs/{run}")["name"]
    told = served.wait_for(lambda: [t for t in taken if name in t["text"]], "the notification")
    assert told[0]["text"].startswith(f"galflow: ingest {name} is done with failures|")
    assert "cut t00007" in told[0]["text"]
    assert secret not in served.complained + served.said


@pytest.mark.full
def test_cron_starts_the_nightly_run(served: Served) -> None:
    deployment = served.deployment("survey-run/survey-nightly")
    (schedule,) = deployment["schedules"]
    where = f"deployments/{deployment['id']}/schedules/{schedule['id']}"
    served.ask(where, {"schedule": {"cron": "* * * * *", "timezone": "UTC"}}, "PATCH")
    try:
        run = served.wait_for(
            lambda: [r for r in served.runs_of("survey-run/survey-nightly") if r["state_type"] == "COMPLETED"], "cron"
        )[0]
    finally:
        served.ask(where, {"active": False}, "PATCH")
    assert run["auto_scheduled"]
    assert len(list_runs(Store.open(served.folder / "nightly"))) == 1


@pytest.mark.full
def test_a_cancelled_run_leaves_a_store_that_the_next_one_continues(served: Served, tmp_path: Path) -> None:
    root = tmp_path / "store"
    long = {
        "name": "cancelled", "store": {"root": str(root)}, "training": {"batch_size": 4, "checkpoint_seconds": 0.1},
        "models": [{"name": "vae", "model": "vae.VAE", "options": {"width": 8}, "training": {"epochs": 20_000}}],
    }  # fmt: skip
    run = served.start_run("survey-run/survey-adhoc", served.tiny | long)
    served.wait_for(
        lambda: [at for at, _, names in os.walk(root / "models") if "checkpoint.pt" in names], "a checkpoint"
    )
    cut = cutout_files(root)
    short = long | {"models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}]}
    again = served.start_run("survey-run/survey-adhoc", served.tiny | short)
    time.sleep(POLL_SECONDS)
    # One run at a time: the second waits.
    assert (served.state(run), served.state(again)) == ("RUNNING", "SCHEDULED")
    began = time.monotonic()
    served.cancel(run)
    assert time.monotonic() - began < 3 * POLL_SECONDS
    assert len(cut) > 1
    assert not (root / "runs").exists() or not list_runs(Store.open(root))

    assert served.end_of(again) == "COMPLETED", served.complained
    assert len(list_runs(Store.open(root))) == 1
    assert {path: time for path, time in cutout_files(root).items() if path in cut} == cut
