"""What the UI's form offers to choose from: galflow's own surveys and models, or a plug-in's path.

A specification takes any dotted path, so its schema cannot list what is allowed. The form can list what there is. This
file changes what is shown, and nothing that is accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from galflow.models.base import all_models
from galflow.spec.run import RunSpec
from galflow.surveys.resolve import survey_kinds

Schema = dict[str, Any]


class Choices:
    """An annotation of a RunSpec: its schema has a list to choose from wherever a survey or a model is named."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        """The reference to RunSpec's schema, of which two definitions now have a list."""
        reference = handler(core)
        fields = handler.resolve_ref_schema(reference)["properties"]
        survey = handler.resolve_ref_schema(fields["survey"])
        model = handler.resolve_ref_schema(fields["models"]["items"])
        _offer(survey["properties"], "kind", survey_kinds())
        _offer(model["properties"], "model", all_models())
        return reference


def _offer(properties: Schema, name: str, choices: Iterable[str]) -> None:
    """Give a field a list, and beside it a line for a path; ``properties`` is changed in place."""
    field = {key: value for key, value in properties[name].items() if key != "type"}
    own = {"type": "string", "enum": sorted(choices), "title": "galflow's own"}
    other = {"type": "string", "pattern": r"\.", "title": "a plug-in's path"}
    properties[name] = field | {"anyOf": [own, other]}


Form = Annotated[RunSpec, Choices()]
"""A specification as a flow's parameter, which the UI shows as a form."""
