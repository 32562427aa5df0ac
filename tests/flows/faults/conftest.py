"""One small whole run, undisturbed; the same run disturbed at a chosen moment; and what both must have in common."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import yaml

from galflow.storage.layout import RECEIPT_SUFFIX
from galflow.storage.receipts import list_runs, read_manifest, read_receipts
from galflow.storage.store import Store

if TYPE_CHECKING:
    from conftest import Command, Finished, RunToItsEnd

SETS = 4
"""Cutout sets: three tiles, and that of the sample."""
_LOOK_SECONDS = 0.01
_PATIENCE_SECONDS = 300.0


def small() -> dict[str, Any]:
    sky = {"tiles": 3, "tile_size": 192, "objects_per_tile": 25, "magnitude_range": [18.5, 21.5]}
    sample = sky | {"tiles": 1, "seed": 5, "magnitude_range": [16.5, 18.0]}
    return {
        "name": "matrix",
        "survey": {"kind": "synthetic", "release": "dr1", "options": sky},
        "cutouts": {"size": 16, "plant": {"per_tile": 3}},
        "models": [
            {"name": "kmeans", "model": "kmeans.KMeans"},
            {"name": "vae", "model": "vae.VAE", "options": {"latent": 4, "width": 8}, "training": {"epochs": 40}},
        ],
        "training": {"batch_size": 8, "reference_fraction": 0.3, "checkpoint_seconds": 0.5},
        "scoring": {"primary": "vae_neg_elbo", "batch_objects": 1},
        "comparison": {"controls": [],
            "bootstraps": 200,
            "samples": [{"name": "bright", "survey": {"kind": "synthetic", "name": "bright", "options": sample}}],
        },
        "cluster": {"workers": 2},
        "output": {"top": 3},
    }  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """How far the run on a store has come, by what lies there."""

    store: Store

    def receipts(self, prefix: str) -> list[str]:
        return [key for key in self.store.list(prefix) if key.endswith(RECEIPT_SUFFIX)]

    def in_the_midst_of(self, stage: str) -> bool:
        """Whether the stage has begun; a test's own assertion is that it had not ended."""
        if stage == "cutting":
            return len(self.receipts("cutouts")) > 0
        if stage == "training":
            return any(key.endswith("checkpoint.pt") for key in self.store.list("models/vae"))
        if stage == "scoring":
            return len(self.receipts("scores")) > 0
        if stage == "comparing":
            return len(self.receipts("scores")) == SETS
        return len(self.store.list("catalogs")) > 0

    def past(self, stage: str) -> bool:
        """Whether there is nothing left to do of a stage."""
        done = {
            "cutting": lambda: len(self.receipts("cutouts")) == SETS,
            "training": lambda: len(self.receipts("models")) == 2,
            "scoring": lambda: len(self.receipts("scores")) == SETS,
            "comparing": lambda: len(self.receipts("comparisons")) == 1,
            "publishing": lambda: len(list_runs(self.store)) == 1,
        }
        return done[stage]()


def products_in(store: Store) -> list[str]:
    """Every key but those of leases: the lease of a run that was killed has to expire."""
    return [key for key in store.list("") if not key.startswith("leases/")]


@dataclass(frozen=True)
class Ended:
    """A run that has ended."""

    code: int
    said: str
    seconds: float


