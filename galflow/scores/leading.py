"""Which of a run's scores leads: the one behind anomaly_q and the report's ranking."""

from __future__ import annotations

from galflow.errors import SpecError
from galflow.models.base import find_model
from galflow.spec import RunSpec
from galflow.training.corrected_likelihood import scores_of


def primary_score(spec: RunSpec) -> str:
    """The score that ranks: as declared, or the main one of the first model of the survey; or SpecError."""
    able = [m for m in spec.models if m.name in spec.survey_models]
    names = [f"{m.name}_{score}" for m in able for score in scores_of(find_model(m.model))]
    if not names:
        raise SpecError("models: each has a sample, so none learns the survey; leave sample out of one at least")
    if spec.scoring.primary is None:
        return names[0]
    if spec.scoring.primary not in names:
        raise SpecError(
            f"scoring.primary: {spec.scoring.primary!r} is no score of this run; expected one of {', '.join(names)}"
        )
    return spec.scoring.primary


def leading_model(spec: RunSpec) -> str:
    """The name of the model that gives the score that ranks."""
    leader = primary_score(spec)
    return next(m.name for m in spec.models if leader in {f"{m.name}_{s}" for s in scores_of(find_model(m.model))})
