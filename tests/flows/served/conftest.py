"""`galflow serve` as a process of its own, with a specification for every night, and a real browser; shared by this
folder's tests.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
)  # fmt: skip

PATIENCE_SECONDS = 150
TINY: dict[str, Any] = {
    "name": "served",
    "survey": {"kind": "synthetic", "name": "mock", "options": {"tiles": 1, "tile_size": 128, "objects_per_tile": 9}},
    "cutouts": {"size": 16},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
    "cluster": {"workers": 1},
}


def text_of(browser: webdriver.Chrome) -> str:
    return str(browser.execute_script("return document.body.innerText"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(happened: Callable[[], Any], what: str) -> Any:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if found := happened():
            return found
        time.sleep(0.2)
    pytest.fail(f"waited {PATIENCE_SECONDS} s in vain for {what}")


@dataclass(frozen=True, eq=False)
class Served:
    """A running `galflow serve`."""

    tiny: ClassVar[dict[str, Any]] = TINY
    """A specification that runs in seconds; the nightly one is the same, with a store of its own."""
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def complained(self) -> str:
        return (self.folder / "err").read_text()

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @cached_property
    def login(self) -> str:
        return (self.folder / "prefect" / "galflow-login").read_text().strip()

    @cached_property
    def _client(self) -> SyncPrefectClient:
        return SyncPrefectClient(self.api, auth_string=self.login)

    @property
    def environment(self) -> dict[str, str]:
        """Of a command of the same user, who is told where the server is, and nothing else."""
        return {"PREFECT_API_URL": self.api, "PREFECT_HOME": str(self.folder / "prefect")}

    def ask(self, path: str, question: Any = None, method: str | None = None) -> Any:
        """Prefect's REST API."""
        method = method or ("GET" if question is None else "POST")
        return json.loads(self._client.request(method, f"/{path}", json=question).text or "null")  # type: ignore[arg-type]

    def message(self, run: str) -> str:
        """Of a run's state."""
        return str(self.ask(f"flow_runs/{run}")["state"]["message"])

    def log_in(self, browser: webdriver.Chrome) -> None:
        """As a person does, who was told the login."""
        browser.get(f"http://127.0.0.1:{self.port}/deployments")
        (line,) = wait_for(lambda: browser.find_elements(By.CSS_SELECTOR, "input[type=password]"), "the login page")
        line.send_keys(self.login, Keys.ENTER)
        wait_for(lambda: "survey-nightly" in text_of(browser), "the list of deployments")
        # What Prefect said of the time before the login stays on its page until that is opened anew.
        browser.get(f"http://127.0.0.1:{self.port}/deployments")
        wait_for(lambda: "survey-nightly" in text_of(browser), "the list of deployments")

    def report_link(self, run: str) -> str:
        """Where the run's artifact leads."""
        wanted = {"flow_runs": {"id": {"any_": [run]}}, "artifacts": {"key": {"any_": ["galflow-report"]}}}
        (artifact,) = self.ask("artifacts/filter", wanted)
        return str(artifact["data"]).rpartition("(")[2].rstrip(")")

    def deployment(self, name: str) -> dict[str, Any]:
        """By FLOW/DEPLOYMENT."""
        return self.ask(f"deployments/name/{name}")

    def runs_of(self, name: str) -> list[dict[str, Any]]:
        """Runs of a deployment."""
        wanted = {"deployments": {"id": {"any_": [self.deployment(name)["id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return self.ask("flow_runs/filter", wanted)

    def start_run(self, name: str, spec: dict[str, Any], when: str | None = None, **more: str) -> str:
        question: dict[str, Any] = {"parameters": {"spec": spec} | more}
        if when is not None:
            question["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": when}}
        return self.ask(f"deployments/{self.deployment(name)['id']}/create_flow_run", question)["id"]

    def state(self, run: str) -> str:
        return self.ask(f"flow_runs/{run}")["state"]["type"]

    def end_of(self, run: str) -> str:
        """Wait for a run's end; its state then."""
        open_states = ("SCHEDULED", "PENDING", "RUNNING", "CANCELLING")
        return self.wait_for(lambda: (s := self.state(run)) not in open_states and s, f"the end of run {run}")

    def artifacts_of(self, run: str) -> set[str]:
        """Keys of what a run has put on its page."""
        found = self.ask("artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return {artifact["key"] for artifact in found}

    def cancel(self, run: str) -> None:
        """As the UI's button does; comes back when the run is gone."""
        self.ask(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        assert self.end_of(run) == "CANCELLED"

    @staticmethod
    def wait_for(happened: Callable[[], Any], what: str) -> Any:
        """The first thing that is true; fails after some patience."""
        return wait_for(happened, what)

    def family(self) -> list[psutil.Process]:
        """Its process and those below it, some of which may just be ending."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def listening(self) -> set[tuple[str, int]]:
        """Where any of them listens."""
        found: set[tuple[str, int]] = set()
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):  # the end of a run that is over: it listens nowhere
                connections = process.net_connections("inet")
                found |= {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}
        return found


def start(folder: Path) -> Served:
    port = free_port()
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "GALFLOW_", "DO_NOT_TRACK"))}
    nightly = TINY | {"name": "nightly", "store": {"root": str(folder / "nightly")}}
    (folder / "nightly.yaml").write_text(yaml.safe_dump(nightly))
    # Somebody's own modules, with the names of galflow's: nothing that galflow starts may import them.
    for name in ("galflow", "tasks", "flows", "app"):
        (folder / f"{name}.py").write_text('raise SystemExit("somebody\'s own module was imported")')
    words = [
        sys.executable, "-P", "-m", "flows.cli", "serve", "--port", str(port), "--nightly", "nightly.yaml",
        "--cron", "30 2 * * *", "--timezone", "Asia/Tokyo",
    ]  # fmt: skip
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(
            words, stdout=out, stderr=err, cwd=folder, start_new_session=True,
            env=kept | {"PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    found = Served(port, folder, process)
    wait_for(lambda: "galflow release" in found.said or process.poll() is not None, "galflow serve")
    assert process.poll() is None, found.complained
    return found


@pytest.fixture(scope="package")
def all_served() -> Iterator[list[Served]]:
    """Those that have been started, the last of which may still run."""
    started: list[Served] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(60)


@pytest.fixture
def served(all_served: list[Served], make_prefect_home: Callable[[str], Path]) -> Served:
    """One that runs: the last one, or another where a test has stopped it."""
    if not all_served or all_served[-1].process.poll() is not None:
        all_served.append(start(make_prefect_home("served").parent))
    return all_served[-1]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Chromium with a profile of its own, which notes every request; *.test are names of this machine."""
    missing = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    if missing and os.environ.get("CI") != "true":
        pytest.skip(f"{', '.join(missing)} absent; scripts/install-system installs them")
    options = Options()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()
