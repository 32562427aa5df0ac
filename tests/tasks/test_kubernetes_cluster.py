"""What the Dask operator is handed, checked with its own schema, and sent by its client to a stand-in for the API."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dask
import jsonschema
import pytest
import yaml

from galflow.errors import GalflowError, SpecError
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec
from tasks import cluster
from tasks.cluster import running_cluster
from tasks.kubernetes_cluster import cluster_resource

operator = pytest.importorskip("dask_kubernetes.operator", reason="needs the extra galflow[kubernetes]")

Specify = Callable[..., RunSpec]
IMAGE = "registry.example/galflow@sha256:" + "ab" * 32


@pytest.fixture
def spec(specify: Specify) -> RunSpec:
    return specify(
        kind="kubernetes", workers=6, memory_limit="24GiB", threads_per_worker=4, wait_minutes=0.1,
        kubernetes={
            "image": IMAGE, "namespace": "survey", "gpus_per_worker": 1, "secrets": ["s3-keys"],
            "config_maps": ["s3-endpoint"], "image_pull_secrets": ["registry"], "service_account": "galflow",
            "node_selector": {"gpu": "a100"}, "idle_minutes": 30,
        },
    )  # fmt: skip


def crd() -> dict[str, Any]:
    """The operator's schema of a DaskCluster, in which an unknown field, which Kubernetes drops, is an error."""
    path = "operator/deployment/helm/dask-kubernetes-operator/crds/daskcluster.yaml"
    (version,) = yaml.safe_load(Path(operator.__file__).parents[1].joinpath(path).read_text())["spec"]["versions"]

    def strict(part: Any) -> Any:
        if isinstance(part, list):
            return [strict(p) for p in part]
        if not isinstance(part, dict):
            return part
        closed = {"additionalProperties": False} if "properties" in part and part.get("type") == "object" else {}
        return closed | {key: strict(value) for key, value in part.items()}

    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {}}
    return schema


def test_resource_is_as_specified_and_as_the_operator_takes_it(spec: RunSpec) -> None:
    resource = cluster_resource(spec.cluster, "galflow-1", {"MALLOC_TRIM_THRESHOLD_": "7"})
    jsonschema.validate(resource, crd())
    assert (resource["kind"], resource["metadata"], resource["spec"]["idleTimeout"]) == (
        "DaskCluster", {"name": "galflow-1"}, 1800,
    )  # fmt: skip
    workers, scheduler = resource["spec"]["worker"], resource["spec"]["scheduler"]
    assert workers["replicas"] == 6
    ((worker,), (head,)) = workers["spec"]["containers"], scheduler["spec"]["containers"]
    assert worker["image"] == head["image"] == IMAGE
    assert worker["env"] == head["env"] == [{"name": "MALLOC_TRIM_THRESHOLD_", "value": "7"}]
    memory = str(24 << 30)
    assert worker["resources"] == {
        "requests": {"cpu": "4", "memory": memory, "nvidia.com/gpu": "1"},
        "limits": {"memory": memory, "nvidia.com/gpu": "1"},
    }
    assert "nvidia.com/gpu" not in json.dumps(head)
    assert [*worker["command"], *worker["args"]][:6] == ["dask", "worker", "--nthreads", "1", "--memory-limit", memory]
    assert [*head["command"], *head["args"]] == ["dask", "scheduler", "--host", "0.0.0.0"]
    assert worker["envFrom"] == [{"secretRef": {"name": "s3-keys"}}, {"configMapRef": {"name": "s3-endpoint"}}]
    assert "envFrom" not in head
    assert workers["spec"]["nodeSelector"] == {"gpu": "a100"}
    for pod in (workers["spec"], scheduler["spec"]):
        assert (pod["serviceAccountName"], pod["imagePullSecrets"]) == ("galflow", [{"name": "registry"}])


