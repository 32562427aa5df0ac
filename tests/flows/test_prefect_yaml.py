"""deploy/entrypoint makes the deployments of deploy/prefect.yaml on a real Prefect server, also a second time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from flows.deployments import FILLED_IN, TRIGGER
from galflow.spec import parse_spec

PROJECT = Path(__file__).resolve().parents[2]


def ask(api: str, path: str, question: Any) -> Any:
    request = urllib.request.Request(
        f"{api}/{path}", None if question is None else json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_entrypoint_makes_the_deployments(prefect_api: dict[str, str], tmp_path: Path) -> None:
    api = prefect_api["PREFECT_API_URL"]
    environment = os.environ | prefect_api | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PREFECT_HOME": str(tmp_path),
        "GALFLOW_HOME": str(PROJECT), "GALFLOW_ROOT": "s3://bucket/products", "GALFLOW_SCHEDULER": "tcp://here:8786",
    }  # fmt: skip
    for _ in range(2):
        done = subprocess.run(
            ["sh", str(PROJECT / "deploy" / "entrypoint"), "deployments"], env=environment, capture_output=True,
            text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    pool = ask(api, "work_pools/galflow", None)
    assert (pool["type"], pool["concurrency_limit"]) == ("process", 1)
    made = {d["name"]: d for d in ask(api, "deployments/filter", {})}
    assert set(made) == {
        "survey-adhoc", "survey-nightly", "reprocess", "ingest-adhoc", "train-adhoc", "score-adhoc", "compare-adhoc",
        "publish-adhoc",
    }  # fmt: skip
    for deployment in made.values():
        assert deployment["work_pool_name"] == "galflow"
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        spec = parse_spec(deployment["parameters"]["spec"])
        assert spec.store.root == "s3://bucket/products"
        assert spec.cluster.address == "tcp://here:8786"
        assert deployment["parameter_openapi_schema"]["definitions"]["SurveySpec"]["properties"]["kind"]["anyOf"]
    assert made["reprocess"]["parameters"]["cluster"] == {"kind": "address", "address": "tcp://here:8786"}
    (schedule,) = made["survey-nightly"]["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "UTC")
    assert schedule["active"] is False
    (automation,) = ask(api, "automations/filter", {})
    assert automation["name"] == TRIGGER
    assert automation["trigger"]["expect"] == ["galflow.release.published"]
    assert automation["actions"][0]["parameters"] == FILLED_IN
    assert automation["actions"][0]["deployment_id"] == made["reprocess"]["id"]
