"""The JSON schema of a specification, with the options of every survey kind and model filled in: the UI's form."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from galflow.models.base import GenerativeModel, all_models
from galflow.spec import RunSpec
from galflow.surveys.resolve import survey_kinds


def run_schema() -> dict[str, Any]:
    """JSON schema (2020-12). Options depend on the kind by ``if``/``then``; a plug-in's options are left open."""
    schema = RunSpec.model_json_schema()
    definitions = schema["$defs"]
    kinds = {name: survey.Options for name, survey in survey_kinds().items()}
    models = {name: _constructor(model) for name, model in all_models().items()}
    definitions["SurveySpec"] |= _depending("kind", kinds, definitions)
    definitions["ModelSpec"] |= _depending("model", models, definitions)
    definitions["SurveySpec"]["properties"]["kind"]["examples"] = list(kinds)
    definitions["ModelSpec"]["properties"]["model"]["examples"] = list(models)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _constructor(model: type[GenerativeModel]) -> type[BaseModel]:
    """A pydantic model of a model's constructor, without what the run itself gives."""
    hints = typing.get_type_hints(model.__init__)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(model.__init__).parameters.items():
        if name not in ("self", "channels", "size"):
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
    return create_model(f"{model.__name__}Arguments", __config__=ConfigDict(extra="forbid"), **fields)


def _depending(
    field: str, options: Mapping[str, type[BaseModel]], definitions: dict[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """``allOf`` clauses: if ``field`` is this name, then ``options`` follows that schema."""
    clauses = []
    for name, model in options.items():
        part = model.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= part.pop("$defs", {})
        definitions[model.__name__] = part
        clauses.append(
            {
                "if": {"properties": {field: {"const": name}}},
                "then": {"properties": {"options": {"$ref": f"#/$defs/{model.__name__}"}}},
            }
        )
    return {"allOf": clauses}
