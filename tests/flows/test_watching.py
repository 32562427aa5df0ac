"""A run as it is watched: the real command, with a Prefect server and a store on S3, and a warning from a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from galflow.storage.receipts import verify_store

if TYPE_CHECKING:
    from conftest import RunToItsEnd

EMPTY = "the validation split is empty: phase 0 trains without early stopping"
WATCHED: dict[str, Any] = {
    "name": "watched",
    "survey": {"kind": "synthetic", "name": "mock", "options": {"tiles": 2, "tile_size": 128, "objects_per_tile": 9}},
    "cutouts": {"size": 16},
    "models": [{"name": "vae", "model": "vae.VAE", "options": {"latent": 2, "width": 4}}],
    # Of so few objects none is chosen for validation.
    "training": {"epochs": 1, "patience": 1, "batch_size": 8, "validation_fraction": 0.001, "reference_fraction": 0.3},
    "cluster": {"workers": 1, "performance_report": True},
}


@pytest.mark.s3
def test_a_run_is_told_in_the_log_on_its_page_and_in_dasks_report(
    run_to_its_end: RunToItsEnd,
    prefect_api: dict[str, str],
    ask: Callable[..., Any],
    s3_root: str,
    s3_server: Any,
    tmp_path: Path,
) -> None:
    json_log = {"GALFLOW_LOG_FORMAT": "json", "GALFLOW_LOG_LEVEL": "INFO"}
    finished = run_to_its_end(tmp_path, WATCHED, s3_root, **prefect_api, **json_log)
    run = finished.manifest.run
    greeting, *lines = finished.process.stderr.splitlines()
    assert greeting.startswith(f"{run}: ")
    log = [json.loads(line) for line in lines]
    (place,) = {record["run"] for record in log}
    flow_run = place.partition("/")[2]
    units = [(r["stage"], r["unit"], r["message"].split()[0]) for r in log if r["logger"] == "tasks.unit_log"]
    assert sorted(units) == [
        ("ingest", "t00000", "done:"), ("ingest", "t00001", "done:"), ("publish", "part-00000.parquet", "done:"),
        ("rank", "mock", "partial:"), ("score", "t00000", "done:"), ("score", "t00001", "done:"),
        ("train", "vae", "partial:"),
    ]  # fmt: skip
    stages = {r["stage"]: r["message"].partition(" in ")[0] for r in log if r["logger"] == "tasks.monitoring"}
    assert stages["ingest"] == stages["join"] == stages["score"] == "2 made, 0 done before, 0 failed"
    assert set(stages) == {"check", "ingest", "join", "train", "rank", "score", "compare", "publish"}
    (dashboard,) = [r for r in log if r["message"].startswith("Dask's dashboard is at http://127.0.0.1:")]
    (warned,) = [r for r in log if r["level"] == "WARNING"]
    assert (warned["message"], warned["stage"], warned["unit"]) == (EMPTY, "train", "vae")
    assert warned["pid"] != dashboard["pid"]

    # Prefect was told the warning and nothing else, and has a page of this run.
    told = ask("logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run]}}})
    assert [(entry["level"], entry["message"]) for entry in told if entry["name"].startswith("galflow")] == [
        (30, f"{EMPTY} [{place.partition('/')[0]} train vae]")
    ]
    assert [entry for entry in told if entry["name"].startswith("tasks")] == []
    found = ask("artifacts/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
    pages = {artifact["key"]: artifact["data"] for artifact in found}
    address = f"{s3_server.endpoint_url}/{finished.root.removeprefix('s3://')}/reports/{run}"
    assert pages["galflow-report"] == f"[the run's report]({address}/index.html)"
    rows = [line.rpartition(" | ")[0] for line in pages["galflow-run"].splitlines() if line.startswith("| ")]
    assert rows[1:] == [
        "| check |  |  | ", "| ingest | 2 | 0 | 0", "| join | 2 | 0 | 0", "| train | 1 | 0 | 0",
        "| rank | 1 | 0 | 0", "| score | 2 | 0 | 0", "| compare | 0 | 0 | 0", "| publish |  |  | ",
    ]  # fmt: skip
    assert f"({address}/index.html)" in pages["galflow-run"]
    assert "dashboard" not in pages["galflow-run"]
    (kept,) = [key for key in finished.store.list(f"reports/{run}") if key.endswith(".html") and "performance" in key]
    assert f"({address}/{kept.rpartition('/')[2]})" in pages["galflow-run"]
    page = finished.store.get(kept).decode()
    assert all(f'"{stage}-' in page for stage in ("ingest", "train", "score"))
    assert verify_store(finished.store).faults == []


def test_a_log_that_does_not_exist_is_refused_with_2(
    here: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GALFLOW_LOG_FORMAT", "xml")
    assert here("models") == (2, "", "error: GALFLOW_LOG_FORMAT is 'xml'; it may be text or json\n")
