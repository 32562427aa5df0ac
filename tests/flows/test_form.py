"""The UI's form: its fields, what they become, and what is said of a fault."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prefect.utilities.schema_tools.validation import is_valid_schema, validate
from pydantic import TypeAdapter

from flows.beginning import Refused
from flows.form_answers import answer, refusal
from flows.form_check import form_faults
from flows.form_fields import group_of, run_form
from flows.form_schema import Form
from flows.form_values import form, specification
from flows.survey_run import survey_run
from galflow.spec.run import fingerprint, parse_spec
from galflow.surveys.resolve import survey_options

PROJECT = Path(__file__).resolve().parents[2]
WRITTEN = [
    *(path for path in sorted((PROJECT / "examples").glob("*.yaml")) if "survey" in yaml.safe_load(path.read_text())),
    *(PROJECT / "flows" / name for name in ("demo.yaml", "form.yaml", "form_simulations.yaml")),
]
SCHEMA = {key: value for key, value in survey_run.parameters.model_dump().items() if value is not None}
SHORT = ["name", "survey", "bands", "size", "models", "epochs", "samples", "workers", "top", "root", "more"]
START = yaml.safe_load((PROJECT / "flows" / "form.yaml").read_text())


def definition(reference: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = SCHEMA["definitions"][reference["$ref"].rpartition("/")[2]]
    return found


def filled(schema: dict[str, Any], value: Any) -> Any:
    """A value as the UI sends it: with the default of every field that is drawn."""
    if "$ref" in schema:
        return filled(definition(schema), value)
    if "anyOf" in schema:
        objects = [definition(o) if "$ref" in o else o for o in schema["anyOf"]]
        if isinstance(value, dict):  # the UI takes the one with the most fields in common
            best = max(objects, key=lambda o: len(set(value) & set(o.get("properties", {}))))
            return filled(best, value) if "properties" in best else value
        return value
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [filled(schema["items"], item) for item in value]
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    found = {}
    for name, field in schema["properties"].items():
        if name in value or "default" in field:
            found[name] = filled(field, value.get(name, copy.deepcopy(field.get("default"))))
    return found | {name: inner for name, inner in value.items() if name not in found}


def test_the_form_opens_with_ten_fields_and_the_rest_closed() -> None:
    short, whole = (definition(one) for one in SCHEMA["properties"]["spec"]["anyOf"])
    assert (short["title"], whole["title"]) == ("Short form", "As in YAML")
    assert sorted(short["properties"], key=lambda name: short["properties"][name]["position"]) == SHORT
    assert short["properties"]["more"]["default"] is None
    more = definition(short["properties"]["more"]["anyOf"][0])["properties"]
    parts = {name: field for name, field in more.items() if name not in ("seed", "measure")}
    assert {name: field["default"] for name, field in parts.items()} == dict.fromkeys(parts)
    # Between them a specification's every field can be set.
    assert set(SHORT) | set(more) >= set(whole["properties"]) - {"more"}


@pytest.mark.parametrize("kind", survey_options())
def test_a_survey_is_a_section_with_the_fields_of_its_kind(kind: str) -> None:
    groups = definition(SCHEMA["properties"]["spec"]["anyOf"][0])["properties"]["survey"]["anyOf"]
    group = next(definition(g) for g in groups if group_of(kind) in definition(g)["properties"])
    sections = [definition(s) for s in group["properties"][group_of(kind)]["anyOf"]]
    (section,) = [s for s in sections if kind in s["properties"]]
    assert section["title"] == kind
    shown = definition(section["properties"][kind])["properties"]
    hidden = definition(shown["more"]["anyOf"][0])["properties"]
    options = survey_options()[kind].model_json_schema()["properties"]
    assert (set(shown) | set(hidden)) - {"more", "survey"} == set(options)
    for name, field in options.items():
        if name in survey_options()[kind].said:
            assert (shown | hidden)[name]["default"] is None  # given or not is a difference
            continue
        drawn = (shown | hidden)[name]
        assert [drawn.get(key) for key in ("description", "type", "default")] == [
            field.get(key) for key in ("description", "type", "default")
        ]


def test_what_the_form_adds_to_a_kinds_options_is_no_option_of_it() -> None:
    taken = {name for options in survey_options().values() for name in options.model_fields}
    assert not taken & {"more", "survey"}


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_the_form_means_the_same_specification_as_yaml(path: Path) -> None:
    document = yaml.safe_load(path.read_text())
    drawn = form(document)
    assert parse_spec(specification(drawn)).model_dump() | {"survey": None, "comparison": None} == parse_spec(
        document
    ).model_dump() | {"survey": None, "comparison": None}
    sent = filled(definition(SCHEMA["properties"]["spec"]["anyOf"][0]), json.loads(json.dumps(drawn)))
    jsonschema.Draft202012Validator(SCHEMA).validate({"spec": sent})
    read = parse_spec(specification(sent))
    wanted = parse_spec(without_spelt_defaults(document))
    assert read == wanted
    assert fingerprint(read.content()) == fingerprint(wanted.content())


def without_spelt_defaults(document: dict[str, Any]) -> dict[str, Any]:
    """An option that YAML gives with its default's value is not sent apart from the others that have theirs."""
    found = copy.deepcopy(document)
    for survey in [found["survey"], *(s["survey"] for s in found.get("comparison", {}).get("samples", []))]:
        fields = survey_options()[survey["kind"]].model_fields
        options = {n: v for n, v in survey.get("options", {}).items() if v != fields[n].default}
        survey["options"] = options
    return found


