"""The fields of the UI's form: the ten that most runs set, and everything else in a part that stays closed.

They are a specification's own, under its names, with its help and its defaults; only their places differ
(flows.form_values puts them into theirs). A survey's section has the real options of its kind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Annotated, Any, Optional, Union

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

from galflow.spec.cluster import ClusterSpec
from galflow.spec.models import ModelSpec
from galflow.spec.output import OutputSpec
from galflow.spec.run import ComparisonSpec, CutoutSpec, RunSpec, SampleSpec
from galflow.spec.store import StoreSpec
from galflow.spec.survey import SurveySpec
from galflow.spec.training import TrainingOverrides, TrainingSpec
from galflow.surveys.resolve import survey_options

MORE, SURVEY = "more", "survey"
PLACES = {
    "bands": ("cutouts", "bands"),
    "size": ("cutouts", "size"),
    "epochs": ("training", "epochs"),
    "samples": ("comparison", "samples"),
    "workers": ("cluster", "workers"),
    "top": ("output", "top"),
    "root": ("store", "root"),
}
"""Field of the form -> where a specification has it. Name, survey and models are the other three of the ten."""
PARTS: Mapping[str, type[BaseModel]] = {
    "cutouts": CutoutSpec,
    "training": TrainingSpec,
    "comparison": ComparisonSpec,
    "cluster": ClusterSpec,
    "store": StoreSpec,
    "output": OutputSpec,
}
WHOLE_PARTS = ("join", "stretch", "scoring")
_OF_A_SECTION = ("bands", "catalog", "unit", "count", "tiles")
"""Options that a survey's section shows at once beside those that it needs; the others are below its ``more``."""
OF_A_SURVEY = ("name", "select")
"""Of a survey, whatever its kind: below ``more.survey`` of its section."""
RELEASE = "release"
SURVEYS, FILES, SIMULATIONS = "surveys", "files", "simulations"
GROUPS = (SURVEYS, FILES, SIMULATIONS)
_KINDS = {
    FILES: ("fits_tiles", "multimodal_universe", "stamp_cubes", "stamps"),
    SIMULATIONS: ("empty_sky", "illustris", "sersic_mock", "skirt", "synthetic"),
}
"""Kinds that are no survey's published files; a line of buttons has room for a dozen."""
_TITLES = {
    "size": "Cutout size",
    "samples": "Comparison samples",
    "top": "Objects shown",
    "root": "Output place",
    RELEASE: "Release",
    MORE: "More settings",
}
_CLOSED = "None: all of it as by default."

Fields = dict[str, Any]


@cache
def run_form() -> type[BaseModel]:
    """A run as the form has it; its JSON schema is what Prefect's UI draws."""
    whole, survey = RunSpec.model_fields, _survey()
    sample = _model(
        "Sample", SampleSpec.__doc__, _own(SampleSpec, ("name",)) | {SURVEY: (survey, Field(title="Survey"))}
    )
    hidden = _own(ModelSpec, but=("name", "model"))
    hidden["training"] = _closed(TrainingOverrides, str(ModelSpec.model_fields["training"].description))
    card = _model("Model", ModelSpec.__doc__, _own(ModelSpec, ("name", "model")) | _more(hidden))
    short = {name: _field(PARTS[part].model_fields[field], name) for name, (part, field) in PLACES.items()}
    samples = ComparisonSpec.model_fields["samples"]
    short["samples"] = (Annotated[tuple[sample, ...], samples], short["samples"][1])  # type: ignore[valid-type]
    taken = {part: [field for p, field in PLACES.values() if p == part] for part in PARTS}
    parts = {n: _model(p.__name__.removesuffix("Spec"), p.__doc__, _own(p, but=taken[n])) for n, p in PARTS.items()}
    parts |= {name: whole[name].annotation for name in WHOLE_PARTS}  # type: ignore[misc]
    more = {name: _field(whole[name]) for name in ("seed", "measure")}
    more |= {name: _closed(part, f"{whole[name].description} {_CLOSED}") for name, part in parts.items()}
    fields = {
        "name": _field(whole["name"]),
        SURVEY: (survey, Field(title="Survey", description="Which survey or simulation; choose its kind.")),
        "bands": short.pop("bands"),
        "size": short.pop("size"),
        "models": (tuple[card, ...], _field(whole["models"])[1]),  # type: ignore[valid-type]
        **short,
    }
    return _model("Form", "One run, by what most runs set.", fields | _more(more), title="Short form")


