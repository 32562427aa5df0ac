"""The deployments of one machine, and those of deploy/prefect.yaml: the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from prefect.deployments.runner import RunnerDeployment

from flows.deployments import deployments
from flows.form_values import form, specification
from flows.survey_run import survey_run
from galflow.models.base import all_models
from galflow.spec.run import load_spec, parse_spec
from galflow.surveys.resolve import survey_kinds

PROJECT = Path(__file__).resolve().parents[2]
DEMO = PROJECT / "flows" / "demo.yaml"


@pytest.fixture(scope="module")
def served() -> dict[str, RunnerDeployment]:
    return {d.name: d for d in deployments("file:///products", "0 2 * * *", "UTC")}


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((PROJECT / "deploy" / "prefect.yaml").read_text())
    return {d["name"]: d for d in document["deployments"]}


def test_both_ways_have_the_same_deployments(
    served: dict[str, RunnerDeployment], written: dict[str, dict[str, Any]]
) -> None:
    assert set(served) == set(written)
    for name, here in served.items():
        there = written[name]
        # By module: a file's folder, and the current one, would come first among those that modules are looked for in.
        assert here.entrypoint == there["entrypoint"]
        # A description with its parameters' help would be shown twice.
        assert str(here.description).splitlines()[0] == there["description"]
        (trigger,), triggers = (here.triggers, there["triggers"]) if here.triggers else ((None,), None)
        if trigger is None:
            assert "triggers" not in there
        else:
            plain = trigger.model_dump(mode="json")
            assert {key: plain[key] for key in triggers[0]} == triggers[0]


def test_the_nightly_schedule_is_off_until_there_is_a_specification(
    served: dict[str, RunnerDeployment], written: dict[str, dict[str, Any]]
) -> None:
    (here,), (there,) = served["survey-nightly"].schedules, written["survey-nightly"]["schedules"]
    assert (here.schedule.cron, here.schedule.timezone) == (there["cron"], there["timezone"]) == ("0 2 * * *", "UTC")
    assert (here.active, there["active"]) == (False, False)
    own = load_spec(DEMO, "file:///other")
    by_name = {d.name: d for d in deployments("file:///products", "5 4 * * 1", "Europe/Paris", own)}
    (schedule,) = by_name["survey-nightly"].schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone, schedule.active) == ("5 4 * * 1", "Europe/Paris", True)
    assert by_name["survey-nightly"].parameters["spec"]["store"]["root"] == "file:///other"
    assert by_name["survey-adhoc"].parameters["spec"]["root"] == "file:///products"


def test_a_second_run_of_a_deployment_waits(written: dict[str, dict[str, Any]]) -> None:
    limits = {str(deployment["concurrency_limit"]) for deployment in written.values()}
    assert limits == {str({"limit": 1, "collision_strategy": "ENQUEUE"})}


def test_both_ways_start_out_with_the_same_forms(
    served: dict[str, RunnerDeployment], written: dict[str, dict[str, Any]]
) -> None:
    example = yaml.safe_load((PROJECT / "flows" / "emulate.yaml").read_text())
    assert written["emulate-adhoc"]["parameters"]["spec"].items() >= example.items()
    for name in set(written) - {"emulate-adhoc"}:
        there = dict(written[name]["parameters"]["spec"])
        assert there.pop("root") == "{{ $GALFLOW_ROOT }}"
        assert there.pop("more") == {"cluster": "{{ prefect.variables.galflow_cluster }}"}
        here = dict(served[name].parameters["spec"])
        assert here.pop("root") == "file:///products"
        assert there == here
    first = yaml.safe_load((PROJECT / "flows" / "form.yaml").read_text())
    assert specification(served["survey-adhoc"].parameters["spec"]) == first | {"store": {"root": "file:///products"}}


def test_the_form_has_help_for_every_field_and_a_list_of_surveys_and_models() -> None:
    schema = survey_run.parameters.model_dump()
    definitions = schema["definitions"]
    # A field that says the same as its part is left to say it; one of several kinds is said by each of them.
    silent = [
        f"{name}.{field}"
        for name, definition in definitions.items()
        for field, said in definition.get("properties", {}).items()
        if not (said | definitions.get(said.get("$ref", "").rpartition("/")[2], {})).get("description")
        and not all("$ref" in choice for choice in said.get("anyOf", [{}]))
    ]
    assert silent == []
    kind = definitions["SurveySpec"]["properties"]["kind"]["anyOf"]
    assert kind[0]["enum"] == sorted(survey_kinds())
    for name in ("ModelSpec", "Model"):
        model = definitions[name]["properties"]["model"]["anyOf"]
        assert model[0]["enum"] == sorted(all_models())


def test_the_form_refuses_what_galflow_refuses_and_takes_a_plug_in() -> None:
    schema = survey_run.parameters.model_dump()
    check = jsonschema.Draft202012Validator({key: value for key, value in schema.items() if value is not None})
    demo = yaml.safe_load(DEMO.read_text())
    for given in (demo, form(demo)):
        check.validate({"spec": given})
    plugged = demo | {"survey": {"kind": "mine.surveys.Survey"}}
    check.validate({"spec": plugged})
    assert parse_spec(plugged).survey.kind == "mine.surveys.Survey"
    for wrong in ({"survey": {"kind": "hubbel"}}, {"seed": -1}, {"cutouts": {"pixels": "lossy"}}, {"modles": []}):
        assert not check.is_valid({"spec": demo | wrong})
