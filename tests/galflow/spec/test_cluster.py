"""Each kind of cluster takes its own fields, and what would be ignored, cannot work or is a secret is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from galflow.errors import SpecError
from galflow.spec.cluster import ClusterSpec, SlurmSpec
from galflow.spec.run import RunSpec, parse_spec

TLS = {"ca_file": "ca.pem", "cert_file": "me.pem", "key_file": "me.key"}
SLURM = {"kind": "slurm", "workers": 2, "memory_limit": "8GiB"}
KUBERNETES = {"kind": "kubernetes", "workers": 2, "memory_limit": "8GiB", "kubernetes": {"image": "galflow:1"}}
VALID: list[dict[str, Any]] = [
    {},
    {"kind": "local", "adaptive": {"minimum": 1, "maximum": 8}, "memory_limit": "1.5 GB"},
    {"kind": "cuda", "cuda": {"device_memory_limit": "60GiB", "protocol": "ucx"}},
    {"kind": "address", "address": "tcp://host:8786"},
    {"kind": "address", "address": "tls://host:8786", "tls": TLS},
    SLURM | {"tls": TLS, "slurm": {"queue": "gpu", "walltime": "1-12:00:00", "prologue": ["module load cuda"]}},
    {"kind": "slurm", "adaptive": {"maximum": 20}, "memory_limit": "8GiB", "wait_minutes": 600},
    KUBERNETES | {"kubernetes": {"image": "r.example/galflow@sha256:ab", "secrets": ["s3"], "gpus_per_worker": 1}},
]


def run_on(cluster: dict[str, Any]) -> RunSpec:
    models = [{"name": "km", "model": "kmeans.KMeans"}]
    return parse_spec({"name": "x", "survey": {"kind": "synthetic"}, "models": models, "cluster": cluster})


@pytest.mark.parametrize("cluster", VALID)
def test_what_a_form_sends_back_is_valid_again(cluster: dict[str, Any]) -> None:
    """A form sends every field of every kind, with its default."""
    spec = run_on(cluster)
    assert run_on(spec.cluster.model_dump(mode="json")) == spec


@pytest.mark.parametrize("cluster", VALID)
def test_where_the_work_runs_is_no_part_of_what_results_depend_on(cluster: dict[str, Any]) -> None:
    assert run_on(cluster).content() == run_on({}).content()


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (
            {"address": "tcp://h:1"},
            "address is given, but kind: local does not use it (address does); leave address ou",
        ),
        ({"tls": TLS}, "tls is given, but kind: local does not use it (address and slurm does)"),
        ({"slurm": {"queue": "gpu"}}, "slurm is given, but kind: local does not use it"),
        ({"kind": "cuda", "adaptive": {"maximum": 3}}, "adaptive is given, but kind: cuda does not use it"),
        ({"kind": "address", "address": "tcp://h:1", "workers": 3}, "workers is given, but kind: address does not use"),
        ({"kind": "address", "address": "tcp://h:1", "memory_limit": "8GB"}, "memory_limit is given, but kind: addre"),
        (SLURM | {"kubernetes": {"image": "x"}}, "kubernetes is given, but kind: slurm does not use it"),
        (KUBERNETES | {"tls": TLS}, "tls is given, but kind: kubernetes does not use it"),
        ({"kind": "address"}, "needs an address such as tcp://host:8786"),
        ({"kind": "address", "address": "tcp://h:1", "tls": TLS}, "the address is tcp://h:1; write it as tls://"),
        ({"kind": "address", "address": "tls://h:1"}, "address is tls://h:1, which needs tls: {ca_file, cert_file, ke"),
        ({"workers": 2, "adaptive": {"maximum": 3}}, "workers and adaptive are both given; one of them says how many"),
        ({"adaptive": {"minimum": 4, "maximum": 3}}, "minimum is 4, which is more than maximum, 3"),
        ({"adaptive": {"minimum": 0, "maximum": 3}}, "greater than or equal to 1"),
        ({"kind": "slurm", "memory_limit": "8GB"}, "kind: slurm needs workers, or adaptive with a maximum"),
        ({"kind": "slurm", "workers": 2}, "kind: slurm needs the memory of one worker, as memory_limit: 8GiB"),
        ({"kind": "kubernetes", "workers": 2, "memory_limit": "8GB"}, "needs kubernetes.image, a container image with"),
        ({"memory_limit": "8"}, "a size is a number and a unit, such as 8GiB or 500MB (given: '8')"),
        ({"kind": "cuda", "cuda": {"device_memory_limit": "lots"}}, "a size is a number and a unit"),
        ({"kind": "cuda", "cuda": {"protocol": "rdma"}}, "'tcp' or 'ucx'"),
        (SLURM | {"slurm": {"walltime": 14400}}, "hours:minutes:seconds; quote it in YAML (given: 14400)"),
        (SLURM | {"slurm": {"queue": "a\n#SBATCH -A b"}}, "one line of text is expected; give several lines as a list"),
        (KUBERNETES | {"kubernetes": {"image": "x", "secrets": ["S3 keys"]}}, "cluster.kubernetes.secrets.0"),
        (KUBERNETES | {"kubernetes": {"image": "x", "env": {"A": "b"}}}, "cluster.kubernetes.env: is not a field here"),
    ],
)
def test_what_cannot_be_meant_is_refused(cluster: dict[str, Any], expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        run_on(cluster)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["export AWS_SECRET_ACCESS_KEY=abc", "S3_PASSWORD='abc' true", 'export my_token="abc"', "AWS_ACCESS_KEY_ID=AKIA1"],
)
def test_a_secret_in_a_shell_line_is_refused_and_not_repeated(line: str) -> None:
    document = SLURM | {"slurm": {"prologue": ["module load cuda", line]}}
    with pytest.raises(
        SpecError, match=r"must not stand in a specification.* source ~/\.galflow-credentials"
    ) as caught:
        run_on(document)
    assert line not in str(caught.value)
    # Prefect validates a form's values itself, and shows what pydantic says.
    with pytest.raises(ValidationError) as shown:
        ClusterSpec.model_validate(document)
    assert line not in str(shown.value)


@pytest.mark.parametrize(
    "line", ["source ~/.galflow-credentials", "export TOKEN=$(cat ~/t)", "export S3_SECRET=`pass s3`", "export A=1"]
)
def test_a_secret_read_from_elsewhere_is_not(line: str) -> None:
    assert SlurmSpec(prologue=(line,)).prologue == (line,)


def test_default_is_this_machine() -> None:
    assert (ClusterSpec().kind, ClusterSpec().workers, ClusterSpec().adaptive) == ("local", None, None)
