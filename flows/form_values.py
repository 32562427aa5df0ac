"""From what the UI's form sends to the specification that YAML would have, and from a specification to the form.

Both are plain values. A specification as YAML has it passes as it is, so programs need not know the form. What is
wrong with a value is found by the specification's own check; here only that a field is given in two places.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.form_fields import (
    GROUPS,
    MORE,
    OF_A_SURVEY,
    PARTS,
    PLACES,
    RELEASE,
    SURVEY,
    WHOLE_PARTS,
    group_of,
    release_of,
    shown_options,
)
from galflow.spec.stretch import StretchSpec
from galflow.surveys.resolve import survey_options

Values = dict[str, Any]


def specification(given: Any) -> Any:
    """The specification's plain values of what the form, or YAML, holds. ValueError if a field is given twice."""
    if not isinstance(given, Mapping):
        return given
    found = _opened(given)
    for name in (*PARTS, *WHOLE_PARTS):
        if name in found and found[name] is None:  # a part that is closed
            del found[name]
    stretch = found.get("stretch")
    if isinstance(stretch, Mapping) and stretch.get("kind", "") is None:  # follows from what else is given
        found["stretch"] = _without_defaults(dict(stretch), StretchSpec)
    for name, (part, field) in PLACES.items():
        if name in found:
            inner = found.get(part, {})
            if isinstance(inner, Mapping):
                found[part] = _joined(inner, {field: found.pop(name)}, f"{part}.")
    if SURVEY in found:
        found[SURVEY] = _survey(found[SURVEY])
    if "models" in found:
        found["models"] = _each(found["models"], _model)
    comparison = found.get("comparison")
    if isinstance(comparison, Mapping) and "samples" in comparison:
        found["comparison"] = {**comparison, "samples": _each(comparison["samples"], _sample)}
    return found


def form(spec: Mapping[str, Any]) -> Values:
    """The form that says what a specification's plain values say; of these only what is set."""
    found = dict(spec)
    for name, (part, field) in PLACES.items():
        if field in found.get(part, {}):
            found[part] = dict(found[part])
            found[name] = found[part].pop(field)
    if found.get("stretch"):  # the form adds defaults, and then it no longer follows
        found["stretch"] = {"kind": StretchSpec.model_validate(found["stretch"]).kind, **found["stretch"]}
    found[SURVEY] = _section(found[SURVEY])
    if "samples" in found:
        found["samples"] = [{**sample, SURVEY: _section(sample[SURVEY])} for sample in found["samples"]]
    found["models"] = [_closed(model, ("name", "model")) for model in found["models"]]
    found = {name: value for name, value in found.items() if name not in PARTS or value}
    return _closed(found, ("name", SURVEY, "models", *PLACES))


def _each(values: Any, change: Callable[[Mapping[str, Any]], Any]) -> Any:
    if not isinstance(values, list | tuple):
        return values
    return [change(value) if isinstance(value, Mapping) else value for value in values]


def _opened(given: Mapping[str, Any]) -> Values:
    """What stands below ``more`` beside the rest."""
    found = dict(given)
    if not isinstance(found.get(MORE, {}), Mapping | None):
        return found  # refused as it is
    return _joined(found, found.pop(MORE, None) or {})


def _closed(values: Mapping[str, Any], shown: tuple[str, ...]) -> Values:
    found = {name: value for name, value in values.items() if name in shown}
    hidden = {name: value for name, value in values.items() if name not in shown}
    return found | ({MORE: hidden} if hidden else {})


def _joined(first: Mapping[str, Any], second: Mapping[str, Any], where: str = "") -> Values:
    if twice := sorted(set(first) & set(second)):
        raise ValueError(f"{where}{twice[0]} is given in two places; give it once")
    return {**first, **second}


def _model(card: Mapping[str, Any]) -> Values:
    return {name: value for name, value in _opened(card).items() if name != "training" or value is not None}


def _sample(sample: Mapping[str, Any]) -> Values:
    return {**sample, SURVEY: _survey(sample[SURVEY])} if SURVEY in sample else dict(sample)


def _survey(given: Any) -> Any:
    """A survey's section, as ``{surveys: {hsc: {root: ...}}}``, as its kind with those options that are not default.

    Anything else, as a survey by its kind, is left as it is; so is a field that is none here, to be refused.
    """
    kinds = survey_options()
    group = next((name for name in GROUPS if isinstance(given, Mapping) and name in given), None)
    chosen = {} if group is None else given[group]
    kind, section = next(iter(chosen.items())) if isinstance(chosen, Mapping) and len(chosen) == 1 else ("", None)
    if kind not in kinds or not isinstance(section, Mapping):
        return given
    beside = {name: value for name, value in given.items() if name not in (group, *map(release_of, GROUPS))}
    found = _joined({"kind": kind}, beside)
    if release_of(str(group)) in given:
        found[RELEASE] = given[release_of(str(group))]
    options = _opened(section)
    of_survey = options.get(SURVEY)
    if of_survey is None or isinstance(of_survey, Mapping):
        options.pop(SURVEY, None)
        found = _joined(found, {name: value for name, value in (of_survey or {}).items() if value is not None})
    options = _without_defaults(options, kinds[kind], kinds[kind].said)
    return _joined(found, {"options": options} if options else {})


def _section(survey: Mapping[str, Any]) -> Values:
    kinds = survey_options()
    if survey["kind"] not in kinds:
        return dict(survey)  # a plug-in's options are not known
    group = group_of(survey["kind"])
    beside = {name: survey[name] for name in OF_A_SURVEY if survey.get(name) is not None}
    section = _closed(
        {**survey.get("options", {})} | ({SURVEY: beside} if beside else {}), shown_options(survey["kind"])
    )
    release = {release_of(group): survey[RELEASE]} if RELEASE in survey else {}
    return {group: {survey["kind"]: section}} | release


def _without_defaults(given: Values, part: type[BaseModel], said: Collection[str] = ()) -> Values:
    """What differs from the defaults: a form sends all of them, and a specification is what was set.

    ``said``: fields that mean more where they are given.
    """
    filled = {name: value for name, value in given.items() if value is not None}
    try:
        wanted = part.model_validate(filled).model_dump(mode="json", exclude_defaults=True)
    except ValidationError:
        return given  # refused as it is
    found: Values = _kept(filled, wanted | {name: filled[name] for name in said if name in filled})
    return found


def _kept(given: Any, wanted: Any) -> Any:
    """Of ``given``, as it was given, what ``wanted`` has."""
    if not isinstance(given, Mapping) or not isinstance(wanted, Mapping):
        return given
    return {name: _kept(value, wanted[name]) for name, value in given.items() if name in wanted}
