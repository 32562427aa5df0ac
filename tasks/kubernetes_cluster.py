"""Scheduler and workers as pods, started by the Dask operator. It installs no operator and holds no secret."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from dask.utils import parse_bytes
from distributed.core import Status

from galflow.errors import GalflowError, SpecError
from galflow.spec.cluster import ClusterSpec, KubernetesSpec

_SCHEDULER_MEMORY = "4Gi"
"""Some kilobytes a unit in flight, and the operator's probes."""


def kubernetes_cluster(spec: ClusterSpec, environment: Mapping[str, str]) -> Any:
    """A dask_kubernetes.operator.KubeCluster; SpecError without package, GalflowError without API or operator."""
    try:
        import httpx
        import kr8s
        from dask_kubernetes.operator import KubeCluster
    except ImportError as error:
        raise SpecError(
            f"cluster.kind: kubernetes needs the package dask-kubernetes, which is not installed ({error}); "
            "install galflow[kubernetes], or use another kind"
        ) from error

    class StartedWhole(KubeCluster):
        """One that could not be started is closed: otherwise Python prints its traces when it ends."""

        async def _start(self) -> None:
            try:
                await super()._start()
            except BaseException:
                self.status = Status.closed
                raise

    resource = cluster_resource(spec, f"galflow-{uuid.uuid4().hex[:10]}", environment)
    refused = (OSError, ValueError, RuntimeError, httpx.HTTPError, kr8s.ServerError, kr8s.APITimeoutError,
               kr8s.ConnectionClosedError, kr8s.NotFoundError)  # fmt: skip
    try:
        return StartedWhole(
            custom_cluster_spec=resource,
            namespace=spec.kubernetes.namespace,
            shutdown_on_close=True,
            resource_timeout=int(spec.patience_minutes * 60),
            quiet=True,
        )
    except refused as error:
        raise GalflowError(
            f"the Kubernetes cluster gave no Dask cluster ({type(error).__name__}: {error}); look whether `kubectl get "
            "daskclusters` works here, and install the Dask operator (helm: dask/dask-kubernetes-operator) if it says "
            "that there is no such resource"
        ) from error


def cluster_resource(spec: ClusterSpec, name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The DaskCluster resource that the operator is handed: what runs in which pods, with how much of what."""
    from dask_kubernetes.operator import make_cluster_spec

    asked = spec.kubernetes
    memory = str(parse_bytes(spec.memory_limit))
    limits = {"memory": memory} | ({"nvidia.com/gpu": str(asked.gpus_per_worker)} if asked.gpus_per_worker else {})
    resource: dict[str, Any] = make_cluster_spec(
        name=name,
        image=asked.image,
        n_workers=spec.workers or (spec.adaptive.minimum if spec.adaptive else 1),
        resources={"requests": limits | {"cpu": str(asked.cores or spec.threads_per_worker)}, "limits": limits},
        env=dict(environment),
        # `dask worker`: the script dask-worker, the operator's default, is no longer part of Dask.
        worker_command=["worker", "--nthreads", "1", "--memory-limit", memory],
        idle_timeout=asked.idle_minutes * 60,
    )
    worker, scheduler = resource["spec"]["worker"]["spec"], resource["spec"]["scheduler"]["spec"]
    (worker_container,), (scheduler_container,) = worker["containers"], scheduler["containers"]
    worker_container["envFrom"] = _environment_by_name(asked)
    if asked.node_selector:
        worker["nodeSelector"] = dict(asked.node_selector)
    scheduler_container["args"] = ["scheduler", "--host", "0.0.0.0"]
    # No GPU for the scheduler, which computes nothing.
    scheduler_container["resources"] = {"requests": {"cpu": "1", "memory": "1Gi"},
                                        "limits": {"memory": _SCHEDULER_MEMORY}}  # fmt: skip
    for pod, container in ((worker, worker_container), (scheduler, scheduler_container)):
        container["command"] = ["dask"]  # whatever the image's entrypoint is
        if asked.service_account:
            pod["serviceAccountName"] = asked.service_account
        if asked.image_pull_secrets:
            pod["imagePullSecrets"] = [{"name": secret} for secret in asked.image_pull_secrets]
    return resource


def _environment_by_name(asked: KubernetesSpec) -> list[dict[str, Any]]:
    secrets = [{"secretRef": {"name": name}} for name in asked.secrets]
    return [*secrets, *({"configMapRef": {"name": name}} for name in asked.config_maps)]
