"""The real command in processes of its own, one undisturbed run that many tests read, and a watch over what is left."""

from __future__ import annotations

import copy
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
from typing import Any

import pyarrow as pa
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient

from flows.login import VARIABLES
from galflow.catalog.published import planted_copies, read_published
from galflow.storage.layout import RECEIPT_SUFFIX
from galflow.storage.receipts import Receipt, RunManifest, list_runs, parse_receipt, read_manifest
from galflow.storage.store import Store

PROJECT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 200
_MARK = "GALFLOW_TEST_SESSION"


def _story() -> dict[str, Any]:
    survey = {
        "tiles": 3,
        "tile_size": 224,
        "overlap_pixels": 16,
        "objects_per_tile": 40,
        "magnitude_range": [18.5, 21.5],
    }
    bright = survey | {"tiles": 1, "seed": 5, "magnitude_range": [16.5, 18.0]}
    return {
        "name": "story",
        "seed": 3,
        "survey": {"kind": "synthetic", "release": "dr1", "options": survey},
        "cutouts": {"size": 16, "plant": {"per_tile": 3}},
        # k-means is done before the networks, which write checkpoints all the time and train for some seconds.
        "models": [
            {"name": "kmeans", "model": "kmeans.KMeans"},
            {"name": "vae", "model": "vae.VAE", "options": {"latent": 4, "width": 8}, "training": {"epochs": 40}},
            {
                "name": "pixelcnn",
                "model": "pixelcnn_pp.PixelCNNPP",
                "options": {"width": 8, "layers": 1, "mixtures": 2},
            },
        ],
        "training": {"epochs": 2, "batch_size": 8, "reference_fraction": 0.3, "checkpoint_seconds": 0.05},
        # One object at a time, so that scoring a tile takes long enough to be killed in.
        "scoring": {"primary": "vae_neg_elbo", "batch_objects": 1},
        "comparison": {"controls": [],
            "bootstraps": 60,
            "samples": [{"name": "bright", "survey": {"kind": "synthetic", "name": "bright", "options": bright}}],
        },
        "cluster": {"workers": 2},
        "output": {"top": 3},
    }  # fmt: skip


