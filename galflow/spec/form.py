"""The JSON schema of a specification, with the options of every survey kind and model filled in: the UI's form.

It refuses what can be seen in the document alone: unknown fields, wrong types, options that a kind or model does not
have. What depends on two fields, or on the data, is refused by galflow.runs.check.check_run. A plug-in's options stay
open.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.json_schema import models_json_schema

from galflow.spec.models import ModelSpec
from galflow.spec.run import RunSpec, SurveySpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]
Options = Mapping[str, type[BaseModel]]


def run_schema(kinds: Options, classes: Mapping[str, type]) -> Schema:
    """JSON schema (2020-12) of a RunSpec. Options depend on the kind, or on the model, by ``if`` and ``then``.

    ``kinds``: survey kind -> its options (galflow.surveys.resolve.survey_options). ``classes``: name of a model -> its
    class (galflow.models.base.all_models), whose constructor's arguments are its options.
    """
    models: Options = {name: constructor_form(model) for name, model in classes.items()}
    wanted: list[type[BaseModel]] = [RunSpec, SurveySpec, ModelSpec, *kinds.values(), *models.values()]
    references, whole = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(wanted)], ref_template="#/$defs/{model}"
    )  # fmt: skip
    definitions: Schema = whole["$defs"]

    def definition(model: type[BaseModel]) -> Schema:
        return definitions[references[model, "validation"]["$ref"].rpartition("/")[2]]

    survey, model = definition(SurveySpec), definition(ModelSpec)
    survey["allOf"] = [_clause("kind", name, references[c, "validation"], definition(c)) for name, c in kinds.items()]
    model["allOf"] = [_clause("model", name, references[c, "validation"], definition(c)) for name, c in models.items()]
    # A plug-in is a dotted path, and so is every model.
    survey["properties"]["kind"]["anyOf"] = [{"enum": list(kinds)}, {"pattern": r"\."}]
    model["properties"]["model"] |= {"examples": list(models), "pattern": r"\."}
    run = definition(RunSpec)
    return {"$schema": DIALECT, **run, "$defs": {name: d for name, d in definitions.items() if d is not run}}


def constructor_form(model: type) -> type[BaseModel]:
    """A pydantic model of a model's constructor, without what the run itself gives.

    An argument annotated as ``Annotated[int, "what it is"]`` has that text for its help.
    """
    constructor = model.__init__  # type: ignore[misc] # of a class, not of an instance
    hints = typing.get_type_hints(constructor, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(constructor).parameters.items():
        if name in ("self", "channels", "size"):
            continue
        hint = hints.get(name, Any)
        words = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, str)]
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[name] = (Annotated[hint, Field(description=" ".join(words))] if words else hint, default)
    return create_model(
        f"{model.__name__}Arguments", __config__=ConfigDict(extra="forbid"), __doc__=inspect.getdoc(model), **fields
    )


def _clause(field: str, name: str, reference: Schema, options: Schema) -> Schema:
    """If ``field`` is ``name``, then ``options`` follows that schema; it must be there if any of it must."""
    then: Schema = {"properties": {"options": reference}}
    if options.get("required"):
        then["required"] = ["options"]
    return {"if": {"properties": {field: {"const": name}}, "required": [field]}, "then": then}
