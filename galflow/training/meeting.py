"""Where the ranks of a training meet, and at which of a host's network interfaces they listen.

A host's name says neither: Debian gives it 127.0.1.1, and a host may have two networks. So the address is the one by
which the others already know the host, and gloo and NCCL are told the interface that has it. No wait is without end.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import psutil
import torch.distributed as dist

from galflow.errors import ModelError

INTERFACE_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
"""What an operator sets here stays."""
_LOOK_SECONDS = 0.05
_CONNECT_SECONDS = 10.0
"""One try to reach rank 0."""


def never() -> bool:
    """Nobody ends this training from outside."""
    return False


def own_address(host: str) -> tuple[str, str] | None:
    """The address of this machine that ``host`` (a name or an address) stands for, and the interface that has it.

    None if no interface has it, as behind a network address translation.
    """
    try:
        wanted = [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except OSError:
        return None  # a name that this machine does not know is no address of its own
    there = {
        entry.address.partition("%")[0]: name for name, entries in psutil.net_if_addrs().items() for entry in entries
    }
    return next(((address, there[address]) for address in wanted if address in there), None)


@contextlib.contextmanager
def listening_at(host: str) -> Iterator[None]:
    """Gloo and NCCL listen at the interface that has the address ``host``, unless the environment names another."""
    found = own_address(host)
    before = {variable: os.environ.get(variable) for variable in INTERFACE_VARIABLES}
    if found is not None:
        for variable in INTERFACE_VARIABLES:
            os.environ.setdefault(variable, found[1])
    try:
        yield
    finally:
        for variable, text in before.items():
            if text is None:
                os.environ.pop(variable, None)


def meet(rank: int, world: int, address: str, seconds: float, stopped: Callable[[], bool] = never) -> dist.Store:
    """The store of a meeting at which all ranks have arrived; ModelError says which did not come in time.

    ``address``: tcp://host:port of rank 0, or file://path where all are on one machine.
    """
    until = time.monotonic() + seconds
    here = f"rank {rank} of {world} on host {socket.gethostname()}"
    store = _opened(rank, world, address, until, stopped)
    if store is None:
        raise ModelError(
            f"{here} could not reach rank 0 at {address} within {seconds:g} s; check that the workers can reach each "
            "other's ports (README, A scheduler and workers on several hosts)"
        )
    store.set(f"arrived-{rank}", socket.gethostname())
    while missing := [other for other in range(world) if not store.check([f"arrived-{other}"])]:
        if stopped() or time.monotonic() > until:
            raise ModelError(
                f"{here} waited {seconds:g} s at {address}, and rank {', '.join(map(str, missing))} did not come; "
                "check that the workers can reach each other's ports"
            )
        time.sleep(_LOOK_SECONDS)
    return store


def _opened(rank: int, world: int, address: str, until: float, stopped: Callable[[], bool]) -> dist.Store | None:
    """None if rank 0 was not reached in time."""
    where = urlsplit(address)
    if where.scheme == "file":
        return dist.FileStore(where.path, world)
    host, port = where.hostname or "", where.port or 0
    # Asked plainly first: torch prints pages for a rank 0 that has not begun yet.
    while rank and not _answers(host, port):
        if stopped() or time.monotonic() > until:
            return None
        time.sleep(_LOOK_SECONDS)
    try:
        return dist.TCPStore(
            host, port, world, is_master=rank == 0, timeout=timedelta(seconds=_CONNECT_SECONDS), wait_for_workers=False
        )
    except dist.DistError as error:
        raise ModelError(
            f"rank {rank} of {world} on host {socket.gethostname()} cannot use {address}: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
