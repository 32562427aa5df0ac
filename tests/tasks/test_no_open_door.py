"""On a machine that others use too, nobody else can run code in a local cluster, nor reach a training on it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster, get_worker

from galflow.spec.run import RunSpec
from tasks.cluster import open_client, running_cluster
from tasks.rank_jobs import meeting_point

Specify = Callable[..., RunSpec]
NOBODY = 65534
ATTACK = """
import os, sys
# What is imported later could be where nobody may look; all of it is here before.
import distributed.protocol, distributed.comm.tcp
from distributed import Client
from distributed.security import Security
own = Security.temporary()
os.setgid({nobody}); os.setuid({nobody})
ours, theirs, key = sys.argv[1:]
try:
    open(key)
except PermissionError:
    print("key: refused")
def attack(name, address, security=None):
    try:
        with Client(address, timeout=2, security=security) as client:
            print(name, "RAN CODE:", client.run_on_scheduler(lambda: 40 + 2))
    except Exception as error:
        print(name, "refused:", type(error).__name__)
attack("open cluster", ours)
attack("plain", theirs)
attack("without TLS", theirs.replace("tls://", "tcp://"))
attack("own certificate", theirs, own)
"""


@pytest.fixture(scope="module")
def cluster(specify: Specify) -> Iterator[RunSpec]:
    with running_cluster(specify(workers=2)) as reached:
        yield reached


def listening(pid: int) -> set[str]:
    """Addresses at which a process and its children listen."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    found = [c for process in processes for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    return {connection.laddr.ip for connection in found}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_of_this_machine_runs_no_code(cluster: RunSpec) -> None:
    tls = cluster.cluster.tls
    assert tls is not None
    with open_client(cluster.cluster) as client:
        workers = list(client.scheduler_info(n_workers=-1)["workers"])
    with LocalCluster(n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as unprotected:
        words = [unprotected.scheduler_address, str(cluster.cluster.address), tls.key_file]
        tried = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", ATTACK.format(nobody=NOBODY), *words],
            capture_output=True, text=True, timeout=120, check=False, cwd="/",
        )  # fmt: skip
    said = tried.stdout.splitlines()
    assert "key: refused" in said, tried.stderr
    assert "open cluster RAN CODE: 42" in said, "the attack itself must be one"
    for name in ("plain", "without TLS", "own certificate"):
        assert any(line.startswith(f"{name} refused") for line in said), tried.stdout
    assert all(address.startswith("tls://127.0.0.1:") for address in workers)


def test_the_certificates_are_this_users_alone_and_go_with_the_cluster(specify: Specify, cluster: RunSpec) -> None:
    tls = cluster.cluster.tls
    assert tls is not None
    key = Path(tls.key_file)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert str(key) not in str(cluster.content())


def test_nothing_of_a_local_cluster_listens_to_other_machines(cluster: RunSpec) -> None:
    assert listening(os.getpid()) <= {"127.0.0.1", "::1"}


def test_ranks_of_a_local_cluster_meet_where_nobody_else_is(cluster: RunSpec) -> None:
    """Torch's own meeting point and gloo's connections would listen to whoever reaches this machine."""

    def meet(rank: int, address: str) -> tuple[set[str], str]:
        import torch

        from galflow.training.ranks import joined_ranks

        with joined_ranks(rank, 2, address, device=torch.device("cpu"), timeout_seconds=60) as ranks:
            total = ranks.total(torch.ones(1))
            assert total.item() == 2
            connections = [c for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]
            return {c.laddr.ip for c in connections}, get_worker().local_directory

    client: Client
    with open_client(cluster.cluster) as client:
        workers = sorted(client.scheduler_info(n_workers=-1)["workers"])
        address = client.submit(meeting_point, workers=workers[:1], pure=False).result()
        assert address.startswith("file://")
        folder = Path(address.removeprefix("file://")).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        futures = [client.submit(meet, rank, address, workers=[w], pure=False) for rank, w in enumerate(workers)]
        found = [future.result(timeout=120) for future in futures]
    assert set().union(*(ips for ips, _ in found)) <= {"127.0.0.1", "::1"}
    assert folder.is_relative_to(found[0][1])
