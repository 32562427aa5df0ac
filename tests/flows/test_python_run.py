"""``galflow.run`` in a script as people write them: at its top level, without a guard for worker processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.whole_run import outside_any_loop

SCRIPT = """
import galflow

spec = {
    "name": "scripted",
    "survey": {"kind": "synthetic", "options": {"tiles": 1, "tile_size": 160, "objects_per_tile": 30}},
    "cutouts": {"size": 16},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 3}}],
    "cluster": {"workers": 1},
}
print("BEGIN")
run = galflow.run(spec, root="products")
again = galflow.run(spec, root="products")
print(run.name, again.name == run.name, len(run.top(3)))
try:
    galflow.run(spec | {"models": []}, root="products")
except galflow.errors.SpecError as error:
    print("refused:", error)
"""


def test_under_a_running_event_loop_a_run_has_a_thread_without_one() -> None:
    """As in a notebook, where Prefect's calls would return coroutines."""

    def has_a_loop() -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True

    async def notebook() -> tuple[bool, bool]:
        return has_a_loop(), outside_any_loop(has_a_loop)

    assert asyncio.run(notebook()) == (True, False)
    assert outside_any_loop(threading.get_ident) == threading.get_ident(), "without a loop it is done right here"


IMPORTED = """
import prefect
from prefect.settings import get_current_settings

assert get_current_settings().api.url is None
from flows.whole_run import _begin_prefect

_begin_prefect()
from flows import run_server

run_server.wait()
from prefect.client.orchestration import get_client

with get_client(sync_client=True) as client:
    print(client.api_url, client.read_flows())
"""


def test_a_program_that_has_imported_prefect_before_reaches_the_runs_own_server(tmp_path: Path) -> None:
    """Its settings were read before galflow's were made: it would start a server of its own and be refused by it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    home = {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=tmp_path, env=clean | home, capture_output=True, text=True, timeout=150,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("http://127.0.0.1:")
    assert ended.stdout.strip().endswith("[]")


@pytest.mark.full
def test_a_script_runs_once_and_a_second_call_does_nothing(tmp_path: Path, prefect_api: dict[str, str]) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=os.environ | prefect_api, capture_output=True, text=True,
        timeout=250, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    begin, told, refused, reason = ended.stdout.splitlines()
    assert begin == "BEGIN", "workers do not run the script again"
    assert told.startswith("scripted-")
    assert told.endswith(" True 3")
    assert refused.startswith("refused: the specification")
    assert reason.strip().startswith("models: ")
