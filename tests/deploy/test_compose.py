"""deploy/compose.yaml without a container engine: everything that it refers to is there, and no secret stands in it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
import pytest
import yaml

from flows.prefect_server import settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def roles() -> set[str]:
    """What the entrypoint knows."""
    return set(re.findall(r"^    ([a-z-]+)\)", (DEPLOY / "entrypoint").read_text(), re.MULTILINE))


def variables(env_file: str) -> dict[str, str]:
    """Of an example of an environment file."""
    lines = (DEPLOY / f"{env_file}.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_services_say_what_runs(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {
        "postgres", "seaweedfs", "prefect-server", "deployments", "worker", "dask-scheduler", "dask-worker",
        "dask-cuda-worker",
    }  # fmt: skip
    for name, service in compose["services"].items():
        image = re.sub(r"\$\{\w+:-(.*)\}", r"\1", service["image"])
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+:\d+\.\d+[\w.-]*", image), f"{name}: {image} is not pinned"
        assert service["restart"] in ("unless-stopped", "no")


def test_whatever_is_referred_to_is_there(compose: dict[str, Any], roles: set[str]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, condition in dict.fromkeys(service.get("depends_on", [])).items():
            wanted = condition or (service["depends_on"][other] if isinstance(service["depends_on"], dict) else {})
            assert other in services, f"{name} depends on {other}"
            if wanted.get("condition") == "service_healthy":
                assert "healthcheck" in services[other]
            if wanted.get("condition") == "service_completed_successfully":
                assert services[other]["restart"] == "no"
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
        for env_file in service.get("env_file", []):
            assert variables(env_file)
        if "build" in service:
            assert service["command"][0] in roles
            built = DEPLOY / service["build"]["context"]
            assert (built / service["build"]["dockerfile"]).is_file()
    used = {v.split(":")[0] for s in services.values() for v in s.get("volumes", [])}
    assert used == set(compose["volumes"])
    assert {services[n]["command"][0] for n in services if "build" in services[n]} == roles - {"watch"}


def test_hosts_in_addresses_are_services(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "compose.yaml").read_text() + (DEPLOY / "store.env.example").read_text()
    text += (DEPLOY / "entrypoint").read_text()
    hosts = set(re.findall(r"(?:http|tcp)://([a-z-]+):\d+", text))
    assert hosts <= set(compose["services"])
    assert {"prefect-server", "seaweedfs", "dask-scheduler"} <= hosts
    assert compose["services"]["prefect-server"]["environment"]["PREFECT_SERVER_DATABASE_HOST"] in compose["services"]


def test_only_the_ui_is_reachable_and_from_this_machine_alone(compose: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in compose["services"].items() if "ports" in s}
    assert published == {"prefect-server": ["127.0.0.1:4200:4200"]}


def test_secrets_stand_in_files_that_are_not_kept(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert not [v for v in service.get("environment", {}) if SECRET.search(v)], name
    for env_file in ("database.env", "server.env", "store.env"):
        assert not (DEPLOY / env_file).exists() or env_file in subprocess.run(
            ["git", "check-ignore", str(DEPLOY / env_file)], capture_output=True, text=True, check=False
        ).stdout  # fmt: skip
        assert [v for n, v in variables(env_file).items() if SECRET.search(n)] == [""] * sum(
            bool(SECRET.search(n)) for n in variables(env_file)
        )
    for name, service in compose["services"].items():
        asks = name in ("prefect-server", "deployments", "worker")
        assert ("server.env" in service.get("env_file", [])) == asks, f"{name} has the login or has it not"
    # Neither sees what only the other needs.
    assert not [n for n in variables("store.env") if n.startswith(("POSTGRES", "PREFECT"))]
    assert not [n for n in variables("database.env") if n.startswith("AWS")]


@pytest.mark.full
def test_prefect_knows_the_names_of_the_servers_settings(compose: dict[str, Any], tmp_path: Path) -> None:
    given = compose["services"]["prefect-server"]["environment"] | variables("database.env")
    given |= settings(given["GALFLOW_UI_URL"])
    given |= {"PREFECT_SERVER_DATABASE_PASSWORD": "a/b@c"}
    code = (
        "from prefect.settings import get_current_settings as s\n"
        "d = s().server.database\n"
        "print(d.driver, d.host, d.port, d.name, d.user, d.password.get_secret_value(), s().server.ui.api_url)\n"
        "from prefect.server.database.dependencies import provide_database_interface as p\n"
        "from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL as u\n"
        "print(u.value().get_secret_value() if hasattr(u.value(), 'get_secret_value') else u.value())\n"
    )
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PREFECT_")}
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=kept | given | {"PREFECT_HOME": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    believed, address = said.stdout.splitlines()
    assert believed.split() == [
        "postgresql+asyncpg", "postgres", "5432", "prefect", "prefect", "a/b@c", "http://127.0.0.1:4200/api",
    ]  # fmt: skip
    assert address == "postgresql+asyncpg://prefect:a%2Fb%40c@postgres:5432/prefect"


def bucket_of(port: int, keys: dict[str, str]) -> None:
    """List the bucket that the specifications name, with these keys."""
    client = botocore.session.Session().create_client(
        "s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=botocore.config.Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )  # fmt: skip
    try:
        assert client.list_objects_v2(Bucket="galflow")["KeyCount"] == 0
    finally:
        client.close()


@pytest.mark.s3
def test_the_store_starts_with_these_words_and_takes_no_other_secret(compose: dict[str, Any], tmp_path: Path) -> None:
    """The command of the service seaweedfs, but for its address and ports, with the binary of the same version."""
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    service = compose["services"]["seaweedfs"]
    version = subprocess.run([str(weed), "version"], capture_output=True, text=True, check=True).stdout
    assert service["image"].rpartition(":")[2] in version
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        base = 12000 + probe.getsockname()[1] % 15000
    own = {"-dir": str(tmp_path), "-ip": "127.0.0.1", "-ip.bind": "127.0.0.1", "-s3.port": str(base)}
    words = [w if w.split("=")[0] not in own else f"{w.split('=')[0]}={own[w.split('=')[0]]}" for w in
             service["command"]]  # fmt: skip
    words += [f"-{name}.port={base + offset}" for offset, name in enumerate(("master", "volume", "filer", "admin"), 1)]
    keys = {"AWS_ACCESS_KEY_ID": "galflow", "AWS_SECRET_ACCESS_KEY": "for-this-test"}
    environment = os.environ | service["environment"] | keys | {"GOMEMLIMIT": "512MiB"}
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([str(weed), *words], env=environment, stdout=out, stderr=out, cwd=tmp_path)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            try:
                bucket_of(base, keys)
                break
            except botocore.exceptions.EndpointConnectionError:
                time.sleep(0.2)  # not up yet
            except botocore.exceptions.ClientError as error:
                # Up, but its bucket is made a little later.
                if error.response["Error"]["Code"] not in ("NoSuchBucket", "InternalError"):
                    raise
                time.sleep(0.2)
        else:
            pytest.fail(log.read_text(errors="replace")[-2000:])
        with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
            bucket_of(base, keys | {"AWS_SECRET_ACCESS_KEY": "another"})
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
