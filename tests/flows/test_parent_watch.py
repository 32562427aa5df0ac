"""A temporary server ends with its run, also if the run was killed before the server could see who its parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[2]
# What Prefect starts, with an app of a few lines: uvicorn takes the loop from the environment that prepare() made.
RUN = """
import subprocess, sys, time
from flows import environment
environment.prepare()
late = "import runpy, sys, time; time.sleep(1.5); sys.argv[0] = 'uvicorn'; "
late += "runpy.run_module('uvicorn', run_name='__main__')"
server = subprocess.Popen([sys.executable, "-P", "-c", late, "--port", sys.argv[1], "--log-level", "error", "app:app"])
print(server.pid, flush=True)
time.sleep(100)
"""
APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
"""


@pytest.mark.parametrize("after_seconds", [0.0, 3.0], ids=["before its loop", "when it serves"])
def test_a_server_whose_run_was_killed_ends(tmp_path: Path, after_seconds: float) -> None:
    (tmp_path / "app.py").write_text(APP)
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "GALFLOW_", "UVICORN_"))}
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, "0"], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env=kept | {"PYTHONPATH": f"{PROJECT}:{tmp_path}", "PREFECT_HOME": str(tmp_path)},
    )  # fmt: skip
    assert run.stdout is not None
    server = psutil.Process(int(run.stdout.readline()))
    time.sleep(after_seconds)
    assert server.is_running()
    run.send_signal(signal.SIGKILL)  # and nobody asks how it ended until later: it stays in the process table
    try:
        psutil.wait_procs([server], timeout=12)
        assert not server.is_running()
    finally:
        if server.is_running():
            server.kill()
        run.stdout.close()
        run.wait()
