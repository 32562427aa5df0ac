"""The JSON schema of a specification that Prefect's UI draws as a form, and a specification as a flow takes it.

The form is one of two that it accepts: the other is a specification as YAML has it. A specification takes any dotted
path for a survey or a model, so its schema cannot list what is allowed; the form lists what there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, PlainValidator
from pydantic_core import CoreSchema

from flows.beginning import Refused
from flows.form_check import form_faults
from flows.form_fields import run_form
from flows.form_values import specification
from galflow.models.base import all_models
from galflow.spec.run import RunSpec
from galflow.surveys.resolve import survey_kinds

Schema = dict[str, Any]
_TITLES = {"RunSpec": "As in YAML", "SurveySpec": "any kind, or a plug-in"}


class Drawn:
    """An annotation: lists to choose from, titles, and an order that survives a database which keeps none."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        """The schema, whose definitions are changed in place."""
        found = handler(core)
        for definition in _definitions(found, handler):
            title = definition.get("title")
            definition["title"] = _TITLES.get(str(title), title)
            fields: Schema = definition.get("properties", {})
            for position, field in enumerate(fields.values()):
                field["position"] = position
            if title == "SurveySpec":
                _offer(fields, "kind", survey_kinds())
            elif "model" in fields and "name" in fields:
                _offer(fields, "model", all_models())
        return found


def _definitions(schema: Schema, handler: GetJsonSchemaHandler) -> Iterator[Schema]:
    """Every object with fields that ``schema`` leads to, once."""
    left, seen = [schema], set()
    while left:
        part = left.pop()
        if (reference := part.get("$ref")) is not None and reference not in seen:
            seen.add(reference)
            left.append(handler.resolve_ref_schema(part))
        if "properties" in part:
            yield part
        inner = [part.get("items"), part.get("additionalProperties"), *part.get("anyOf", ()), *part.get("allOf", ())]
        inner += [*part.get("prefixItems", ()), *part.get("properties", {}).values()]
        left += [schema for schema in inner if isinstance(schema, dict)]


def _offer(properties: Schema, name: str, choices: Iterable[str]) -> None:
    """Give a field a list, and beside it a line for a path; ``properties`` is changed in place."""
    field = {key: value for key, value in properties[name].items() if key not in ("type", "anyOf")}
    own = {"type": "string", "enum": sorted(choices), "title": "galflow's own"}
    other = {"type": "string", "pattern": r"\.", "title": "a plug-in's path"}
    properties[name] = field | {"anyOf": [own, other]}


def _read(given: Any) -> RunSpec | Refused:
    """A specification, or why it is none: the run that was asked for ends with that, and with nothing else."""
    if isinstance(given, RunSpec):
        return given
    faults = form_faults(given)
    return Refused([fault.sentence for fault in faults]) if faults else RunSpec.model_validate(specification(given))


Form = Annotated[RunSpec, PlainValidator(_read, json_schema_input_type=run_form() | RunSpec), Drawn()]
"""A specification as a flow's parameter, which the UI shows as a form; what is none arrives as a Refused."""
