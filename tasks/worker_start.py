"""How a worker's process begins: its environment; and on this machine as the fork of one that is ready.

That one has imported galflow and torch already. A worker that imports them by itself takes seconds, at the start of a
run and each time one is restarted, and memory of its own for what all of them have alike. It is started once, does
nothing but fork, and ends with this one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

import dask
from distributed.utils import get_mp_context

WORKER_ENVIRONMENT = {
    # A worker starts in whatever folder its cluster chooses, where somebody's own tasks.py may lie.
    "PYTHONSAFEPATH": "1",
    # Dask has each worker give freed memory back at once, which made training 2.4 times slower (half of the time in the
    # kernel, see benchmarks/README.md): torch asks for the same hundreds of megabytes again in the next step.
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
}
METHOD: dict[str, Any] = {"distributed.worker.multiprocessing-method": "forkserver"}
"""Dask's setting."""
# torch._dynamo: torch imports it at the first optimiser, which took each worker more than two seconds.
_IMPORTED = [
    "distributed",
    "distributed.nanny",
    "tasks.worker_jobs",
    "tasks.unit_log",
    "tasks.same_code",
    "torch._dynamo",
]
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
"""A process with threads must not be forked; the workers' own number is set later (tasks.cluster.TorchThreads)."""


def start_forking() -> None:
    """Start the process that forks, unless it is there; it imports while others go on."""
    with dask.config.set(METHOD):
        get_mp_context().set_forkserver_preload(_IMPORTED)  # after Dask, which sets its own when it is first asked
    with _set(WORKER_ENVIRONMENT | _ONE_THREAD):
        forkserver.ensure_running()


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
