"""Whether a specification can be carried out: asked with surveys and models opened, before any work is begun.

All faults are found and told at once (of the survey: galflow.runs.check_survey).
"""

from __future__ import annotations

import importlib.util
from functools import partial

from galflow.measurements.part import number_columns
from galflow.runs.check_columns import check_group, check_matching, sample_title
from galflow.runs.check_display import displayed_run, remarks_of
from galflow.runs.check_samples import check_samples
from galflow.runs.check_survey import ask, check_survey, refuse
from galflow.runs.plan_residuals import check_residuals
from galflow.runs.plan_similar import check_similar
from galflow.scores.leading import declared_score, may_rank
from galflow.spec.run import RunSpec
from galflow.storage.look import one_look, seen
from galflow.surveys.base import Survey
from galflow.surveys.resolve import open_survey
from galflow.training.check import check_model, check_ratio


def check_run(spec: RunSpec) -> list[str]:
    """Open the surveys, look at their headers and first rows, and build every model once, before any work.

    SpecError with every fault of the specification, a line each. What is wrong with some tiles is returned, a line a
    kind: the run goes on without what these lack. Within a look it is asked once.
    """
    with one_look():  # else what asks twice would list the files twice
        return seen(("check", spec.model_dump_json()), lambda: _check(spec))


def _check(spec: RunSpec) -> list[str]:
    faults: list[str] = []
    remarks: list[str] = []
    bands = check_survey(spec.survey, spec.cutouts, "survey", faults, remarks)
    for sample in spec.comparison.samples:
        like = spec.cutouts.model_copy(update={"bands": bands}) if bands else spec.cutouts
        check_survey(sample.survey, like, sample_title(sample.name), faults, remarks)
    displayed = ask(lambda: displayed_run(_surveys(spec)), faults) if bands and not faults else None
    remarks += remarks_of(displayed, spec.stretch)
    stretch = spec.stretch.model_copy(update={"kind": spec.stretch.kind_for(bool(displayed))})
    if bands:
        ask(lambda: check_group(spec.output, open_survey(spec.survey)), faults)
        measured = {name for what in spec.measure for name in number_columns(what, bands)}
        ask(lambda: check_samples(*_survey_and_samples(spec), bands or ()), faults)
        ask(lambda: check_matching(spec.comparison, _surveys(spec), measured), faults)
    declared = ask(lambda: declared_score(spec), faults)
    leader = may_rank(spec)[declared] if declared is not None else None
    if bands is None:  # of what models are built of nothing is known
        bands = ()
    for model in spec.models if bands else ():
        ranks_by = declared.removeprefix(f"{leader}_") if declared is not None and model.name == leader else None
        ask(partial(check_model, model, bands, spec.cutouts.size, stretch, ranks_by, displayed), faults)
    ask(lambda: check_residuals(spec), faults)
    ask(lambda: check_similar(spec), faults)
    for ratio in spec.ratios:
        ask(partial(check_ratio, ratio, spec.models, spec.training), faults)
    if "hats" in spec.output.formats and importlib.util.find_spec("hats") is None:
        faults.append("output.formats: hats needs the package hats; install galflow[hats], or leave hats out")
    if spec.training.tensorboard and importlib.util.find_spec("tensorboard") is None:
        faults.append(
            "training.tensorboard: event files need the package tensorboard; install galflow[tensorboard], or leave "
            "tensorboard out"
        )
    refuse(faults)
    return remarks


def _survey_and_samples(spec: RunSpec) -> tuple[Survey, dict[str, Survey]]:
    found = _surveys(spec)
    return found.pop("the survey"), found


def _surveys(spec: RunSpec) -> dict[str, Survey]:
    """The run's survey and its comparison samples."""
    others = {sample_title(sample.name): sample.survey for sample in spec.comparison.samples}
    return {"the survey": open_survey(spec.survey)} | {what: open_survey(found) for what, found in others.items()}
