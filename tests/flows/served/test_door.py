"""The door of `galflow serve`: who may ask, and what a run from its form may name. Every attack on a real server."""

from __future__ import annotations

import base64
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flows.login import login_for

if TYPE_CHECKING:
    from conftest import Served

Headers = dict[str, str]
FOREIGN = "http://127.0.0.1:9"
"""Another port is another origin."""


@pytest.fixture
def listener() -> Iterator[tuple[str, list[Any]]]:
    """A hostile scheduler's address, and who has called there."""
    called: list[Any] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        done = threading.Event()

        def take() -> None:
            while not done.is_set():
                try:
                    connection, who = listening.accept()
                except TimeoutError:
                    continue
                called.append(who)
                connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}", called
        done.set()
        thread.join()


def known(served: Served) -> Headers:
    """What Prefect's page sends: the login, and the token against requests that another page makes."""
    authorised = {"Authorization": f"Basic {base64.b64encode(served.login.encode()).decode()}"}
    token = httpx.get(f"{served.api}/csrf-token", params={"client": "test"}, headers=authorised).json()["token"]
    return authorised | {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "test"}


def start_a_run(served: Served, headers: Headers, **form: Any) -> httpx.Response:
    deployment = served.deployment("survey-run/survey-adhoc")["id"]
    spec = served.tiny | {"store": {"root": "/nowhere/at/all"}}
    question = {"parameters": {"spec": spec}} if not form else None
    return httpx.post(
        f"{served.api}/deployments/{deployment}/create_flow_run", headers=headers, json=question, timeout=30, **form
    )


@pytest.mark.parametrize(
    ("lacks", "more", "status", "words"),
    [
        ("Authorization", {}, 401, "Unauthorized"),
        ("Prefect-Csrf-Token", {}, 403, "Missing CSRF token"),
        ("", {"Authorization": "Basic Z2FsZmxvdzpndWVzcw=="}, 401, "Unauthorized"),
        ("", {"Origin": FOREIGN}, 403, "may not ask this server; only http://127.0.0.1:"),
        ("", {"Origin": "null"}, 403, "may not ask this server"),
        ("", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, 403, "a page of another origin"),
        ("", {"Host": "rebound.test:4200"}, 403, "this server is not called 'rebound.test:4200'; open http://127"),
        ("", {"Host": "127.0.0.1"}, 403, "this server is not called '127.0.0.1'"),
    ],
)
def test_nobody_starts_a_run_without_the_login_from_another_page_or_under_another_name(
    served: Served, lacks: str, more: Headers, status: int, words: str
) -> None:
    before = len(served.runs_of("survey-run/survey-adhoc"))
    refused = start_a_run(served, {n: v for n, v in known(served).items() if n != lacks} | more)
    assert (refused.status_code, words in refused.text) == (status, True), refused.text
    assert len(served.runs_of("survey-run/survey-adhoc")) == before


@pytest.mark.parametrize("path", ["/", "/ui-settings", "/api/health", "/api/csrf-token?client=x", "/reports/a/b/c"])
def test_every_page_of_it_wants_its_own_name(served: Served, path: str) -> None:
    refused = httpx.get(f"http://127.0.0.1:{served.port}{path}", headers={"Host": f"rebound.test:{served.port}"})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("more", [{"Host": "rebound.test:4200"}, {"Origin": FOREIGN}])
def test_websockets_have_the_same_door(served: Served, more: Headers) -> None:
    address = served.api.replace("http", "ws") + "/events/out"
    with connect(address, subprotocols=["prefect"], proxy=None) as socket_of_ours:  # type: ignore[list-item]
        socket_of_ours.send('{"type": "auth", "token": "guessed"}')
        with pytest.raises(Exception, match="Invalid token"):
            socket_of_ours.recv(timeout=20)
    # With a name or a page of its own it is not even let in to say who it is.
    raw = httpx.get(
        served.api + "/events/out",
        headers={
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        } | more,
    )  # fmt: skip
    assert raw.status_code == 403
    if "Origin" in more:
        with pytest.raises(InvalidStatus, match="403"):
            connect(address, origin=more["Origin"], subprotocols=["prefect"], proxy=None)  # type: ignore[arg-type, list-item]


def test_no_answer_invites_another_origin(served: Served) -> None:
    answer = httpx.get(f"{served.api}/health")
    assert answer.json() is True
    assert "access-control-allow-origin" not in answer.headers
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_a_person_who_calls_it_localhost_is_sent_to_its_page(served: Served) -> None:
    opened = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}
    sent = httpx.get(
        f"http://127.0.0.1:{served.port}//x.test/y?z=1", headers=opened | {"Host": f"localhost:{served.port}"}
    )
    assert (sent.status_code, sent.headers["location"]) == (307, f"http://127.0.0.1:{served.port}/x.test/y?z=1")


def test_the_login_is_in_a_file_for_its_owner_alone_and_told_once(served: Served) -> None:
    file = served.folder / "prefect" / "galflow-login"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (served.said + served.complained).count(served.login) == 1
    assert not [p for p in served.family() if served.login in " ".join(p.cmdline())]


def test_the_login_goes_only_to_where_this_user_serves(served: Served, tmp_path: Path) -> None:
    """That a command finds it, test_events shows."""
    home = served.folder / "prefect"
    assert login_for(served.api, home) == login_for(f"http://localhost:{served.port}/api", home) == served.login
    for elsewhere in (
        "http://127.0.0.1:9/api",
        f"http://theirs.test:{served.port}/api",
        "https://app.prefect.cloud/api",
    ):
        assert login_for(elsewhere, home) is None
    assert login_for(served.api, tmp_path) is None
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "galflow-login").write_text(served.login)
    (tmp_path / f"galflow-served-{served.port}").write_text(str(ended.pid))
    assert login_for(served.api, tmp_path) is None


def test_a_run_from_the_form_names_nothing_that_the_owner_does_not_allow(
    served: Served, listener: tuple[str, list[Any]], tmp_path: Any
) -> None:
    address, called = listener
    hostile = {
        "cluster": {"kind": "address", "address": address},
        "survey": {"kind": "mine.Survey", "options": {"root": "${HOME}/.aws"}},
        "models": [{"name": "kmeans", "model": "os.path.Model", "trained": "s3://theirs/models/m"}],
        "store": {"root": str(tmp_path / "store")},
    }
    run = served.start_run("reprocess/reprocess", served.tiny | hostile, release="dr2")
    assert served.end_of(run) == "FAILED"
    message = served.message(run)
    for words in (
        f"cluster.address: '{address}' is not allowed here; whoever runs this service may add it to cluster_addresses",
        "survey.kind: 'mine.Survey' is not allowed here",
        "survey.options.root: 'HOME' is not allowed here",
        "model kmeans: 'os.path.Model' is not allowed here",
        "model kmeans.trained: 's3://theirs/models/m' is not allowed here",
    ):
        assert words in message
    assert os.environ["HOME"] not in message.replace(str(tmp_path), "")
    assert called == []
    assert not (tmp_path / "store").exists()
    assert "galflow-run" not in served.artifacts_of(run)
