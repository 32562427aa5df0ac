"""A run's own Prefect server, really started: who may ask it anything, when it ends, and when a run brings none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from flows import environment
from flows.login import VARIABLES

PROJECT = Path(__file__).resolve().parents[2]
RUN = """
import os, sys, time
from flows import environment, run_server
environment.prepare()
run_server.start()
run_server.start()
run_server.wait()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    client.create_flow_from_name("own")
print(os.environ["PREFECT_API_URL"], *(c.pid for c in __import__("psutil").Process().children()), flush=True)
sys.stdin.read()
"""


@contextmanager
def run(folder: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A process with a server of its own, which waits until its standard input is closed."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "UVICORN_", "GALFLOW_"))}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=folder, text=True,
        env=kept | {"XDG_DATA_HOME": str(folder), "PYTHONPATH": str(PROJECT)} | more,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        with process:
            yield process
            assert process.stdin is not None
            process.stdin.close()
    finally:
        process.kill()


def begun(process: subprocess.Popen[str]) -> tuple[str, psutil.Process]:
    """The server's address, once it answers its run, and its process: one, although it was started twice."""
    assert process.stdout is not None
    api, pid = process.stdout.readline().split()
    return api, psutil.Process(int(pid))


def test_it_answers_its_own_run_alone_and_ends_when_that_is_killed(
    tmp_path: Path, make_prefect_home: Callable[[str], Path]
) -> None:
    """Any web page could read Prefect's secret blocks from one that asks for no login."""
    with run(tmp_path, PREFECT_HOME=str(make_prefect_home("run"))) as process:
        api, server = begun(process)
        try:
            question = {"block_documents": None, "include_secrets": True}
            assert httpx.post(f"{api}/block_documents/filter", json=question, trust_env=False).status_code == 401
            foreign = {"Host": "evil.test"}
            assert httpx.get(f"{api}/health", headers=foreign, trust_env=False).status_code == 403
            assert api.startswith("http://127.0.0.1:")
            process.send_signal(signal.SIGKILL)
            psutil.wait_procs([server], timeout=12)
            assert not server.is_running()
        finally:
            if server.is_running():
                server.kill()


@pytest.mark.full
def test_it_ends_with_its_run(tmp_path: Path) -> None:
    with run(tmp_path) as process:
        _, server = begun(process)
    assert process.returncode == 0
    assert not server.is_running()


@pytest.mark.full
def test_one_that_does_not_start_is_told(tmp_path: Path) -> None:
    with run(tmp_path, PREFECT_SERVER_DATABASE_CONNECTION_URL=f"sqlite+aiosqlite:///{tmp_path}/none/db") as process:
        _, errors = process.communicate()
    assert process.returncode == 1
    assert "GalflowError: the Prefect server of this run ended with exit code 3" in errors
    assert f"its folder is {tmp_path}/galflow/prefect (PREFECT_HOME)" in errors


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment and a folder without any word of a Prefect server."""
    monkeypatch.setattr(os, "environ", {"PREFECT_HOME": str(tmp_path)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_brings_none_where_one_is_configured(bare: Path) -> None:
    assert environment.needs_own_server()
    for name, value in (("PREFECT_API_URL", "http://theirs.test/api"), ("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "0")):
        os.environ[name] = value
        assert not environment.needs_own_server()
        del os.environ[name]
    (bare / "prefect.toml").write_text('[api]\nurl = "http://theirs.test/api"\n')
    assert not environment.needs_own_server()


@pytest.mark.parametrize("name", VARIABLES)
def test_its_login_is_one_for_both_sides(name: str, bare: Path) -> None:
    """With one side's alone the server would ask nobody for a login, or its run would not know it."""
    os.environ[name] = "galflow:a-login-of-somebody"
    environment.prepare()
    server, client = (os.environ[variable] for variable in VARIABLES)
    assert server == client
    assert len(server) > 20
