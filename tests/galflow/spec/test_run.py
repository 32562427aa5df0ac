"""YAML in, clear errors out, and fingerprints that are the same everywhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from galflow.errors import SpecError
from galflow.spec.models import ModelSpec
from galflow.spec.run import CutoutSpec, RunSpec, fingerprint, load_spec, parse_spec
from galflow.spec.training import TrainingOverrides

MINIMAL: dict[str, Any] = {
    "name": "demo",
    "survey": {"kind": "hubble"},
    "models": [{"name": "vae", "model": "vae.VAE"}],
}
CONTENT = [{"b": [1, 2.5, -0.1, 1e-7, 1e22, 12345678901234567890], "a": None}, "Sérsic \U0001f30c", True, 2**63]
"""What the golden fingerprint is of: key order, floats, big integers, text beyond ASCII."""
PLAIN_FINGERPRINT = """
import hashlib, json, sys
content = json.load(sys.stdin)
text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
print(hashlib.sha256(text.encode("ascii")).hexdigest()[:16])
"""
"""The same fingerprint in the standard library alone, for interpreters without galflow."""


VAE = MINIMAL["models"][0]


def _with(path: str, value: Any) -> dict[str, Any]:
    """The minimal specification with one value set, at a path like cutouts.size."""
    document: dict[str, Any] = json.loads(json.dumps(MINIMAL))
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return document


def test_a_yaml_file_becomes_a_spec_with_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "name: first-run\nseed: 7\nsurvey:\n  kind: fits_tiles\n  release: 2.0\n  options: {folder: /data}\n"
        "cutouts: {size: 48, bands: [r, g], plant: {per_tile: 3}}\n"
        "models:\n- {name: vae, model: vae.VAE, options: {latent: 8}, training: {epochs: 3}}\n"
        "output: {formats: [parquet, fits]}\n",
        encoding="utf-8",
    )
    spec = load_spec(path)
    assert (spec.name, spec.seed, spec.cutouts.size, spec.cutouts.bands) == ("first-run", 7, 48, ("r", "g"))
    assert spec.survey.release == "2.0"  # a number in YAML, a text in the spec
    assert spec.survey.survey_name == "fits-tiles"
    assert spec.cutouts.plant is not None
    assert spec.cutouts.plant.per_tile == 3
    assert spec.training_of(spec.models[0]).epochs == 3
    assert spec.training_of(spec.models[0]).batch_size == spec.training.batch_size
    assert spec.output.formats == ("parquet", "fits")
    assert load_spec(path, root="s3://b/p").store.root == "s3://b/p"
    assert spec.store.root == "galflow-out"


def test_a_spec_survives_json_and_yaml_unchanged(tmp_path: Path) -> None:
    spec = parse_spec(_with("stretch.sky_sigma", {"r": 0.1, "g": 1 / 3}))
    path = tmp_path / "again.yaml"
    path.write_text(spec.model_dump_json(), encoding="utf-8")  # JSON is YAML
    assert load_spec(path) == spec
    assert fingerprint(load_spec(path)) == fingerprint(spec)


def test_the_json_schema_describes_every_field() -> None:
    schema = RunSpec.model_json_schema()
    assert schema["required"] == ["name", "survey", "models"]
    parts = {"RunSpec": schema} | schema["$defs"]
    nameless = [
        f"{part}.{name}"
        for part, content in parts.items()
        for name, value in content.get("properties", {}).items()
        if not value.get("description") and not parts[value["$ref"].rpartition("/")[2]].get("description")
    ]
    assert nameless == []
    assert all(part.get("additionalProperties") is False for part in parts.values() if "properties" in part)
    size = schema["$defs"]["CutoutSpec"]["properties"]["size"]
    assert (size["minimum"], size["maximum"], size["default"]) == (8, 512, 32)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("cutouts.size", 4, ["cutouts.size", "given: 4", "greater than or equal to 8"]),
        ("cutouts.pixels", "jpeg", ["cutouts.pixels", "'jpeg'", "'lossless' or 'quantised'"]),
        ("cutouts.sise", 32, ["cutouts.sise", "is not a field here"]),
        ("training.epochs", "many", ["training.epochs", "'many'", "integer"]),
        ("training.validation_fraction", 0.7, ["training.validation_fraction", "0.7", "less than 0.5"]),
        ("stretch.white_sigma", float("nan"), ["stretch.white_sigma", "nan", "finite"]),
        ("name", "My Run", ["name", "'My Run'", "letters, digits and . _ -", "lower case"]),
        ("seed", -1, ["seed", "-1", "greater than or equal to 0"]),
        ("cluster.kind", "address", ["cluster", "needs an address such as tcp://host:8786"]),
        ("cluster.address", "tcp://x:1", ["cluster", "kind: local does not use it"]),
        ("output.formats", ["csv"], ["output.formats.0", "'csv'", "'parquet', 'fits', 'votable' or 'hats'"]),
        ("survey", {"release": "1"}, ["survey.kind", "is required but missing"]),
        ("models", [], ["models", "at least 1 item"]),
        ("models", [MINIMAL["models"][0]] * 2, ["model names must differ", "'vae' occurs 2 times"]),
        ("models", [VAE | {"sample": "x"}], ["model 'vae': sample is 'x'", "one of none, for there is no such"]),
        ("models", [VAE | {"background": "vae"}], ["model 'vae': background is 'vae'", "none, for there is no such"]),
        ("models", [VAE, VAE | {"name": "b", "background": "c"}], ["background is 'c'", "expected one of vae"]),
        (
            "models",
            [VAE, VAE | {"name": "b", "background": "vae", "options": {"conditions": ["magnitude"]}}],
            ["model 'b' is given conditions ['magnitude'] and its background 'vae' []", "the same option conditions"],
        ),
        (
            "models",
            [VAE | {"name": n, "background": b} for n, b in (("x", "y_z"), ("x_y", "z"), ("z", None), ("y_z", None))],
            ["likelihood ratios' columns must differ", "'llr_x_y_z' occurs 2 times"],
        ),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_field_value_and_what_is_allowed(path: str, value: Any, expected: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(_with(path, value), "run.yaml")
    text = str(caught.value)
    assert text.startswith("run.yaml is not valid:\n")
    missing = [part for part in expected if part not in text]
    assert not missing, text


def test_all_faults_are_told_at_once() -> None:
    document = _with("cutouts.size", 4) | {"seed": "x"}
    with pytest.raises(SpecError, match=r"(?s)seed.*cutouts\.size|cutouts\.size.*seed"):
        parse_spec(document)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be a mapping with at least name, survey and models; it is NoneType"),
        ("- a\n- b\n", "it is list"),
        ("name: [1,\n", "is not valid YAML"),
        ("name: !!python/object/apply:os.system ['true']\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_specification_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=expected) as caught:
        load_spec(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot read the specification .*absent\.yaml.*give the path of a YAML file"):
        load_spec(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: s\xe9rsic".encode("latin-1"))
    with pytest.raises(SpecError, match=r"cannot read the specification .*latin\.yaml"):
        load_spec(tmp_path / "latin.yaml")


def test_a_spec_cannot_be_changed_behind_its_fingerprint() -> None:
    spec = parse_spec(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        spec.cutouts.size = 64


def test_where_the_work_runs_changes_no_result() -> None:
    plain = parse_spec(MINIMAL)
    moved = parse_spec(MINIMAL | {"cluster": {"workers": 9}, "store": {"root": "s3://elsewhere/x"}})
    assert plain.content() == moved.content()
    assert plain.content() != parse_spec(MINIMAL | {"seed": 1}).content()


def test_any_setting_of_a_cutout_changes_its_fingerprint() -> None:
    changes: dict[str, Any] = {
        "size": 48, "bands": ["r"], "pixels": "quantised", "quantum_sigma": 0.1, "minimum_observed": 0.9,
        "chunk_megabytes": 1.0, "chunks_per_shard": 2, "codec": "zstd", "defects": False, "plant": {},
    }  # fmt: skip
    assert set(changes) == set(CutoutSpec.model_fields)
    found = {fingerprint(CutoutSpec(**{name: value})) for name, value in changes.items()}
    assert len(found | {fingerprint(CutoutSpec())}) == len(changes) + 1


def test_a_fingerprint_does_not_depend_on_the_order_of_keys_but_on_that_of_lists() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    assert fingerprint("a", "b") != fingerprint("ab")
    assert fingerprint(1) != fingerprint("1")
    first = ModelSpec(name="a", model="m", options={"x": 1, "y": 2}, training=TrainingOverrides(epochs=2))
    second = ModelSpec(name="a", model="m", options={"y": 2, "x": 1}, training=TrainingOverrides(epochs=2))
    assert fingerprint(first) == fingerprint(second)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}])
def test_what_json_cannot_hold_has_no_fingerprint(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        fingerprint(value)


def test_the_golden_fingerprint() -> None:
    """SHA-256 of this text, written out by hand from CONTENT; `printf %s '...' | sha256sum` gives the same."""
    text = (
        '[{"a":null,"b":[1,2.5,-0.1,1e-07,1e+22,12345678901234567890]},'
        '"S\\u00e9rsic \\ud83c\\udf0c",true,9223372036854775808]'
    )
    assert fingerprint(*CONTENT) == hashlib.sha256(text.encode("ascii")).hexdigest()[:16] == "58a4e432340b220e"


def _interpreters() -> list[str]:
    """This Python, and other versions where pyenv has them."""
    others = sorted(Path.home().glob(".pyenv/versions/3.1[1-9].*/bin/python"))
    return [sys.executable, *(str(path) for path in others)]


@pytest.mark.parametrize("python", _interpreters())
def test_other_pythons_and_hash_seeds_find_the_same_fingerprint(python: str) -> None:
    spec = parse_spec(_with("stretch.sky_sigma", {"r": 0.1, "g": 1 / 3, "i": 5e-324})).content()
    for content, expected in ((CONTENT, fingerprint(*CONTENT)), ([spec], fingerprint(spec))):
        for seed in ("0", "12345"):
            result = subprocess.run(
                [python, "-c", PLAIN_FINGERPRINT], input=json.dumps(content), capture_output=True, text=True,
                env={"PYTHONHASHSEED": seed}, timeout=60, check=True,
            )  # fmt: skip
            assert result.stdout.strip() == expected


def test_a_fresh_process_finds_the_same_fingerprint_of_a_spec() -> None:
    spec = parse_spec(MINIMAL)
    code = (
        "import json, sys; from galflow.spec.run import parse_spec, fingerprint; "
        "print(fingerprint(parse_spec(json.load(sys.stdin))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(MINIMAL), capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == fingerprint(spec)


def test_residuals_are_of_models_that_are_there_and_of_some_objects() -> None:
    given = _with("output", {"residuals": 0.01, "residuals_of": ["vae"]})
    assert parse_spec(given).output.residuals_of == ("vae",)
    with pytest.raises(SpecError, match=r"output.residuals_of has 'vea'; expected models of vae"):
        parse_spec(_with("output", {"residuals": 0.01, "residuals_of": ["vea"]}))
    with pytest.raises(SpecError, match=r"output: residuals_of is vae, but residuals is 0, so no object's are stored"):
        parse_spec(_with("output", {"residuals_of": ["vae"]}))
    with pytest.raises(SpecError, match=r"output.residuals: .*less than or equal to 1 \(given: 5\)"):
        parse_spec(_with("output", {"residuals": 5}))


def test_without_residuals_a_specification_is_the_same_run_as_before_there_were_any() -> None:
    content = parse_spec(MINIMAL).content()
    assert not {"residuals", "residuals_of"} & set(content["output"])
    assert not {"cluster", "store"} & set(content)
    assert parse_spec(_with("output", {"residuals": 0.5})).content()["output"]["residuals"] == 0.5
    assert parse_spec(content).content() == content
