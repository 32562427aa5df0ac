"""deploy/kubernetes without a cluster: the API's own types take every field, and what is referred to is there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
SECRETS = {
    "galflow-database": {"password"},
    "galflow-server": {"GALFLOW_TOKEN"},
    "galflow-store": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
}
"""Made by hand, as README.md says."""


def documents() -> list[tuple[str, dict[str, Any]]]:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    return [(file, d) for file in listed for d in yaml.safe_load_all((FOLDER / file).read_text())]


OBJECTS = documents()
each_object = pytest.mark.parametrize(
    "thing", [d for _, d in OBJECTS], ids=[f"{d['kind']}-{d['metadata']['name']}" for _, d in OBJECTS]
)


def pods(thing: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod template of a workload."""
    spec = thing.get("spec", {})
    if thing["kind"] == "CronJob":
        return [spec["jobTemplate"]["spec"]["template"]]
    return [spec["template"]] if "template" in spec else []


def named(kind: str) -> dict[str, dict[str, Any]]:
    return {d["metadata"]["name"]: d for _, d in OBJECTS if d["kind"] == kind}


@each_object
def test_the_api_knows_every_field(thing: dict[str, Any]) -> None:
    """A field that the type does not have is lost on the way; a wrong type or a missing field is refused."""
    api = client.ApiClient()
    typed = api.deserialize(json.dumps(thing), f"V1{thing['kind']}", "application/json")
    assert api.sanitize_for_serialization(typed) == thing
    groups = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1", "CronJob": "batch/v1"}
    assert thing["apiVersion"] == groups.get(
        thing["kind"], "networking.k8s.io/v1" if thing["kind"] == "NetworkPolicy" else "v1"
    )


@pytest.mark.parametrize("wrong", [{"replica": 1}, {"template": {"spec": {"containers": [{"name": "x", "img": "y"}]}}}])
def test_the_api_refuses_what_it_does_not_know(wrong: dict[str, Any]) -> None:
    thing = named("Deployment")["galflow-worker"]
    with pytest.raises((AssertionError, ValueError)):
        test_the_api_knows_every_field(thing | {"spec": thing["spec"] | wrong})


@each_object
def test_selectors_find_their_pods(thing: dict[str, Any]) -> None:
    if thing["kind"] in ("Deployment", "StatefulSet"):
        assert thing["spec"]["selector"]["matchLabels"].items() <= pods(thing)[0]["metadata"]["labels"].items()
    if thing["kind"] == "Service":
        (found,) = [
            pod for _, d in OBJECTS for pod in pods(d)
            if thing["spec"]["selector"].items() <= pod["metadata"].get("labels", {}).items()
        ]  # fmt: skip
        open_ports = {p["containerPort"] for c in found["spec"]["containers"] for p in c["ports"]}
        assert {port["port"] for port in thing["spec"]["ports"]} <= open_ports
    if thing["kind"] == "StatefulSet":
        assert thing["spec"]["serviceName"] in named("Service")


@each_object
def test_what_a_pod_refers_to_is_there(thing: dict[str, Any]) -> None:
    maps = named("ConfigMap")
    entrypoint = (FOLDER.parent / "entrypoint").read_text()
    for pod in pods(thing):
        volumes = {v["name"]: v for v in pod["spec"].get("volumes", [])}
        claims = {c["metadata"]["name"] for c in thing["spec"].get("volumeClaimTemplates", [])}
        for container in pod["spec"]["containers"]:
            for source in container.get("envFrom", []):
                if "configMapRef" in source:
                    assert source["configMapRef"]["name"] in maps
                else:
                    assert source["secretRef"]["name"] in SECRETS
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["key"] in SECRETS[reference["name"]]
                else:
                    assert not re.search(r"PASSWORD|SECRET|TOKEN|AUTH", variable["name"])
            for mount in container.get("volumeMounts", []):
                assert mount["name"] in volumes.keys() | claims
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                asked = container.get(probe, {})
                port = (asked.get("httpGet") or asked.get("tcpSocket") or {}).get("port")
                assert port is None or port in {p["name"] for p in container["ports"]}
            assert container["resources"].keys() >= {"requests", "limits"}
            if container["image"] in ("galflow", "galflow-cuda"):
                assert f"    {container['args'][0]})" in entrypoint
                assert pod["spec"]["securityContext"]["runAsNonRoot"]
            else:
                assert re.search(r":\d+\.\d+[\w.-]*$", container["image"]), f"{container['image']} is not pinned"
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps


def test_who_speaks_to_the_server_has_its_login_and_calls_it_by_its_name() -> None:
    settings = named("ConfigMap")["galflow"]["data"]
    server_names = {settings["GALFLOW_UI_URL"].partition("://")[2], *settings["GALFLOW_SERVER_NAMES"].split(",")}
    assert settings["PREFECT_API_URL"].split("/")[2] in server_names
    for container in [c for _, d in OBJECTS for pod in pods(d) for c in pod["spec"]["containers"]]:
        secrets = [source["secretRef"]["name"] for source in container.get("envFrom", []) if "secretRef" in source]
        speaks = container.get("args", [""])[0] in ("server", "deployments", "worker", "watch")
        assert ("galflow-server" in secrets) == speaks, container["name"]
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            if asked := container.get(probe, {}).get("httpGet"):  # by the pod's address, without this
                assert {h["value"] for h in asked["httpHeaders"] if h["name"] == "Host"} <= server_names


def test_images_of_ours_are_given_a_registry() -> None:
    given = {i["name"] for i in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["images"]}
    used = {c["image"] for _, d in OBJECTS for pod in pods(d) for c in pod["spec"]["containers"]}
    assert given == {image for image in used if "/" not in image}


def test_hosts_in_addresses_are_services() -> None:
    text = "".join((FOLDER / file).read_text() for file, _ in OBJECTS)
    hosts = set(re.findall(r"(?:http|tcp)://([a-z-]+):\d+", text))
    assert hosts == {"prefect-server", "dask-scheduler", "seaweedfs"}
    assert hosts <= set(named("Service"))


def test_every_file_is_listed_and_no_secret_is_among_them() -> None:
    assert {file for file, _ in OBJECTS} | {"kustomization.yaml"} == {p.name for p in FOLDER.glob("*.yaml")}
    assert named("Secret") == {}


def test_the_watched_specification_can_be_read() -> None:
    from galflow.spec.run import parse_spec

    (watcher,) = pods(named("CronJob")["galflow-watch"])
    (container,) = watcher["spec"]["containers"]
    path = Path(next(v["value"] for v in container["env"] if v["name"] == "GALFLOW_WATCH_SPEC"))
    assert str(path.parent) == container["volumeMounts"][0]["mountPath"]
    spec = parse_spec(yaml.safe_load(named("ConfigMap")["galflow-watched"]["data"][path.name]))
    settings = named("ConfigMap")["galflow"]["data"]
    assert spec.store.root == settings["GALFLOW_ROOT"]
    assert spec.cluster.address == settings["GALFLOW_SCHEDULER"]
