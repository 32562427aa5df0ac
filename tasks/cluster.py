"""Starts the Dask cluster that the specification names, and opens clients of it. Nothing else knows where work runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dask
from distributed import Client, LocalCluster, Worker, WorkerPlugin

from galflow.errors import SpecError
from galflow.spec import ClusterSpec, RunSpec

logger = logging.getLogger(__name__)
PROGRESS_TOPIC = "galflow-progress"
"""On which workers tell how far their unit is. Here, so that a worker need not import Prefect to know it."""
_SETTINGS = {
    # When a worker dies, tasks.fan_out finds out which of its units did it.
    "distributed.scheduler.allowed-failures": 0,
    # Each worker's nanny restarts it. Dask's cluster looks once, 15 s after a death, and gives a worker up for good
    # that happens to be restarting for a second time just then: after two such nobody is left to work.
    "distributed.deploy.lost-worker-timeout": "1000 days",
    "distributed.worker.daemon": True,
    "distributed.admin.log-length": 100,
    # Dask has each worker give freed memory back at once, which made training 2.4 times slower (half of the time in the
    # kernel, see benchmarks/README.md): torch asks for the same hundreds of megabytes again in the next step.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 30,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 1 << 30,
}


@dataclass(frozen=True)
class TorchThreads(WorkerPlugin):
    """Gives torch the declared number of threads in each worker: Dask pins OpenMP to one, whatever was asked for."""

    threads: int
    name: str = "galflow-torch-threads"

    def setup(self, worker: Worker) -> None:
        """Run when a worker starts, also when it comes back after a crash."""
        import torch

        torch.set_num_threads(self.threads)


@dataclass(frozen=True)
class FailuresToldOnce(WorkerPlugin):
    """Keeps a worker from printing the trace of every unit that failed: tasks.fan_out says it, once and in a line."""

    name: str = "galflow-failures-told-once"

    def setup(self, worker: Worker) -> None:
        """Run when a worker starts."""
        logging.getLogger("distributed.worker").addFilter(_not_of_a_unit)


def _not_of_a_unit(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("Compute Failed")


@contextmanager
def running_cluster(spec: RunSpec) -> Iterator[RunSpec]:
    """The same specification with the address of a cluster that runs until the end of the block.

    What the specification describes (local, cuda) is started once for all stages of a run; an address is used as it is.
    """
    if spec.cluster.kind == "address":
        yield spec
        return
    for name in ("distributed", "distributed.scheduler", "distributed.nanny", "distributed.core"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with dask.config.set(_SETTINGS), _environment_kept():
        cluster = _start(spec.cluster)
        try:
            reached = spec.cluster.model_copy(update={"kind": "address", "address": cluster.scheduler_address})
            yield spec.model_copy(update={"cluster": reached})
        finally:
            _close(cluster)


def _close(cluster: Any) -> None:
    """End the workers. One that is slow to go (a busy machine) is killed, and spoils no run that has finished."""
    try:
        cluster.close()
    except TimeoutError:
        logger.warning("a worker did not end when it was asked to, and was killed")


@contextmanager
def open_client(spec: ClusterSpec) -> Iterator[Client]:
    """A client of the cluster at ``spec.address``, closed at the end."""
    with Client(spec.address, set_as_default=False) as client:
        client.register_plugin(TorchThreads(spec.threads_per_worker))
        client.register_plugin(FailuresToldOnce())
        yield client


def _start(spec: ClusterSpec) -> Any:
    if spec.kind == "cuda":
        return _cuda_cluster(spec)
    return LocalCluster(
        n_workers=spec.workers or max(1, (os.cpu_count() or 1) // spec.threads_per_worker),
        threads_per_worker=1,
        processes=True,
        memory_limit=spec.memory_limit,
        dashboard_address="127.0.0.1:0",
        host="127.0.0.1",
    )


def _cuda_cluster(spec: ClusterSpec) -> Any:
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise SpecError(
            f"cluster.kind: cuda needs the package dask-cuda, which is not installed ({error}); "
            "install galflow[cuda], or use kind: local"
        ) from error
    return LocalCUDACluster(n_workers=spec.workers, threads_per_worker=1, dashboard_address="127.0.0.1:0")


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Dask sets OMP_NUM_THREADS and its kin for workers in this process's environment too; put them back."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)