@dataclass(frozen=True)
class Command:
    """`python -m flows.cli` as a user starts it, with an environment of its own."""

    environment: dict[str, str]

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self._words(arguments), env=self._all(environment), cwd=PROJECT, capture_output=True, text=True,
            timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip

    def start(self, log: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start it in a session of its own, as a terminal does, and come back at once."""
        with log.open("wb") as out:
            return subprocess.Popen(
                self._words(arguments), env=self._all(environment), cwd=PROJECT, stdout=out, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    def left_behind(self, patience_seconds: float = 10.0) -> list[str]:
        """Processes of this session's runs that are still there after so many seconds: number and command line."""
        deadline = time.monotonic() + patience_seconds
        while (found := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [f"{pid} {words}" for pid, words in found.items()]

    def alive(self) -> dict[int, str]:
        """Whoever was started by these commands, or by their children, has their mark in its environment."""
        mark = f"{_MARK}={self.environment[_MARK]}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it ended while it was looked at
        return found

    def end_all(self) -> None:
        """Kill what is left."""
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)

    @staticmethod
    def _words(arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "flows.cli", *arguments]

    def _all(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GALFLOW_"))}
        return kept | self.environment | more


@dataclass(frozen=True)
class Finished:
    """A run that has ended: its process and what lies in its store."""

    root: str
    document: dict[str, Any]
    """Its specification."""
    process: subprocess.CompletedProcess[str]

    @property
    def store(self) -> Store:
        """Its store."""
        return Store.open(self.root)

    @property
    def manifest(self) -> RunManifest:
        """Of its one published run, with URIs for keys."""
        (run,) = list_runs(self.store)
        manifest = read_manifest(self.store, run)
        if manifest is None:
            pytest.fail(f"{run} has no manifest")
        return manifest.located(self.store)

    @property
    def catalog(self) -> pa.Table:
        """Its published catalogue."""
        return read_published(self.manifest.catalog)

    @property
    def planted(self) -> pa.Table:
        """Its planted copies, with the catalogue's columns and ``planted_kind``."""
        product = self.manifest.catalog.removeprefix(f"{self.store.root}/")
        found = planted_copies(self.store, product, self.catalog.column_names)
        return self.catalog.slice(0, 0) if found is None else found

    def receipts(self, prefix: str) -> list[Receipt]:
        """The receipts below a prefix, by key."""
        keys = [k for k in self.store.list(prefix) if k.endswith(RECEIPT_SUFFIX)]
        return [parse_receipt(key, self.store.get(key)) for key in keys]


WriteSpec = Callable[..., Path]
RunToItsEnd = Callable[..., Finished]


@pytest.fixture(scope="session")
def galflow(make_prefect_home: Callable[[str], Path]) -> Iterator[Command]:
    """The command, with a Prefect of its own; fails at the end if one of its processes has survived."""
    environment = {
        _MARK: uuid.uuid4().hex,
        "PREFECT_HOME": str(make_prefect_home("galflow")),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        # As at an institute: a proxy, here one that is not there, and no word of this machine.
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    command = Command(environment)
    yield command
    survivors = command.left_behind()
    command.end_all()
    if survivors:
        pytest.fail("processes left behind by galflow:\n" + "\n".join(survivors))


@pytest.fixture(scope="session")
def prefect_api(make_prefect_home: Callable[[str], Path]) -> Iterator[dict[str, str]]:
    """PREFECT_API_URL of one Prefect server for many runs, which then need not each start its own; SERVER_HOME: its
    folder.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_UI_ENABLED": "false"}
    home = str(make_prefect_home("server"))
    environment = {n: v for n, v in os.environ.items() if n not in VARIABLES} | quiet | {"PREFECT_HOME": home}
    words = ["prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-services"]
    server = subprocess.Popen(
        [sys.executable, "-m", *words], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _wait_until_healthy(server, f"http://127.0.0.1:{port}/api")
        yield {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "SERVER_HOME": home}
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _wait_until_healthy(server: subprocess.Popen[bytes], api: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{api}/health", timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the Prefect server did not start (exit {server.poll()})")


@pytest.fixture
def ask(prefect_api: dict[str, str]) -> Callable[..., Any]:
    """``ask(path, question)``: what the REST API of this session's Prefect server answers."""

    def asked(path: str, question: Any = None) -> Any:
        with SyncPrefectClient(prefect_api["PREFECT_API_URL"]) as client:
            return client.request("GET" if question is None else "POST", f"/{path}", json=question).json()

    return asked


@pytest.fixture
def story() -> dict[str, Any]:
    """The specification of the whole story as plain values, to be changed at will."""
    return _story()


def _write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / f"spec-{uuid.uuid4().hex[:8]}.yaml"
    path.write_text(yaml.safe_dump(copy.deepcopy(document), sort_keys=False))
    return path


@pytest.fixture
def write_spec(tmp_path: Path) -> WriteSpec:
    """Writes a specification to a file."""
    return lambda document: _write(tmp_path, document)


@pytest.fixture(scope="session")
def run_to_its_end(galflow: Command) -> RunToItsEnd:
    """Runs a specification in a folder, by the real command; fails the test if it ends with anything but 0."""

    def run(folder: Path, document: dict[str, Any], root: str | None = None, **environment: str) -> Finished:
        root = root or str(folder / "store")
        process = galflow("run", str(_write(folder, document)), "--root", root, **environment)
        if process.returncode:
            pytest.fail(f"the run ended with {process.returncode}:\n{process.stdout}{process.stderr}")
        return Finished(root, document, process)

    return run


@pytest.fixture(scope="session")
def undisturbed(run_to_its_end: RunToItsEnd, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The whole story, once from beginning to end, in a folder that no test may change."""
    return run_to_its_end(tmp_path_factory.mktemp("undisturbed"), _story())


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """The command within this process, for what starts no run: exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        from flows.cli import main

        for name in VARIABLES:  # which the command sets for what it starts: not for what other tests start
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        monkeypatch.setattr(sys, "argv", ["galflow", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call
