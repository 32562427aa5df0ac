"""Starts the Dask cluster that the specification names, and opens clients of it. Nothing else knows where work runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import dask
from distributed import Client, LocalCluster

from galflow.errors import GalflowError, SpecError
from galflow.spec.cluster import ClusterSpec, TlsFiles
from galflow.spec.emulation import EmulationSpec
from galflow.spec.run import RunSpec
from tasks.encryption import security_of, temporary_tls
from tasks.kubernetes_cluster import kubernetes_cluster
from tasks.ports import taken
from tasks.slurm_cluster import slurm_cluster
from tasks.worker_start import METHOD, WORKER_ENVIRONMENT, start_forking

logger = logging.getLogger(__name__)
Spec = TypeVar("Spec", RunSpec, EmulationSpec)
PROGRESS_TOPIC = "galflow-progress"
"""On which workers tell how far their unit is. Here, so that a worker need not import Prefect to know it."""
_SCHEDULER_SETTINGS = {
    # When a worker dies, tasks.fan_out finds out which of its units did it. It does so with any number here; with 0
    # Dask does not begin a unit again on its own, in the moment before the run hears of the death.
    "distributed.scheduler.allowed-failures": 0,
    # Adaptive clusters: a unit whose kind nobody has finished yet may be a training of hours, and only some units wait
    # for each worker (in_flight_per_worker), so that they must count for more than their number.
    "distributed.scheduler.unknown-task-duration": "60s",
    "distributed.adaptive.target-duration": "1s",
    # Looked at once a second: so long a worker may idle, which bridges the gap between two stages.
    "distributed.adaptive.wait-count": 60,
    "distributed.scheduler.preload": [*dask.config.get("distributed.scheduler.preload"), "tasks.metrics"],
}
_SETTINGS = {
    **_SCHEDULER_SETTINGS,
    "distributed.worker.daemon": True,
    "distributed.admin.log-length": 100,
    **{f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in WORKER_ENVIRONMENT.items()},
}
_LOST_WORKER_TIMEOUT = {
    # Each worker's nanny restarts it. Dask's cluster looks once, 15 s after a death, and gives a worker up for good
    # that happens to be restarting for a second time just then: after two such nobody is left to work.
    "local": "1000 days",
    "cuda": "1000 days",
    # A batch job ends with its walltime or its node, and is then to be replaced.
    "slurm": "120s",
    "kubernetes": "120s",
}


@contextmanager
def running_cluster(spec: Spec) -> Iterator[Spec]:
    """The same specification with the address of a cluster that runs until the end of the block.

    What the specification describes (all kinds but address) is started once for all stages of a run, and ended with it;
    an address is used as it is. SpecError for what is missing here, GalflowError if no worker comes.
    """
    if spec.cluster.kind == "address":
        yield spec
        return
    for name in ("distributed", "distributed.scheduler", "distributed.nanny", "distributed.core"):
        logging.getLogger(name).setLevel(logging.WARNING)
    timeout = {"distributed.deploy.lost-worker-timeout": _LOST_WORKER_TIMEOUT[spec.cluster.kind]}
    _require_free_dashboard(spec.cluster.dashboard)
    with ExitStack() as held:
        method = METHOD if spec.cluster.kind == "local" else {}
        held.enter_context(dask.config.set(_SETTINGS | timeout | method))
        held.enter_context(_environment_kept())
        tls = held.enter_context(temporary_tls()) if _makes_certificates(spec.cluster) else spec.cluster.tls
        cluster = _start(spec.cluster, tls)
        try:
            _set_size(cluster, spec.cluster)
            yield spec.model_copy(update={"cluster": _reached(spec.cluster, cluster.scheduler_address, tls)})
        finally:
            _close(cluster)


def _makes_certificates(spec: ClusterSpec) -> bool:
    """Whether all of the cluster is on this machine and can be encrypted; UCX, between GPUs, cannot."""
    return spec.kind == "local" or (spec.kind == "cuda" and spec.cuda.protocol == "tcp")


def _require_free_dashboard(dashboard: str) -> None:
    """GalflowError if nothing can listen there: Dask would warn, and take some other port."""
    host, _, port = dashboard.rpartition(":")
    if (why := taken(host, int(port))) is not None:
        raise GalflowError(
            f"cluster.dashboard: nothing can listen at {dashboard} ({why}); stop what listens there, choose another "
            "port, or leave it out: then it is any free one"
        )


def _reached(spec: ClusterSpec, address: str, tls: TlsFiles | None) -> ClusterSpec:
    """The cluster that was started for ``spec``, by its address and with the certificates that it was started with."""
    return ClusterSpec(
        kind="address",
        address=address,
        tls=tls,
        threads_per_worker=spec.threads_per_worker,
        in_flight_per_worker=spec.in_flight_per_worker,
        wait_minutes=spec.patience_minutes if spec.kind == "slurm" else spec.wait_minutes,
    )


def _set_size(cluster: Any, spec: ClusterSpec) -> None:
    """As many workers as asked for, or as there is work for; from a queue at least one must come in time."""
    if spec.adaptive is not None:
        cluster.adapt(minimum=spec.adaptive.minimum, maximum=spec.adaptive.maximum)
    elif spec.kind == "slurm":
        cluster.scale(spec.workers)
    if spec.kind in ("slurm", "kubernetes"):
        try:
            cluster.wait_for_workers(1, timeout=spec.patience_minutes * 60)
        except TimeoutError as error:
            raise GalflowError(
                f"no {spec.kind} worker came within {spec.patience_minutes:g} minutes (cluster.wait_minutes); look at "
                "the queue and at the workers' logs, then give the same command again"
            ) from error


def _close(cluster: Any) -> None:
    """End the workers. One that is slow to go (a busy machine) is killed, and spoils no run that has finished."""
    try:
        cluster.close()
    except TimeoutError:
        logger.warning("a worker did not end when it was asked to, and was killed")


@contextmanager
def open_client(spec: ClusterSpec) -> Iterator[Client]:
    """A client of the cluster at ``spec.address``, closed at the end. Its workers were asked nothing yet."""
    with Client(spec.address, set_as_default=False, security=security_of(spec.tls)) as client:
        yield client


def _start(spec: ClusterSpec, tls: TlsFiles | None) -> Any:
    if spec.kind == "cuda":
        return _cuda_cluster(spec, tls)
    if spec.kind == "slurm":
        return slurm_cluster(spec, WORKER_ENVIRONMENT)
    if spec.kind == "kubernetes":
        # Its scheduler is elsewhere, and reads its settings from the environment.
        settings = {_variable(name): str(value) for name, value in _SCHEDULER_SETTINGS.items()}
        return kubernetes_cluster(spec, WORKER_ENVIRONMENT | settings)
    workers = spec.adaptive.minimum if spec.adaptive else spec.workers
    start_forking()
    return LocalCluster(
        n_workers=workers or max(1, (os.cpu_count() or 1) // spec.threads_per_worker),
        threads_per_worker=1,
        processes=True,
        memory_limit=spec.memory_limit,
        dashboard_address=spec.dashboard,
        host="127.0.0.1",
        security=security_of(tls),
        # Of now: the process that workers are forked from may be older.
        env=dict(os.environ) | WORKER_ENVIRONMENT,
    )


def _variable(setting: str) -> str:
    """The environment variable that Dask reads as ``setting``."""
    return "DASK_" + setting.replace(".", "__").replace("-", "_").upper()


def _cuda_cluster(spec: ClusterSpec, tls: TlsFiles | None) -> Any:
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise SpecError(
            f"cluster.kind: cuda needs the package dask-cuda, which is not installed ({error}); "
            "install galflow[cuda12] or galflow[cuda13], as the driver's CUDA is, or use kind: local"
        ) from error
    limit = spec.cuda.device_memory_limit
    # What LocalCUDACluster does not know by name it hands on to LocalCluster.
    connections = (
        {"protocol": spec.cuda.protocol}
        if tls is None
        else {"protocol": "tls", "host": "127.0.0.1", "security": security_of(tls)}
    )
    return LocalCUDACluster(
        n_workers=spec.workers,
        threads_per_worker=1,
        memory_limit=spec.memory_limit,
        dashboard_address=spec.dashboard,
        **connections,
        **({} if limit == "auto" else {"device_memory_limit": limit}),
    )


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Dask sets variables for workers in this process's environment too; put them back."""
    names = [*dask.config.get("distributed.nanny.pre-spawn-environ"), "PYTHONHASHSEED"]
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in names:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)
