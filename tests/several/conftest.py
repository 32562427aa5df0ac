"""Hosts with a scheduler and workers, a run on them, and the same run on one machine."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from galflow.catalog.published import read_published
from galflow.storage.receipts import list_runs, read_manifest
from galflow.storage.store import Store
from tests.several.hosts import PROJECT, Host, Network, wait_for, why_not

PORT = 8786
WHOLE_RUN = str(Path(__file__).with_name("whole_run.py"))
_WORKER_SECONDS = 60.0


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skips where hosts cannot be made."""
    if reason := why_not():
        pytest.skip(reason)


@dataclass
class Machines:
    """Hosts `one` (the scheduler, the run, a worker), `two` (a worker), and `three` for whatever a test wants."""

    network: Network
    folder: Path
    protocol: str = "tcp"
    tls: list[str] = field(default_factory=list)

    @property
    def one(self) -> Host:
        return self.network.hosts["one"]

    @property
    def two(self) -> Host:
        return self.network.hosts["two"]

    @property
    def three(self) -> Host:
        return self.network.hosts["three"]

    @property
    def address(self) -> str:
        """The scheduler's."""
        return f"{self.protocol}://{self.one.address}:{PORT}"

    def start_scheduler(self, **environment: str) -> subprocess.Popen[bytes]:
        """On the first host, as the README says; with Dask's own settings."""
        return self.one.python(
            "-m", "distributed.cli.dask_scheduler", "--host", f"{self.protocol}://{self.one.address}", "--port",
            str(PORT), "--no-dashboard", *self.tls, log="scheduler.log", **environment,
        )  # fmt: skip

    def start_worker(self, host: Host, *more: str, **environment: str) -> None:
        """One more worker, under its nanny, started again when it ends, as the README says."""
        words = [
            sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--host",
            f"{self.protocol}://{host.address}", "--nthreads", "1", "--no-dashboard", "--death-timeout", "20",
            "--local-directory", str(self.folder / f"scratch-{host.name}"), *self.tls, *more,
        ]  # fmt: skip
        again = f"while true; do {shlex.join(words)}; sleep 1; done"
        host.start("sh", "-c", again, log=f"worker-{host.name}.log", **environment)

    def start(self, *hosts: Host) -> None:
        """Scheduler and a worker on each of the hosts."""
        self.start_scheduler()
        for host in hosts or (self.one, self.two):
            self.start_worker(host)
        self.wait_for_workers(len(hosts or (self.one, self.two)))

    def wait_for_workers(self, number: int) -> None:
        """Until so many have registered in all."""
        wait_for(self.folder / "scheduler.log", "Register worker", _WORKER_SECONDS, number)

    def specification(self, name: str, **changes: Any) -> Path:
        """A file with a small run on these machines."""
        content = small_run(self.folder / f"store-{name}") | {"cluster": {"kind": "address", "address": self.address}}
        for part, values in changes.items():
            content[part] = {**content.get(part, {}), **values} if isinstance(values, dict) else values
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    def run(self, path: Path, **environment: str) -> Running:
        """Start the run on host `one`."""
        log = f"{path.stem}.log"
        return Running(self.one.python(WHOLE_RUN, str(path), log=log, **environment), self.folder / log)


@dataclass
class Running:
    """A run under way."""

    process: subprocess.Popen[bytes]
    log: Path
    since: float = field(default_factory=time.monotonic)

    def reach(self, words: str, seconds: float = 120.0) -> None:
        """Wait until it has said this."""
        wait_for(self.log, words, seconds)

    def end(self, seconds: float = 240.0) -> int:
        """Its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the run has not ended after {seconds:g} s:\n{self.said[-3000:]}") from None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.since

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


def small_run(root: Path) -> dict[str, Any]:
    """Two tiles and an autoencoder that two workers train."""
    return {
        "name": "several",
        "survey": {"kind": "synthetic", "options": {"tiles": 2, "tile_size": 160, "objects_per_tile": 60}},
        "cutouts": {"size": 16},
        "models": [{"name": "ae", "model": "autoencoder.Autoencoder", "options": {"width": 8, "latent": 4}}],
        "training": {"epochs": 4, "batch_size": 16, "reference_fraction": 0.3, "workers": 2},
        "output": {"report": False},
        "store": {"root": str(root)},
    }


def catalogue(root: Path | str) -> pa.Table:
    """The one published catalogue of a store, without the run's own number."""
    store = Store.open(root)
    (run,) = list_runs(store)
    manifest = read_manifest(store, run)
    assert manifest is not None
    table = read_published(store.uri(manifest.catalog))
    return table.drop_columns([name for name in ("run_id",) if name in table.column_names])


@pytest.fixture
def machines(namespaces: None, tmp_path: Path) -> Iterator[Machines]:
    """Three hosts, with nothing running on them."""
    with Network(tmp_path, ("one", "two", "three")) as network:
        yield Machines(network, tmp_path)


@pytest.fixture(scope="session")
def on_one_machine(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., pa.Table]:
    """The catalogue of the same run with `kind: local`, made when it is first asked for."""
    made: dict[str, pa.Table] = {}

    def make(**changes: Any) -> pa.Table:
        if (key := repr(sorted(changes.items()))) not in made:
            folder = tmp_path_factory.mktemp("local")
            content = small_run(folder / "store") | {"cluster": {"workers": 2}}
            for part, values in changes.items():
                content[part] = {**content.get(part, {}), **values} if isinstance(values, dict) else values
            (folder / "local.yaml").write_text(yaml.safe_dump(content))
            subprocess.run(
                [sys.executable, WHOLE_RUN, str(folder / "local.yaml")], check=True, timeout=200, cwd=folder,
                env=os.environ | {"PYTHONPATH": str(PROJECT)},
            )  # fmt: skip
            made[key] = catalogue(folder / "store")
        return made[key]

    return make


@pytest.fixture
def fault_line(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Adds a line to the table that pytest prints at its end."""

    def say(line: str) -> None:
        record_property("fault matrix", f"several machines | {line}")

    return say
