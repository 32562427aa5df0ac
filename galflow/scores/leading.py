"""Which of a run's scores may rank: what a specification says of it, before anything is measured."""

from __future__ import annotations

from collections.abc import Collection

from galflow.errors import SpecError
from galflow.models.base import find_model
from galflow.spec.run import RunSpec
from galflow.training.corrected_likelihood import scores_of


def may_rank(spec: RunSpec) -> dict[str, str]:
    """Every score by a model of the survey -> that model's name. SpecError if no model learns the survey."""
    able = [m for m in spec.trainings if m.sample is None]
    if not able:
        raise SpecError("models: each has a sample, so none learns the survey; leave sample out of one at least")
    return {f"{m.name}_{score}": m.name for m in able for score in scores_of(find_model(m.model))}


def declared_score(spec: RunSpec) -> str | None:
    """The score that is to rank; None: evidence decides. SpecError for one that no model of the survey has."""
    names = may_rank(spec)
    if spec.scoring.primary is not None and spec.scoring.primary not in names:
        raise SpecError(
            f"scoring.primary: {spec.scoring.primary!r} is no score of this run; expected one of {', '.join(names)}"
        )
    return spec.scoring.primary


def first_score(spec: RunSpec, trained: Collection[str]) -> str:
    """The main score of the first of these models that learns the survey: it ranks where nothing can be measured."""
    return next(score for score, model in may_rank(spec).items() if model in trained)
