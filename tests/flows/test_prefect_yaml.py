"""deploy/entrypoint makes the deployments of deploy/prefect.yaml on a real Prefect server, also a second time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.deployments import FILLED_IN, TRIGGER
from galflow.spec.emulation import EmulationSpec
from galflow.spec.run import parse_spec

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_entrypoint_makes_the_deployments(
    prefect_api: dict[str, str], ask: Callable[..., Any], tmp_path: Path
) -> None:
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
    pool = ask("work_pools/galflow")
    assert (pool["type"], pool["concurrency_limit"]) == ("process", 1)
    made = {d["name"]: d for d in ask("deployments/filter", {})}
    assert set(made) == {
        "survey-adhoc", "survey-nightly", "reprocess", "ingest-adhoc", "train-adhoc", "score-adhoc", "compare-adhoc",
        "publish-adhoc", "simulations-adhoc", "emulate-adhoc",
    }  # fmt: skip
    for deployment in made.values():
        assert deployment["work_pool_name"] == "galflow"
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "ENQUEUE"
        given = deployment["parameters"]["spec"]
        if deployment["name"] == "emulate-adhoc":
            assert EmulationSpec.model_validate(given).store.root == "s3://bucket/products"
            continue
        spec = parse_spec(given)
        assert spec.store.root == "s3://bucket/products"
        assert spec.cluster.address == "tcp://here:8786"
        assert deployment["parameter_openapi_schema"]["definitions"]["SurveySpec"]["properties"]["kind"]["anyOf"]
    assert made["reprocess"]["parameters"]["cluster"] == {"kind": "address", "address": "tcp://here:8786"}
    (schedule,) = made["survey-nightly"]["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("0 2 * * *", "UTC")
    assert schedule["active"] is False
    (automation,) = ask("automations/filter", {})
    assert automation["name"] == TRIGGER
    assert automation["trigger"]["expect"] == ["galflow.release.published"]
    assert automation["actions"][0]["parameters"] == FILLED_IN
    assert automation["actions"][0]["deployment_id"] == made["reprocess"]["id"]
