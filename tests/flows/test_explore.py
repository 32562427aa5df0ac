"""`galflow explore` as a person starts and ends it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from galflow.errors import SpecError
from galflow.storage.store import Store
from tests.galflow.explore.conftest import COUNT, RUN, publish_small_run


def test_it_prints_its_address_answers_and_ends_at_ctrl_c(local_store: Store) -> None:
    publish_small_run(local_store)
    words = [sys.executable, "-m", "flows.cli", "explore", f"{local_store.root}/runs/{RUN}", "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"(http://127\.0\.0\.1:\d+)/#token=(\S+)", line := process.stdout.readline())
        assert found is not None, (line, process.stderr and process.stderr.read())
        asked = urllib.request.Request(f"{found[1]}/api/schema", headers={"Authorization": f"Bearer {found[2]}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert json.load(answer)["rows"] == COUNT
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{found[1]}/api/schema", timeout=60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_run_that_is_not_there_is_a_clear_error(tmp_path: Path, local_store: Store) -> None:
    publish_small_run(local_store)
    for given in (["nothing"], [f"{local_store.root}/runs/nothing"]):
        result = CliRunner().invoke(app, ["explore", *given, "--root", local_store.root])
        assert isinstance(result.exception, SpecError)  # main() ends with 2
        assert f"no run 'nothing' has been published at {local_store.root}; published: {RUN}" in str(result.exception)


def test_a_port_that_is_taken_is_a_clear_error(local_store: Store) -> None:
    publish_small_run(local_store)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["explore", RUN, "--root", local_store.root, "--port", port, "--no-browser"])
    assert isinstance(result.exception, SpecError)
    assert f"port {port}" in str(result.exception)
