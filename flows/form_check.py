"""What is wrong with the values of a form: one sentence a fault, at the field that has it, before any run is made.

It looks at values alone: what they say of files is asked by the run's first stage (galflow.runs.check).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.form_values import specification
from galflow.errors import SpecError
from galflow.models.base import all_models, find_model
from galflow.spec.form import constructor_form
from galflow.spec.part import faults_of, place_shown
from galflow.spec.run import RunSpec
from galflow.spec.survey import SurveySpec
from galflow.surveys.resolve import find_survey, survey_options

Place = tuple[str | int, ...]
_VERBS = ("should ", "is ")


@dataclass(frozen=True)
class FormFault:
    """A fault of a form's value."""

    place: Place
    """Where the form has the field; empty: the whole."""
    text: str

    @property
    def sentence(self) -> str:
        """With the field before it."""
        if not self.place:
            return self.text
        return f"{place_shown(self.place)}{' ' if self.text.startswith(_VERBS) else ': '}{self.text}"


def form_faults(given: Any) -> list[FormFault]:
    """The faults of what a form, or YAML, holds, the first twenty of each part; none: it is a specification."""
    try:
        document = specification(given)
        spec = RunSpec.model_validate(document)
    except ValidationError as error:
        found = faults_of(error)
    except ValueError as error:
        return [FormFault((), str(error))]
    else:
        found = [*_unknown(spec)]
        found += [fault for place, values, kind in _options(spec) for fault in _faults_of_options(place, values, kind)]
    places = _form_places(given)
    return [FormFault(_form_place(place, places), _plain(text)) for place, text in found]


def _plain(text: str) -> str:
    """Without pydantic's word for a value, and without a pattern that is explained."""
    return re.sub(r"^(Input|String) should ", "should ", re.sub(r"match pattern '.*' - ", "have ", text))


def _unknown(spec: RunSpec) -> Iterator[tuple[Place, str]]:
    """Surveys and models that can only be galflow's own, and are none. A plug-in's path is for the run to look up."""
    own_files = {name.partition(".")[0] for name in all_models()}
    for place, survey in _surveys(spec):
        if "." not in survey.kind and (why := _refused(find_survey, survey.kind)) is not None:
            yield (*place, "kind"), why.removeprefix("survey.kind: ")
    for number, model in enumerate(spec.models):
        first, dot, _ = model.model.partition(".")
        if (not dot or first in own_files) and (why := _refused(find_model, model.model)) is not None:
            yield ("models", number, "model"), why.removeprefix("model ")


def _refused(find: Callable[[str], Any], name: str) -> str | None:
    """Why there is no such survey or model; None: there is."""
    try:
        find(name)
    except SpecError as error:
        return str(error)
    return None


def _surveys(spec: RunSpec) -> Iterator[tuple[Place, SurveySpec]]:
    """The survey's and each sample's, and where they are."""
    yield ("survey",), spec.survey
    for number, sample in enumerate(spec.comparison.samples):
        yield ("comparison", "samples", number, "survey"), sample.survey


def _options(spec: RunSpec) -> Iterator[tuple[Place, Any, type[BaseModel] | None]]:
    """The options of each survey and model, where they are, and as which model they are read; None: a plug-in's."""
    kinds, models = survey_options(), all_models()
    for place, survey in _surveys(spec):
        yield (*place, "options"), survey.options, kinds.get(survey.kind)
    for number, model in enumerate(spec.models):
        known = models.get(model.model)
        yield ("models", number, "options"), model.options, None if known is None else constructor_form(known)


def _faults_of_options(place: Place, values: Any, kind: type[BaseModel] | None) -> list[tuple[Place, str]]:
    if kind is None:
        return []
    try:
        kind.model_validate(values)
    except ValidationError as error:
        return [((*place, *inner), text) for inner, text in faults_of(error)]
    return []


def _form_places(given: Any) -> dict[Place, Place]:
    """Place in the specification -> place in the form, of every value that the form holds."""
    if not isinstance(given, Mapping):
        return {}
    return {place: at.place for place, at in _walk(specification(_located(given)))}


def _form_place(place: Place, places: Mapping[Place, Place]) -> Place:
    """Of a value that is missing: beside those that are there."""
    if place in places or not place:
        return places.get(place, place)
    depth = len(place) - 1
    beside = [at[: depth - len(other)] for other, at in places.items() if other[:depth] == place[:depth] != other]
    return (*min(beside, key=len), place[-1]) if beside else place


@dataclass(frozen=True)
class _At:
    """Stands for a value: where the form has it."""

    place: Place


def _located(value: Any, place: Place = ()) -> Any:
    if isinstance(value, Mapping):
        return {name: _located(inner, (*place, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_located(inner, (*place, number)) for number, inner in enumerate(value)]
    return None if value is None else _At(place)


def _walk(value: Any, place: Place = ()) -> Iterator[tuple[Place, _At]]:
    if isinstance(value, _At):
        yield place, value
    elif isinstance(value, Mapping | list):
        for name, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _walk(inner, (*place, name))
