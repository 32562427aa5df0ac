"""From the specification's ``survey.kind`` to a Survey: by import, so that adding a survey is adding one file."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from pydantic import ValidationError

from galflow.errors import SpecError
from galflow.spec.document import shown
from galflow.spec.part import describe
from galflow.spec.run import SurveySpec
from galflow.storage.look import seen
from galflow.surveys.base import Options, Survey

_LONGEST_KIND = 200


def survey_kinds() -> dict[str, type[Survey]]:
    """Every survey under ``galflow.surveys``: file name -> class, sorted."""
    package = importlib.import_module("galflow.surveys")
    found: dict[str, type[Survey]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        for value in _surveys_in(f"galflow.surveys.{info.name}"):
            found[info.name] = value
    return dict(sorted(found.items()))


def survey_options() -> dict[str, type[Options]]:
    """The options of each survey under ``galflow.surveys``: file name -> pydantic model."""
    return {name: survey.Options for name, survey in survey_kinds().items()}


def _surveys_in(module_name: str) -> list[type[Survey]]:
    module = importlib.import_module(module_name)
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Survey)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    ]


def find_survey(kind: str) -> type[Survey]:
    """The class that ``hubble`` (a file under galflow/surveys) or a plug-in's full dotted path names."""
    if len(kind) > _LONGEST_KIND or not all(part.isidentifier() for part in kind.split(".")):
        raise SpecError(
            f"survey.kind: {shown(kind)} is no name and no path of names with dots between; expected one of "
            f"{', '.join(survey_kinds())}, or the full dotted path of a class"
        )
    module_name, _, class_name = kind.rpartition(".")
    target = module_name or f"galflow.surveys.{kind}"
    try:
        found = {v.__name__: v for v in _surveys_in(target)}
    except ModuleNotFoundError as error:
        if error.name is None or not (target == error.name or target.startswith(error.name + ".")):
            raise
        found = {}
    if module_name and class_name in found:
        return found[class_name]
    if not module_name and len(found) == 1:
        return next(iter(found.values()))
    raise SpecError(
        f"survey.kind: {kind!r} is unknown; expected one of {', '.join(survey_kinds())}, "
        "or the full dotted path of a class derived from galflow.surveys.base.Survey"
    )


def open_survey(spec: SurveySpec) -> Survey:
    """The survey that ``spec`` describes, the same one within a look; SpecError names the option that is wrong."""
    return seen(("survey", spec.model_dump_json()), lambda: _opened(spec))


def _opened(spec: SurveySpec) -> Survey:
    kind = find_survey(spec.kind)
    try:
        options = kind.Options.model_validate(spec.options)
    except ValidationError as error:
        raise SpecError(describe(error, f"survey.options of kind {spec.kind}")) from None
    opened = kind(spec.survey_name, spec.release, options)
    opened.selection = spec.selection
    return opened