def test_prefect_takes_the_schema_and_what_the_forms_start_with() -> None:
    is_valid_schema(SCHEMA)
    for name in ("form.yaml", "form_simulations.yaml"):
        document = yaml.safe_load((PROJECT / "flows" / name).read_text())
        for given in (document, form(document)):
            assert validate({"spec": given}, SCHEMA) == []


def test_a_plug_in_keeps_its_options() -> None:
    document = START | {"survey": {"kind": "our.surveys.Deep", "options": {"depth": 3}}}
    assert specification(form(document)) == document


@pytest.mark.parametrize(
    ("wrong", "place", "sentence"),
    [
        ({"size": 2}, ("size",), "size should be greater than or equal to 8 (given: 2)"),
        ({"name": "Bad Name"}, ("name",), "name should have letters, digits and . _ - only"),
        ({"colour": 1}, ("colour",), "colour is not a field here"),
        (
            {"survey": {"surveys": {"hsc": {"bands": ["g"]}}}},
            ("survey", "surveys", "hsc", "root"),
            "survey.surveys.hsc.root is required but missing",
        ),
        (
            {"survey": {"surveys": {"hubble": {"more": {"background": "flat"}}}}},
            ("survey", "surveys", "hubble", "more", "background"),
            "survey.surveys.hubble.more.background should be",
        ),
        (
            {"models": [{"name": "vae", "model": "vae.VAE", "more": {"options": {"latent": "many"}}}]},
            ("models", 0, "more", "options", "latent"),
            "models.0.more.options.latent should be a valid integer",
        ),
        ({"more": {"training": {"batch_size": 0}}}, ("more", "training", "batch_size"), "more.training.batch_size sh"),
        ({"more": 5}, ("more",), "more is not a field here"),
        (
            {"survey": {"surveys": {"hubble": {}}, "colour": 1}},
            ("survey", "colour"),
            "survey.colour is not a field here",
        ),
        (
            {"survey": {"surveys": {"hubble": {"more": {"survey": {"kind": "hsc"}}}}}},
            (),
            "kind is given in two places; give it once",
        ),
        (
            {"models": [{"name": "vae", "model": "vae.VEA"}]},
            ("models", 0, "model"),
            "models.0.model: 'vae.VEA' is unknown; expected one of autoencoder.Autoencoder, ",
        ),
        ({"size": 64, "cutouts": {"size": 32}}, (), "cutouts.size is given in two places; give it once"),
    ],
)
def test_a_fault_is_one_sentence_at_its_field(wrong: dict[str, Any], place: tuple[Any, ...], sentence: str) -> None:
    (fault,) = form_faults(form(START) | wrong)
    assert fault.place == place
    assert fault.sentence.startswith(sentence)
    refused = TypeAdapter(Form).validate_python(form(START) | wrong)
    assert refused == Refused([fault.sentence])
    state = survey_run.fn(refused)  # type: ignore[arg-type] # as Prefect's engine hands it over
    assert (state.type.value, state.message) == ("FAILED", fault.sentence)
    assert not form_faults(form(START))


def test_no_more_than_twenty_faults_are_told() -> None:
    faults = form_faults(form(START) | {f"field{number}": 1 for number in range(30)})
    assert len(faults) == 20


def ask(spec: Any, schema: dict[str, Any] | None = None) -> Any:
    question = {"schema": schema or SCHEMA, "values": {"spec": spec}}
    return answer(json.dumps(question).encode())


def test_the_uis_question_is_answered_at_the_fields() -> None:
    assert ask(form(START)) == {"valid": True, "errors": []}
    told = ask(form(START) | {"size": 2, "epochs": 0})
    assert told["valid"] is False
    ((spec,),) = ([e["errors"] for e in told["errors"]],)
    assert spec[0] == (
        "To mend: size should be greater than or equal to 8 (given: 2); epochs should be greater than or equal to 1 "
        "(given: 0)"
    )
    assert spec[1:] == [
        {"property": "size", "errors": ["should be greater than or equal to 8 (given: 2)"]},
        {"property": "epochs", "errors": ["should be greater than or equal to 1 (given: 0)"]},
    ]


def test_a_run_that_prefect_refuses_is_told_why_in_the_same_words() -> None:
    def told(spec: Any) -> Any:
        return refusal(json.dumps({"parameters": {"spec": spec}}).encode())

    found = told(START | {"survey": {"kind": "hubbel"}})
    assert found["detail"].startswith("To mend: survey.kind: 'hubbel' is unknown; expected one of des, ")
    assert told(START) is None
    assert refusal(b'{"parameters": {"colour": 1}}') is None
    assert refusal(b'{"name": "no parameters"}') is None


def test_questions_about_other_forms_and_open_values_are_prefects() -> None:
    assert ask({"size": 2}, {"properties": {"spec": {}}, "definitions": {}}) is None
    variable = {"__prefect_kind": "workspace_variable", "variable_name": "galflow_cluster"}
    assert ask(form(START) | {"size": 2, "more": {"cluster": variable}}) is None
    options = {"__prefect_kind": "json", "value": '{"latent": 0.5}'}
    told = ask(form(START) | {"models": [{"name": "vae", "model": "vae.VAE", "more": {"options": options}}]})
    assert "models.0.more.options.latent should be a valid integer" in told["errors"][0]["errors"][0]


def test_the_forms_model_is_made_once() -> None:
    assert run_form() is run_form()
