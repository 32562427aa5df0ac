from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from galflow.models.base import GenerativeModel, all_models
from galflow.models.kmeans import KMeans
from galflow.spec.form import run_schema
from galflow.spec.run import RunSpec, parse_spec
from galflow.surveys.resolve import survey_kinds, survey_options

PROJECT = Path(__file__).resolve().parents[3]
WRITTEN = [*sorted((PROJECT / "examples").glob("*.yaml")), PROJECT / "flows" / "demo.yaml"]
SCHEMA = run_schema(survey_options(), all_models())
TINY: dict[str, Any] = {
    "name": "tiny",
    "survey": {"kind": "synthetic", "options": {"tiles": 1}},
    "models": [{"name": "km", "model": "kmeans.KMeans", "options": {"clusters": 3}}],
    "comparison": {"samples": [{"name": "mock", "survey": {"kind": "hubble"}}]},
}


def faults(document: dict[str, Any]) -> list[str]:
    """Where and why the schema refuses a document."""
    found = Draft202012Validator(SCHEMA).iter_errors(document)
    return [f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in found]


def test_is_a_schema_of_its_dialect() -> None:
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: p.name)
def test_accepts_what_the_project_ships(path: Path) -> None:
    assert faults(yaml.safe_load(path.read_text())) == []


def spoilt() -> dict[str, tuple[tuple[str | int, ...], Any, str]]:
    """What is wrong -> where, what is put there, what the schema says."""
    options = ("survey", "options")
    return {
        "unknown field": (("colour",), 1, "'colour' was unexpected"),
        "option of no survey": ((*options, "colour"), 1, "'colour' was unexpected"),
        "option of another survey": ((*options, "root"), "/x", "'root' was unexpected"),
        "wrong type of an option": ((*options, "tiles"), "many", "'many' is not of type 'integer'"),
        "option below its least": ((*options, "tiles"), 0, "0 is less than the minimum of 1"),
        "choice that is none": ((*options, "catalog"), "guess", "'guess' is not one of ['truth', 'tile_truth', 'det"),
        "option of a sample": (("comparison", "samples", 0, "survey", "options"), {"tiles": 1}, "'tiles' was unexp"),
        "kind that is none": (("survey", "kind"), "sdsss", "'sdsss' is not valid under any of the given schemas"),
        "options that are missing": (("survey",), {"kind": "stamps"}, "'options' is a required property"),
        "option of no model": (("models", 0, "options", "width"), 8, "'width' was unexpected"),
        "wrong type of a model's": (("models", 0, "options", "clusters"), "x", "'x' is not of type 'integer'"),
        "what the run itself gives": (("models", 0, "options", "channels"), 3, "'channels' was unexpected"),
        "model that is none": (("models", 0, "model"), "kmeans", "'kmeans' does not match"),
        "no model": (("models",), [], "[] should be non-empty"),
        "cluster that is none": (
            ("cluster",),
            {"kind": "cloud"},
            "'cloud' is not one of ['local', 'cuda', 'address', 's",
        ),
    }


@pytest.mark.parametrize("what", spoilt())
def test_refuses_what_the_run_would_refuse(what: str) -> None:
    where, value, said = spoilt()[what]
    document = copy.deepcopy(TINY)
    place: Any = document
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    assert faults(TINY) == []
    assert any(said in fault for fault in faults(document)), faults(document)


def test_leaves_plug_ins_open() -> None:
    own = {"kind": "our.surveys.Deep", "options": {"anything": [1]}}
    model = {"name": "own", "model": "our.models.Flow", "options": {"depth": 3}}
    assert faults(TINY | {"survey": own, "models": [model]}) == []


def test_names_every_survey_and_model() -> None:
    kind, model = (SCHEMA["$defs"][d]["properties"][f] for d, f in (("SurveySpec", "kind"), ("ModelSpec", "model")))
    assert kind["anyOf"][0]["enum"] == list(survey_kinds())
    assert model["examples"] == list(all_models())
    for definition, field, names in (("SurveySpec", "kind", survey_kinds()), ("ModelSpec", "model", all_models())):
        clauses = SCHEMA["$defs"][definition]["allOf"]
        assert [clause["if"]["properties"][field]["const"] for clause in clauses] == list(names)


def help_text(field: dict[str, Any]) -> str | None:
    """A field's own, or that of the part it refers to (which pydantic does not repeat where both are the same)."""
    part = SCHEMA["$defs"].get(field.get("$ref", "").rpartition("/")[2], {})
    return field.get("description") or part.get("description")


def test_every_field_has_a_help_text() -> None:
    # Not a model's constructor, whose arguments its class's docstring explains.
    parts = {"run": SCHEMA} | {n: p for n, p in SCHEMA["$defs"].items() if not n.endswith("Arguments")}
    fields = {f"{n}.{f}": p for n, part in parts.items() for f, p in part.get("properties", {}).items()}
    assert len(fields) > 100
    assert [name for name, field in fields.items() if not help_text(field)] == []
    assert {n: f.description for n, f in RunSpec.model_fields.items()} == {
        n: help_text(p) for n, p in SCHEMA["properties"].items()
    }


def test_every_part_says_what_it_is() -> None:
    assert SCHEMA["description"] == RunSpec.__doc__
    silent = {n for n, p in SCHEMA["$defs"].items() if not p.get("description")}
    assert silent == {"JsonValue"}
    for model in all_models().values():
        first_line = str(model.__doc__).partition("\n")[0]
        assert SCHEMA["$defs"][f"{model.__name__}Arguments"]["description"].startswith(first_line)


def test_defaults_are_those_of_the_specification() -> None:
    spec = parse_spec(TINY)
    for name in ("cutouts", "training", "output"):
        part = getattr(spec, name)
        definition = SCHEMA["$defs"][type(part).__name__]["properties"]
        assert {f: p["default"] for f, p in definition.items()} == part.model_dump(mode="json")


def test_model_may_annotate_its_arguments() -> None:
    class Told(KMeans):
        """Told."""

        def __init__(self, *, channels: int, size: int, clusters: Annotated[int, "How many centroids."] = 4) -> None:
            super().__init__(channels=channels, size=size, clusters=clusters)

    found: dict[str, type[GenerativeModel]] = {"told.Told": Told}
    clusters = run_schema({}, found)["$defs"]["ToldArguments"]["properties"]["clusters"]
    assert (clusters["description"], clusters["default"], clusters["type"]) == ("How many centroids.", 4, "integer")


def test_spec_and_schema_agree_on_the_samples_above() -> None:
    """What the schema refuses of the specification's own fields, pydantic refuses as well."""
    with pytest.raises(ValidationError):
        RunSpec.model_validate(TINY | {"cluster": {"kind": "cloud"}})
    RunSpec.model_validate(TINY)