def group_of(kind: str) -> str:
    """Where the form has this kind of survey."""
    return next((group for group, kinds in _KINDS.items() if kind in kinds), SURVEYS)


def release_of(group: str) -> str:
    """The key of a survey's release, in each group another one."""
    return f"{group}_{RELEASE}"


def shown_options(kind: str) -> tuple[str, ...]:
    """The options that a kind's section shows at once."""
    fields = survey_options()[kind].model_fields
    return tuple(name for name, field in fields.items() if field.is_required() or name in _OF_A_SECTION)


def _survey() -> Any:
    """A survey, in two steps: a group of kinds, then a kind.

    Each stands under a key of its own, and so does the release: by the keys of a value Prefect's form finds out which
    of several it is, also in the moment when another kind is chosen and nothing of it is there yet.
    """
    groups = []
    for group, words in (
        (SURVEYS, "A survey's published files."),
        (FILES, "Files of your own."),
        (SIMULATIONS, "Simulated galaxies, or none."),
    ):
        kinds = [_section(kind) for kind in survey_options() if group_of(kind) == group]
        chosen = (Union[tuple(kinds)], Field(title="Kind"))  # noqa: UP007 # of types that are made here
        release = _field(SurveySpec.model_fields[RELEASE], RELEASE)
        groups.append(_model(group, words, {group: chosen, release_of(group): release}))
    return Union[(*groups, SurveySpec)]


def _section(kind: str) -> type[BaseModel]:
    options, shown = survey_options()[kind], shown_options(kind)
    beside = _model(f"{kind} survey", "What every survey has.", _own(SurveySpec, OF_A_SURVEY))
    hidden = _own(options, but=shown) | {SURVEY: _closed(beside, "Its name, and which of its objects are cut out.")}
    fields = _own(options, shown)
    for name in options.said:
        field = options.model_fields[name]
        where = fields if name in fields else hidden
        where[name] = _closed(field.annotation, f"{field.description}. None: as if {field.default}, and not declared.")
    fields |= _more(hidden)
    of_kind = _model(f"{kind} options", options.__doc__, fields)
    return _model(f"{kind} section", options.__doc__, {kind: (of_kind, Field(title=kind))}, title=kind)


def _own(part: type[BaseModel], names: Collection[str] | None = None, but: Collection[str] = ()) -> Fields:
    fields = part.model_fields
    return {n: _field(f) for n, f in fields.items() if n not in but and (names is None or n in names)}


def _field(field: FieldInfo, name: str = "") -> tuple[Any, FieldInfo]:
    if name not in _TITLES:
        return field.annotation, field
    return Annotated[field.annotation, field], Field(title=_TITLES[name])


def _more(fields: Fields) -> Fields:
    return {MORE: _closed(_model("More", "What few runs set.", fields), f"What few runs set. {_CLOSED}", _TITLES[MORE])}


def _closed(part: Any, words: str, title: str | None = None) -> Any:
    return (Optional[part], Field(default=None, description=words, title=title))  # noqa: UP045


def _model(name: str, words: str | None, fields: Fields, title: str | None = None) -> type[BaseModel]:
    shape = ConfigDict(extra="forbid", title=title or name)
    return create_model(name.title().replace(" ", "").replace("_", ""), __config__=shape, __doc__=words, **fields)
