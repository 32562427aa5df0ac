"""Prefect server, UI and runner on this machine, until Ctrl-C or SIGTERM. Production is in deploy/.

The server and the runner are processes of their own, each in a session of its own, so that a Ctrl-C in the terminal
reaches this process alone, which then stops the runner first and the server last. The server listens on 127.0.0.1 only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from galflow.check import check_run
from galflow.errors import GalflowError, SpecError
from galflow.spec import StoreSpec, load_spec
from galflow.store import Store

HOST = "127.0.0.1"
_PATIENCE_SECONDS = 120
_STOP_SECONDS = 30
_POLL_SECONDS = 0.3
_ASK_SECONDS = 2
"""How often the runner asks the server for work: whoever clicks Run should not wait."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Nightly:
    """What is run by itself, and when."""

    cron: str = "0 2 * * *"
    timezone: str = "UTC"
    specification: Path | None = None
    """Its YAML file; None: nothing."""

    def check(self) -> None:
        """SpecError if this cannot be meant."""
        try:
            CronSchedule(cron=self.cron, timezone=self.timezone)
        except ValidationError as error:
            reason = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise SpecError(
                f"--cron {self.cron!r} with --timezone {self.timezone!r} is no schedule ({reason}); "
                "write minute, hour, day, month, weekday, as '0 2 * * *', and a zone such as Europe/Paris"
            ) from None
        if self.specification is not None:
            check_run(load_spec(self.specification))

    def words(self, root: str | None) -> list[str]:
        """For flows.deployments; ``root`` replaces the specification's."""
        found = ["--cron", self.cron, "--timezone", self.timezone]
        if self.specification is None:
            return found
        store = load_spec(self.specification, root).store
        spelt_out = Store.open(store.root, store.endpoint_url).root
        return [*found, "--nightly", str(self.specification.resolve()), "--nightly-root", spelt_out]

    @property
    def told(self) -> str:
        """For a person."""
        if self.specification is None:
            return "nothing runs by itself; --nightly SPEC.yaml has a specification run every night"
        return f"{self.specification} runs by itself: {self.cron} ({self.timezone})"


def serve_here(port: int, root: str | None, nightly: Nightly | None = None) -> None:
    """Serve the UI at 127.0.0.1:``port`` and run what is started there; ``root`` is where its form says products go.

    Returns after Ctrl-C or SIGTERM, when both processes are gone; GalflowError if the port is taken or one of them ends
    by itself, SpecError if ``nightly`` cannot be meant.
    """
    nightly = nightly or Nightly()
    nightly.check()
    require_free(port)
    # Spelt out, because a run need not start in this folder.
    products = Store.open(root if root is not None else StoreSpec().root).root
    api = f"http://{HOST}:{port}/api"
    processes: dict[str, Process] = {}
    with stopped_by_signals():
        try:
            starting = {"PREFECT_SERVER_UI_API_URL": api}  # the page would ask port 4200
            processes["server"] = _start(
                "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port), environment=starting
            )
            _wait("the Prefect server to answer", lambda: _is_healthy(api), processes)
            begun = datetime.now(UTC)
            asking = {"PREFECT_API_URL": api, "PREFECT_RUNNER_POLL_FREQUENCY": str(_ASK_SECONDS)}
            processes["runner"] = _start("-m", "flows.deployments", products, *nightly.words(root), environment=asking)
            _wait("the runner to offer its deployments", lambda: _are_offered(api, begun), processes)
            sys.stdout.write(
                f"UI at http://{HOST}:{port} - start a run from its Deployments page; stop with Ctrl-C\n"
                f"products go to {products}, unless store.root in the form says otherwise\n"
                f"{nightly.told}\n"
                f"`galflow release` and `galflow watch` reach it with PREFECT_API_URL={api}\n"
            )
            sys.stdout.flush()
            while True:
                _require_running(processes)
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            sys.stderr.write("stopping ...\n")
        finally:
            _stop(processes, api)


def require_free(port: int) -> None:
    """GalflowError if something listens at ``port`` of this machine already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise GalflowError(
                f"port {port} of {HOST} cannot be had ({error.strerror}); stop what listens there, or choose another "
                "with --port"
            ) from error


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """These signals raise KeyboardInterrupt here, also where a shell's ``&`` had SIGINT ignored."""
    before = {s: signal.signal(s, signal.default_int_handler) for s in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(*arguments: str, environment: dict[str, str] | None = None) -> Process:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,  # Prefect would ask questions
        stdout=subprocess.DEVNULL,  # its greeting names commands that galflow's user does not need
        start_new_session=True,
    )


def _wait(what: str, happened: Callable[[], bool], processes: dict[str, Process]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not happened():
        _require_running(processes)
        if time.monotonic() > until:
            raise GalflowError(f"waited {_PATIENCE_SECONDS} s in vain for {what}; is the machine overloaded?")
        time.sleep(_POLL_SECONDS)


def _require_running(processes: dict[str, Process]) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            raise GalflowError(
                f"the Prefect {name} ended by itself (exit {process.returncode}); what it said is above. "
                f"Its database is in PREFECT_HOME = {os.environ.get('PREFECT_HOME', '~/.prefect')}"
            )


def _is_healthy(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _are_offered(api: str, since: datetime) -> bool:
    """Whether the runner has asked the server for work since then: what an earlier one offered does not count."""
    # Prefect's client asks again where the server is busy: a locked database answers 503.
    with SyncPrefectClient(api) as client:
        polled = [deployment.last_polled for deployment in client.read_deployments()]
    return any(time > since for time in polled if time is not None)


def _call_off(api: str) -> None:
    """Call the runs that ended with the runner crashed: nobody else would, and they would stay Running for good."""
    begun = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])),
        deployment_id=FlowRunFilterDeploymentId(is_null_=False),
    )
    crashed = State(
        type=StateType.CRASHED, message="galflow serve was stopped; the same run again does what is missing"
    )
    with SyncPrefectClient(api) as client:
        for run in client.read_flow_runs(flow_run_filter=begun):
            client.set_flow_run_state(run.id, crashed, force=True)


def _stop(processes: dict[str, Process], api: str) -> None:
    """End the runner and its runs, then the server, and whatever they leave behind in their sessions."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if "runner" in processes:
        _end(processes["runner"])
        if processes["server"].poll() is None:
            with contextlib.suppress(httpx.HTTPError):  # a server that no longer answers keeps no books
                _call_off(api)
    if "server" in processes:
        _end(processes["server"])


def _end(process: Process) -> None:
    process.send_signal(signal.SIGINT)  # on SIGTERM Prefect's runner would end in traces
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
