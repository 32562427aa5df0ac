"""What runs on a Dask worker that is one rank of a training: the choice of a meeting point, and the training."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from distributed import Worker, get_worker
from distributed.comm import get_address_host
from distributed.core import Status
from distributed.worker import thread_state

from galflow.errors import ModelError
from galflow.storage.receipts import Receipt
from galflow.training.gpu_arithmetic import pick_device
from galflow.training.meeting import own_address
from galflow.training.ranks import joined_ranks
from tasks.proxies import LOOPBACK
from tasks.worker_jobs import train

_ENDING = (Status.closing, Status.closed, Status.failed)
MEETING_SECONDS = 300.0
"""Longest that a rank waits for another, to meet or within a step. One whose worker is lost is noticed much sooner."""


def meeting_point() -> str:
    """A free port of this worker's host, as the others reach it.

    Where all are on this machine, a file that this user alone can read: at a port torch would listen to everybody.
    """
    worker = get_worker()
    host = listening_host(worker)
    if host in LOOPBACK:
        folder = tempfile.mkdtemp(prefix="meeting-", dir=worker.local_directory)  # it goes with the worker
        return f"file://{folder}/ranks"
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        port = probe.getsockname()[1]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def listening_host(worker: Worker) -> str:
    """The address of this host that Dask knows: by which the others reach it, or else at which the worker listens."""
    known = [get_address_host(address) for address in (worker.address, worker.listen_address)]
    for host in known:
        if (found := own_address(host)) is not None:
            return found[0]
    raise ModelError(
        f"worker {worker.address} on host {socket.gethostname()}: no network interface of this host has the address "
        f"{' or '.join(dict.fromkeys(known))}, so that other workers cannot meet it; start it with --host and an "
        "address of its own"
    )


def train_rank(rank: int, world: int, address: str, arguments: dict[str, Any]) -> Receipt | None:
    """``train`` as one of ``world`` ranks that meet at ``address``."""
    device = torch.device(pick_device())
    worker = get_worker()
    with joined_ranks(
        rank, world, address, device=device, timeout_seconds=MEETING_SECONDS, listen=listening_host(worker),
        stopped=_cancelled(worker, thread_state.key),
    ) as ranks:  # fmt: skip
        return train(**arguments, ranks=ranks)


def _cancelled(worker: Worker, key: str) -> Callable[[], bool]:
    """Whether the run has withdrawn this task, or this worker ends: then the training begins anew elsewhere."""

    def ask() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled" or worker.status in _ENDING

    return ask
