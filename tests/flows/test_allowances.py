from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.allowances import ALLOW, Allowances
from galflow.errors import SpecError
from galflow.spec.run import RunSpec, parse_spec

PLAIN: dict[str, Any] = {
    "name": "n",
    "survey": {"kind": "hubble"},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans"}, {"name": "vae", "model": "galflow.models.vae.VAE"}],
}
SLURM = {"kind": "slurm", "workers": 1, "memory_limit": "1GB"}
KUBERNETES = {"kind": "kubernetes", "workers": 1, "memory_limit": "1GB"}
EACH: list[tuple[str, str, dict[str, Any]]] = [
    ("cluster_addresses", "tcp://a:1", {"cluster": {"kind": "address", "address": "tcp://a:1"}}),
    ("dashboards", "0.0.0.0:8787", {"cluster": {"dashboard": "0.0.0.0:8787"}}),
    ("slurm", "module load x", {"cluster": SLURM | {"slurm": {"prologue": ["module load x"]}}}),
    ("slurm", "/theirs/python", {"cluster": SLURM | {"slurm": {"python": "/theirs/python"}}}),
    ("slurm", "/s; id", {"cluster": SLURM | {"slurm": {"local_directory": "/s; id"}}}),
    ("slurm", "--wrap=id", {"cluster": SLURM | {"slurm": {"job_extra_directives": ["--wrap=id"]}}}),
    ("kubernetes", "theirs:1", {"cluster": KUBERNETES | {"kubernetes": {"image": "theirs:1"}}}),
    ("plug_ins", "mine.Sky", {"survey": {"kind": "mine.Sky"}}),
    ("plug_ins", "os.path.M", {"models": [{"name": "m", "model": "os.path.M"}]}),
    ("plug_ins", "a.S", {"comparison": {"samples": [{"name": "s", "survey": {"kind": "a.S"}}]}}),
    (
        "plug_ins",
        "b.Sky",
        {"survey": {"kind": "skirt", "options": {"like": {"kind": "b.Sky"}}}},
    ),
    ("trained_models", "s3://b/m", {"models": [{"name": "m", "model": "vae.VAE", "trained": "s3://b/m"}]}),
    (
        "encoders",
        "/n/a.pt",
        {"models": [{"name": "m", "model": "pretrained.PretrainedEncoder", "options": {"encoder": "/n/a.pt"}}]},
    ),
    ("variables", "HOME", {"survey": {"kind": "stamps", "options": {"deep": [{"root": "x/${HOME}"}]}}}),
]


def spec(part: dict[str, Any]) -> RunSpec:
    return parse_spec(PLAIN | part)


def test_galflows_own_needs_no_allowance() -> None:
    assert Allowances().refused(spec({})) == []


@pytest.mark.parametrize(("kind", "value", "part"), EACH)
def test_each_kind_is_refused_until_the_owner_allows_it(
    kind: str, value: str, part: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (line,) = Allowances().refused(spec(part))
    assert repr(value) in line
    assert f"may add it to {kind} in {ALLOW}" in line
    (tmp_path / "allow.yaml").write_text(f"{kind}: ['{value}']")
    for given in (str(tmp_path / "allow.yaml"), f'{{"{kind}": ["{value}"]}}', f"{{{kind}: ['*']}}"):
        monkeypatch.setenv(ALLOW, given)
        assert Allowances.of_service().refused(spec(part)) == []
    # What the owner's own specification names, a form may name too.
    own = Allowances().with_those_of(spec(part))
    monkeypatch.setenv(ALLOW, own.text)
    assert Allowances.of_service() == own
    assert own.refused(spec(part)) == []


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [("s3://b/models/m", True), ("s3://b/models", True), ("s3://b/models-2/m", False), ("s3://b/models/../x", False)],
)
def test_trained_models_are_allowed_by_the_folder(uri: str, allowed: bool) -> None:
    part = {"models": [{"name": "m", "model": "vae.VAE", "trained": uri}]}
    assert (Allowances(trained_models=frozenset({"s3://b/models"})).refused(spec(part)) == []) == allowed


@pytest.mark.parametrize("name", ["pretrained.PretrainedEncoder", "galflow.models.pretrained.PretrainedEncoder"])
def test_an_encoder_that_may_be_a_program_is_allowed_by_its_folder_and_onnx_is_free(name: str) -> None:
    def part(encoder: str) -> dict[str, Any]:
        return {"models": [{"name": "m", "model": name, "options": {"encoder": encoder}}]}

    own = Allowances(encoders=frozenset({"/nets"}))
    for encoder, free, allowed in (
        ("/any/a.onnx", True, True),
        ("/nets/a.pt", False, True),
        ("/nets/../a.pt", False, False),
        ("/nets2/a.ts", False, False),
        ("/any/a.onnx.pt", False, False),
    ):
        assert (Allowances().refused(spec(part(encoder))) == []) == free, encoder
        assert (own.refused(spec(part(encoder))) == []) == allowed, encoder


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("absent.yaml", r"the file absent.yaml that GALFLOW_ALLOW names cannot be read: .*; expected YAML such as"),
        ("{plugins: [a.B]}", r"GALFLOW_ALLOW is not valid:\n  plugins: is not a field here\nexpected lists under clus"),
        ("{plug_ins: a.B}", r"GALFLOW_ALLOW is not valid:\n  plug_ins: "),
    ],
)
def test_allowances_that_cannot_be_read_say_so(given: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW, given)
    with pytest.raises(SpecError, match=text):
        Allowances.of_service()
