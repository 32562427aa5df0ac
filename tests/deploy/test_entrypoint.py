"""deploy/entrypoint and deploy/notify run as they are; the commands that they start exist and take these words."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ADDRESS = {"PREFECT_API_URL": "http://prefect-server:4200/api", "GALFLOW_TOKEN": "a-token-of-some-length"}


def start(script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "GALFLOW_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return subprocess.run(
        ["sh", str(DEPLOY / script), *words], env=kept | environment, capture_output=True, text=True, check=False,
        timeout=100,
    )  # fmt: skip


def dry(*words: str, **environment: str) -> list[str]:
    done = start("entrypoint", *words, GALFLOW_DRY_RUN="1", GALFLOW_HOME=str(DEPLOY.parent), **environment)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("+ ") for line in done.stderr.splitlines()]


@pytest.mark.parametrize("script", ["entrypoint", "notify"])
def test_any_shell_can_read_it(script: str) -> None:
    assert os.access(DEPLOY / script, os.X_OK)
    assert subprocess.run(["sh", "-n", str(DEPLOY / script)], check=False).returncode == 0


@pytest.mark.parametrize(
    ("role", "command"),
    [
        (
            "server",
            "python -m flows.prefect_server --host 0.0.0.0 --port 4200 --page http://127.0.0.1:4200",
        ),
        ("worker", "prefect worker start --pool galflow --type process"),
        (
            "dask-scheduler",
            "dask scheduler --host 0.0.0.0 --port 8786 --dashboard-address :8787 --preload tasks.metrics",
        ),
        (
            "dask-worker",
            "dask worker tcp://dask-scheduler:8786 --nworkers auto --nthreads 1 --local-directory /tmp "
            "--death-timeout 300",
        ),
        (
            "dask-cuda-worker",
            "dask cuda worker tcp://dask-scheduler:8786 --nthreads 1 --device-memory-limit 0.8 "
            "--local-directory /tmp --death-timeout 300",
        ),
    ],
)
def test_a_role_is_one_command(role: str, command: str) -> None:
    assert dry(role, **ADDRESS) == [command]


def test_the_watcher_hands_its_words_on() -> None:
    assert dry("watch", "--once", GALFLOW_WATCH_SPEC="/w/s.yaml", **ADDRESS) == ["galflow watch /w/s.yaml --once"]


def test_the_deployments_are_made_for_the_scheduler_of_this_place() -> None:
    made = dry("deployments", GALFLOW_ROOT="s3://b/p", GALFLOW_SCHEDULER="tcp://here:1", **ADDRESS)
    assert made == [
        "prefect --no-prompt work-pool create galflow --type process --overwrite --base-job-template deploy/pool.json",
        "prefect --no-prompt work-pool set-concurrency-limit galflow 1",
        'prefect --no-prompt variable set galflow_cluster {"kind": "address", "address": "tcp://here:1"} --overwrite',
        "prefect --no-prompt deploy --all --prefect-file deploy/prefect.yaml",
    ]
    told = dry("deployments", GALFLOW_ROOT="s3://b/p", GALFLOW_NOTIFICATION_BLOCK="an-id", **ADDRESS)
    assert told[-1] == "deploy/notify an-id"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], r"error: no role was given; one of server, .*dask-cuda-worker"),
        (["sever"], r"error: no role sever; one of server"),
        (["worker"], r"error: worker needs PREFECT_API_URL in its environment: the server's address, as http://"),
        (["watch"], r"error: watch needs PREFECT_API_URL"),
        (["server"], r"error: server needs GALFLOW_TOKEN in its environment: the secret that its users log in with"),
    ],
)
def test_what_is_missing_is_named(words: list[str], text: str) -> None:
    done = start("entrypoint", *words)
    assert done.returncode == 2
    assert re.search(text, done.stderr)


def test_notify_wants_the_id_of_a_block() -> None:
    done = start("notify", "https://hooks.example.org/secret")
    assert done.returncode == 2
    assert "usage: deploy/notify BLOCK_ID" in done.stderr


SHOWS = 'env | grep -E "^(PREFECT_(SERVER_)?API_AUTH_STRING|GALFLOW_ALLOW|PYTHONSAFEPATH)=" >&2'


def test_every_role_has_the_login_and_forms_may_name_this_places_scheduler(tmp_path: Path) -> None:
    (tmp_path / "prefect").write_text(f"#!/bin/sh\n{SHOWS}\n")
    (tmp_path / "python").write_text("#!/bin/sh\n")
    for command in tmp_path.iterdir():
        command.chmod(0o755)
    told = start("entrypoint", "worker", PATH=f"{tmp_path}:{os.environ['PATH']}", **ADDRESS)
    shown = dict(line.split("=", 1) for line in told.stderr.splitlines() if not line.startswith("+"))
    assert shown == {
        "PREFECT_SERVER_API_AUTH_STRING": "galflow:a-token-of-some-length",
        "PREFECT_API_AUTH_STRING": "galflow:a-token-of-some-length",
        "GALFLOW_ALLOW": '{"cluster_addresses": ["tcp://dask-scheduler:8786"]}',
        "PYTHONSAFEPATH": "1",
    }


@pytest.mark.parametrize("role", ["dask-scheduler", "dask-worker"])
def test_dask_takes_these_options(role: str) -> None:
    (command,) = dry(role)
    words = shlex.split(command)
    helped = start_python(words[:2])
    options = [w for w in words if w.startswith("--")]
    assert [o for o in options if o not in helped] == []


def start_python(words: list[str]) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / words[0]), *words[1:], "--help"],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_image_holds_what_its_roles_need() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    copied = set(" ".join(re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE)).split())
    assert [name for name in copied if not (DEPLOY.parent / name).exists()] == []
    assert {"galflow", "tasks", "flows"} <= copied
    commands = [line for line in (DEPLOY / "entrypoint").read_text().splitlines() if not line.startswith("#")]
    used = set(re.findall(r"deploy/[\w.]+", "\n".join(commands)))
    used |= {f"deploy/{name}" for name in re.findall(r"\$here/([\w.]+)", (DEPLOY / "notify").read_text())}
    # Nothing else of the folder: database.env and store.env hold passwords.
    assert {name for name in copied if name.startswith("deploy")} == used | {"deploy/entrypoint"}
    assert 'ENTRYPOINT ["/opt/galflow/deploy/entrypoint"]' in text
    assert re.search(r"^FROM \S+:\d+\.\d+\.\d+\S*$", text, re.MULTILINE)
    assert re.search(r"^USER \d+$", text, re.MULTILINE)