class Running:
    """A run in a process of its own."""

    def __init__(self, galflow: Command, spec: Path, root: str, log: Path, environment: dict[str, str]) -> None:
        self._log = log
        self._before = set(galflow.alive())
        self._galflow = galflow
        self._began = time.monotonic()
        self.process: subprocess.Popen[bytes] = galflow.start(log, "run", str(spec), "--root", root, **environment)

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for(self, happened: Callable[[], Any], what: str) -> None:
        """Return as soon as something has happened; fails if the run ends before."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while not happened():
            if self.process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"the run did not come to {what} (exit {self.process.poll()}):\n{self.said}")
            time.sleep(_LOOK_SECONDS)

    def workers(self) -> list[int]:
        """Process numbers of its Dask workers."""
        mine = {pid: words for pid, words in self._galflow.alive().items() if pid not in self._before}
        forks = {pid for pid, words in mine.items() if "multiprocessing.forkserver" in words}
        # One of them is what the others were forked from.
        return [pid for pid in forks if psutil.Process(pid).ppid() in forks]

    def kill(self) -> None:
        """As the kernel does when memory is short; its workers are to end by themselves."""
        self.process.kill()
        self.process.wait()
        until = time.monotonic() + 15
        while left := set(self._galflow.alive()) - self._before:
            assert time.monotonic() < until, f"left behind: {left}"
            time.sleep(0.05)

    def end(self) -> Ended:
        """Wait for its end."""
        try:
            code = self.process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            pytest.fail(f"the run did not end:\n{self.said}")
        return Ended(code, self.said, time.monotonic() - self._began)


@dataclass(frozen=True)
class Matrix:
    """Starts runs of the one specification, and compares what they leave with the undisturbed run."""

    galflow: Command
    undisturbed: Finished
    prefect: dict[str, str]
    folder: Path
    _record: Callable[[str, object], None]

    def start(self, root: str | None = None, *, own_server: bool = False, **environment: str) -> Running:
        """Start a run, on a store of the test's own; ``own_server``: with a Prefect server that Prefect starts."""
        spec = self.folder / f"{uuid.uuid4().hex[:6]}.yaml"
        spec.write_text(yaml.safe_dump(self.undisturbed.document))
        server = {} if own_server else self.prefect
        root = root or str(self.folder / "store")
        return Running(self.galflow, spec, root, spec.with_suffix(".log"), server | environment)

    def progress(self, root: str | None = None) -> Progress:
        return Progress(Store.open(root or self.folder / "store"))

    def require_same(self, root: str | None = None) -> None:
        """The same products as the undisturbed run's, no less and no more, and the same catalogue to the byte."""
        mine, theirs = Store.open(root or self.folder / "store"), self.undisturbed.store
        assert list_runs(mine) == list_runs(theirs)
        assert products_in(mine) == products_in(theirs)
        for stage in ("cutouts", "joins", "scores", "catalogs"):
            assert theirs.list(stage), stage
            for key in theirs.list(stage):
                if not key.endswith(RECEIPT_SUFFIX):
                    assert mine.get(key) == theirs.get(key), key
        (run,) = list_runs(mine)
        manifests = [read_manifest(store, run) for store in (mine, theirs)]
        assert manifests[0] is not None
        assert manifests[1] is not None
        assert manifests[0].summary == manifests[1].summary
        for stage, keys in manifests[1].products.items():
            assert manifests[0].products[stage] == keys
            rows = [[r.rows for r in read_receipts(store, keys)] for store in (mine, theirs)]
            assert rows[0] == rows[1]

    def line(self, fault: str, end: str) -> None:
        """A line of the table that the tests print when they have ended."""
        self._record("fault matrix", f"{fault:<58} {end}")


@pytest.fixture(scope="session")
def undisturbed_small(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """The specification, once from beginning to end."""
    return run_to_its_end(tmp_path_factory.mktemp("undisturbed"), small(), **prefect_api)


@pytest.fixture
def matrix(
    galflow: Command,
    undisturbed_small: Finished,
    prefect_api: dict[str, str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> Matrix:
    return Matrix(galflow, undisturbed_small, prefect_api, tmp_path, record_property)


class PrefectServer:
    """A Prefect server of the test's own, to be killed and started again on the same database and port."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self._port}/api"

    def start(self) -> None:
        quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_UI_ENABLED": "false"}
        words = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self._port), "--no-services"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *words], env=os.environ | quiet | {"PREFECT_HOME": str(self._home)},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        until = time.monotonic() + 120
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{self.api}/health", timeout=5).close()
                return
            time.sleep(0.1)
        pytest.fail(f"the Prefect server did not start (exit {self._process.poll()})")

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


@pytest.fixture
def prefect_server(tmp_path: Path) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path / "prefect-server")
    server.start()
    yield server
    server.kill()