def test_adaptive_begins_with_its_minimum(specify: Specify) -> None:
    adaptive = specify(
        kind="kubernetes", adaptive={"minimum": 2, "maximum": 9}, memory_limit="8GB", kubernetes={"image": IMAGE}
    )
    resource = cluster_resource(adaptive.cluster, "galflow-1", {})
    jsonschema.validate(resource, crd())
    assert resource["spec"]["worker"]["replicas"] == 2


@pytest.mark.parametrize("part", ["worker", "scheduler"])
def test_pods_run_commands_that_dask_has(part: str, spec: RunSpec) -> None:
    """The operator's own default, dask-worker, is no longer part of Dask. What it adds to the arguments counts too."""
    resource = cluster_resource(spec.cluster, "galflow-1", {})
    (container,) = resource["spec"][part]["spec"]["containers"]
    command = [*container["command"], *container["args"], "--version"]
    ran = subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert (ran.returncode, "2026.7" in ran.stdout) == (0, True), ran.stderr


def test_scheduler_elsewhere_reads_its_settings_from_the_environment() -> None:
    variables = {cluster._variable(name): str(value) for name, value in cluster._SCHEDULER_SETTINGS.items()}
    read = dask.config.collect_env(variables)
    for name, value in cluster._SCHEDULER_SETTINGS.items():
        assert dask.config.get(name, config=read) == value


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any]]]:
    """Stands in for a Kubernetes API that knows no DaskCluster: notes what is asked of it, and refuses it."""
    asked: list[tuple[str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200 if self.path.rstrip("/") == "/version" else 404)

        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self._answer(404)

        def _answer(self, code: int) -> None:
            body = json.dumps({"gitVersion": "v1.33.0", "major": "1", "minor": "33", "message": "not here"}).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield asked
    server.shutdown()
    server.server_close()
    # The operator's own client leaves its connection to whoever collects it: here, and not in a later test.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_resource_is_sent_and_a_missing_operator_is_named(api: list[tuple[str, Any]], spec: RunSpec) -> None:
    with (
        pytest.raises(GalflowError, match=r"gave no Dask cluster .*; look whether `kubectl get daskclusters` works"),
        running_cluster(spec),
    ):
        pass
    ((path, sent),) = api
    assert path.endswith("/namespaces/survey/daskclusters")
    name = sent["metadata"]["name"]
    assert name.startswith("galflow-")
    variables = {item["name"]: item["value"] for item in sent["spec"]["worker"]["spec"]["containers"][0]["env"]}
    assert variables["MALLOC_TRIM_THRESHOLD_"] == str(1 << 30)
    assert variables["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] == "0"
    assert sent["spec"] == cluster_resource(spec.cluster, name, variables)["spec"]


def test_without_an_api_the_run_says_so(specify: Specify, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    # Another namespace than the other tests': kr8s keeps the connections that it has made.
    kubernetes = {"image": IMAGE, "namespace": "nowhere"}
    spec = specify(kind="kubernetes", workers=1, memory_limit="8GB", kubernetes=kubernetes)
    with (
        pytest.raises(GalflowError, match=r"the Kubernetes cluster gave no Dask cluster \(ValueError"),
        running_cluster(spec),
    ):
        pass


def test_without_its_package_the_run_says_what_to_install(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_kubernetes.operator", None)
    with pytest.raises(SpecError, match=r"install galflow\[kubernetes\], or use another kind"), running_cluster(spec):
        pass


def test_cluster_that_came_is_reached_by_its_address() -> None:
    """Once the operator has started it, it is a scheduler's address like any other."""
    started = ClusterSpec(
        kind="kubernetes", workers=2, memory_limit="8GB", threads_per_worker=3, in_flight_per_worker=5,
        kubernetes={"image": IMAGE},
    )  # fmt: skip
    assert cluster._reached(started, "tcp://10.0.0.1:8786", None) == ClusterSpec(
        kind="address", address="tcp://10.0.0.1:8786", threads_per_worker=3, in_flight_per_worker=5
    )
