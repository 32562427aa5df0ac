from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows import environment
from flows.login import own_login
from galflow.errors import GalflowError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without any of Prefect's variables, whose changes are undone; the user's data folder."""
    for name in [n for n in os.environ if n.startswith("PREFECT_")] + ["DO_NOT_TRACK", "UVICORN_LOOP"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setitem(os.environ, "XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def test_quiet_private_and_in_a_folder_of_its_own(bare: Path) -> None:
    environment.prepare()
    assert os.environ["PREFECT_HOME"] == str(bare / "galflow" / "prefect")
    assert (bare / "galflow" / "prefect").is_dir()
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_whoever_sets_a_variable_is_obeyed(bare: Path, tmp_path: Path) -> None:
    os.environ["PREFECT_HOME"] = str(tmp_path / "mine")
    os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"
    environment.prepare()
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "mine")
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert not bare.exists()


def test_folder_that_cannot_be_made_is_named(bare: Path) -> None:
    bare.write_text("a file in the way")
    with pytest.raises(
        GalflowError, match=r"cannot make the folder .*galflow/prefect.*: Not a directory; set PREFECT_HOME"
    ):
        environment.prepare()


def test_prefect_believes_these_settings(tmp_path: Path) -> None:
    """Names that Prefect does not know would do nothing at all."""
    code = (
        "from flows import environment; environment.prepare()\n"
        "from prefect.settings import get_current_settings as s\n"
        "server, log = s().server, s().logging\n"
        "print(s().home, server.analytics_enabled, server.ui.show_promotional_content, log.level,\n"
        "      server.logging_level, server.ephemeral.startup_timeout_seconds, server.ephemeral.enabled)"
    )
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PREFECT_")}
    found = subprocess.run(
        [sys.executable, "-c", code], env=kept | {"XDG_DATA_HOME": str(tmp_path)},
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    assert found.stdout.split() == [
        str(tmp_path / "galflow" / "prefect"), "False", "False", "WARNING", "ERROR", "120", "True",
    ]  # fmt: skip


SPEAKING = """
import logging
from flows.environment import log_to_terminal
log_to_terminal()
logging.getLogger("prefect.flow_runs").error("told by the caller")
logging.getLogger("prefect.task_runs.x").exception("told by the caller", exc_info=ValueError("x"))
logging.getLogger("distributed.nanny").warning("Worker process still alive after %s seconds, killing", 4.0)
logging.getLogger("prefect.flow_runs").warning("retried")
logging.getLogger("distributed.nanny").warning("Worker exceeded %d%% memory budget", 95)
logging.getLogger("tasks.fan_out").error("a bug")
logging.getLogger("other").info("chat")
"""


def test_terminal_shows_warnings_but_not_what_is_said_elsewhere() -> None:
    said = subprocess.run([sys.executable, "-c", SPEAKING], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == ""
    assert said.stderr.splitlines() == [
        "WARNING prefect.flow_runs: retried",
        "WARNING distributed.nanny: Worker exceeded 95% memory budget",
        "ERROR tasks.fan_out: a bug",
    ]


def test_the_login_of_another_server_is_left_alone(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prefect.toml").write_text('[api]\nurl = "http://theirs.test/api"\n')
    environment.prepare()
    assert "PREFECT_API_AUTH_STRING" not in os.environ
    (tmp_path / "prefect.toml").unlink()
    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:4200/api"
    environment.prepare()
    assert "PREFECT_API_AUTH_STRING" not in os.environ


@pytest.mark.parametrize(
    ("mode", "text", "error"),
    [
        (0o644, "galflow:" + "x" * 30, r"readable by you alone, but its mode is 644"),
        (0o600, "x", r"NAME:TOKEN; delete"),
    ],
)
def test_a_login_file_that_others_can_read_is_refused(mode: int, text: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "galflow-login").write_text(text)
    (tmp_path / "galflow-login").chmod(mode)
    with pytest.raises(GalflowError, match=error):
        own_login(tmp_path)
