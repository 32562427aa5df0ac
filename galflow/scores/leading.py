"""Which of a run's scores leads: the one behind anomaly_q and the report's ranking."""

from __future__ import annotations

from galflow.errors import SpecError
from galflow.models.base import find_model
from galflow.spec.run import RunSpec
from galflow.training.corrected_likelihood import scores_of


def _may_rank(spec: RunSpec) -> dict[str, str]:
    """Every score by a model of the survey -> that model's name; the first is the first model's main one."""
    able = [m for m in spec.models if m.sample is None]
    return {f"{m.name}_{score}": m.name for m in able for score in scores_of(find_model(m.model))}


def primary_score(spec: RunSpec) -> str:
    """The score that ranks: as declared, or the main one of the first model of the survey; or SpecError."""
    names = list(_may_rank(spec))
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
    return _may_rank(spec)[primary_score(spec)]
