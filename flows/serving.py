"""Prefect server, UI and runner on this machine, until Ctrl-C or SIGTERM. Production is in deploy/.

The server and the runner are processes of their own, each in a session of its own, so that a Ctrl-C in the terminal
reaches this process alone, which then stops the runner first and the server last. The server listens on 127.0.0.1 only,
asks for a login, and answers to its own page alone (flows.prefect_server).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from flows.allowances import ALLOW, Allowances
from flows.beginning import FOLDER
from flows.environment import prefect_home
from flows.login import Login, served_at
from flows.served_api import Server
from galflow.errors import GalflowError, SpecError
from galflow.runs.check import check_run
from galflow.spec.run import RunSpec, load_spec
from galflow.spec.store import StoreSpec
from galflow.storage.store import Store
from tasks.ports import taken

HOST = "127.0.0.1"
_PATIENCE_SECONDS = 120
_STOP_SECONDS = 30
_POLL_SECONDS = 0.3
_ASK_SECONDS = 2
"""How often the runner asks the server for work: whoever clicks Run should not wait."""
ADHOC = "survey-run/survey-adhoc"
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

    @property
    def spec(self) -> RunSpec | None:
        """What its file says."""
        return None if self.specification is None else load_spec(self.specification)

    def words(self, root: str | None) -> list[str]:
        """For flows.deployments; ``root`` replaces the specification's."""
        found = ["--cron", self.cron, "--timezone", self.timezone]
        if self.specification is None:
            return found
        store = load_spec(self.specification, root).store
        spelt_out = Store.of(store).root
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
    allowances = Allowances.of_service().with_those_of(nightly.spec)
    login = Login.of_service(prefect_home())
    page = f"http://{HOST}:{port}"
    server = Server(f"{page}/api", login.text)
    processes: dict[str, Process] = {}
    with stopped_by_signals(), served_at(prefect_home(), port):
        try:
            processes["server"] = _start(
                "-m", "flows.prefect_server", "--host", HOST, "--port", str(port),
                environment={"PREFECT_SERVER_API_AUTH_STRING": login.text},
            )  # fmt: skip
            _wait("the Prefect server to answer", server.is_healthy, processes)
            begun = datetime.now(UTC)
            asking = {
                "PREFECT_API_URL": server.api,
                "PREFECT_API_AUTH_STRING": login.text,
                "PREFECT_RUNNER_POLL_FREQUENCY": str(_ASK_SECONDS),
                "GALFLOW_UI_URL": page,
                ALLOW: allowances.text,
                FOLDER: str(Path.cwd()),
            }
            processes["runner"] = _start(
                "-m", "flows.deployments", products, *nightly.words(root), environment=asking, folder=prefect_home()
            )  # fmt: skip
            _wait("the runner to offer its deployments", lambda: server.has_offers(ADHOC, begun), processes)
            sys.stdout.write(
                f"UI at {page} - start a run from its Deployments page; stop with Ctrl-C\n"
                f"{login.told}\n"
                f"products go to {products}, unless store.root in the form says otherwise\n"
                f"{nightly.told}\n"
                f"`galflow release` and `galflow watch` reach it with PREFECT_API_URL={server.api}\n"
            )
            sys.stdout.flush()
            while True:
                _require_running(processes)
                time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            sys.stderr.write("stopping ...\n")
        finally:
            _stop(processes, server)


def require_free(port: int) -> None:
    """GalflowError if something listens at ``port`` of this machine already."""
    if (why := taken(HOST, port)) is not None:
        raise GalflowError(
            f"port {port} of {HOST} cannot be had ({why}); stop what listens there, or choose another with --port"
        )


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """These signals raise KeyboardInterrupt here, also where a shell's ``&`` had SIGINT ignored."""
    before = {s: signal.signal(s, signal.default_int_handler) for s in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(*arguments: str, environment: dict[str, str], folder: Path | None = None) -> Process:
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],  # -P: not whatever lies in the current folder
        env=os.environ | environment,
        cwd=folder,
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


def _stop(processes: dict[str, Process], server: Server) -> None:
    """End the runner and its runs, then the server, and whatever they leave behind in their sessions."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if "runner" in processes:
        _end(processes["runner"])
        if processes["server"].poll() is None:
            with contextlib.suppress(httpx.HTTPError):  # a server that no longer answers keeps no books
                server.call_off()
    if "server" in processes:
        _end(processes["server"])


def _end(process: Process) -> None:
    process.send_signal(signal.SIGINT)  # on SIGTERM Prefect's runner would end in traces
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
