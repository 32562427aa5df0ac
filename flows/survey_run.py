"""The story of a run, and of each of its stages. Every flow takes one RunSpec, and redoes nothing that is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar, cast

from prefect import flow
from prefect.states import State
from prefect.utilities.annotations import quote as prefect_quote
from pydantic import Field

from flows.beginning import begun_run
from flows.choices import Form
from flows.ending import RunOutcome, stage_end, whole_end
from flows.release import of_release
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec
from tasks.fan_out import Failure, StageResult
from tasks.publish import publish
from tasks.stages import Joined, check, compare, ingest, join, score_cutouts, train_models

# The store keeps what a run makes; Prefect keeps no results. One run's parameters are a RunSpec, checked by pydantic.
_FLOW: dict[str, Any] = {"persist_result": False}


Value = TypeVar("Value")


def quote(value: Value) -> Value:
    """The value as a task's argument that Prefect hands over as it is, without walking through its receipts."""
    return cast(Value, prefect_quote(value))


@dataclass(frozen=True, eq=False)
class _Cut:
    """What is there once everything is cut: cutout sets, and which of their rows are one object."""

    cutouts: StageResult
    samples: dict[str, StageResult]
    joined: Joined
    joined_samples: Mapping[str, Joined]


@dataclass(frozen=True, eq=False)
class _Learnt:
    """What is there once models are trained."""

    cut: _Cut
    models: StageResult


@dataclass(frozen=True, eq=False)
class _Scored:
    """What is there once everything is scored."""

    learnt: _Learnt
    scores: StageResult
    sample_scores: dict[str, StageResult]


def _cut(spec: RunSpec) -> _Cut:
    check(spec)
    surveys = {sample.name: sample.survey for sample in spec.comparison.samples}
    cutouts = ingest(spec, spec.survey)
    samples = {name: ingest(spec, survey, name) for name, survey in surveys.items()}
    joined = join(spec, spec.survey, quote(cutouts))
    return _Cut(
        cutouts, samples, joined, {n: join(spec, survey, quote(samples[n]), n) for n, survey in surveys.items()}
    )


def _learn(spec: RunSpec) -> _Learnt:
    cut = _cut(spec)
    return _Learnt(cut, train_models(spec, quote(cut.joined), quote(cut.joined_samples)))


def _score(spec: RunSpec) -> _Scored:
    learnt = _learn(spec)
    models, cut = quote(learnt.models), learnt.cut
    scores = score_cutouts(spec, spec.survey, quote(cut.joined), models)
    sample_scores = {
        sample.name: score_cutouts(spec, sample.survey, quote(cut.joined_samples[sample.name]), models, sample.name)
        for sample in spec.comparison.samples
    }
    return _Scored(learnt, scores, sample_scores)


def _compare(spec: RunSpec, scored: _Scored) -> StageResult:
    cut = scored.learnt.cut
    return compare(
        spec,
        quote(cut.joined),
        quote(scored.scores),
        quote(cut.joined_samples),
        quote(scored.sample_scores),
        quote(scored.learnt.models),
    )


def _publish(spec: RunSpec) -> State[RunOutcome]:
    with begun_run(spec) as reached:
        return whole_end(_publish_on(reached))


def _publish_on(spec: RunSpec) -> RunOutcome:
    scored = _score(spec)
    cut = scored.learnt.cut
    comparison = _compare(spec, scored)
    reached = _reached(*_stages_of(scored), comparison)
    if not any(part.rows for part in scored.scores.receipts):
        nothing = Failure("publish", spec.name, "no object was scored, so nothing to publish")
        return replace(reached, failures=(*reached.failures, nothing))
    manifest = publish(
        spec,
        quote(cut.cutouts),
        quote(cut.joined),
        quote(scored.learnt.models),
        quote(scored.scores),
        quote(cut.samples),
        quote(cut.joined_samples),
        quote(scored.sample_scores),
        quote(comparison),
    )
    return replace(reached, manifest=manifest)


@flow(name="ingest", **_FLOW)
def ingest_survey(spec: Form) -> State[RunOutcome]:
    """Cut the survey and the comparison samples, join rows that are one object, and stop there."""
    with begun_run(spec) as reached:
        cut = _cut(reached)
    return stage_end(_reached(*_stages_of_cutting(cut)))


@flow(name="train", **_FLOW)
def train(spec: Form) -> State[RunOutcome]:
    """Cut what is missing, train the models, and stop there."""
    with begun_run(spec) as reached:
        learnt = _learn(reached)
    return stage_end(_reached(*_stages_of_learning(learnt)))


@flow(name="score", **_FLOW)
def score(spec: Form) -> State[RunOutcome]:
    """Cut and train what is missing, score every object, and stop there."""
    with begun_run(spec) as reached:
        scored = _score(reached)
    return stage_end(_reached(*_stages_of(scored)))


@flow(name="compare", **_FLOW)
def compare_with_sky(spec: Form) -> State[RunOutcome]:
    """Do what is missing up to the comparison of the samples with the sky, and publish nothing."""
    with begun_run(spec) as reached:
        scored = _score(reached)
        comparison = _compare(reached, scored)
    return stage_end(_reached(*_stages_of(scored), comparison))


def _stages_of_cutting(cut: _Cut) -> list[StageResult]:
    return [cut.cutouts, *cut.samples.values(), cut.joined, *cut.joined_samples.values()]


def _stages_of_learning(learnt: _Learnt) -> list[StageResult]:
    return [*_stages_of_cutting(learnt.cut), learnt.models]


def _stages_of(scored: _Scored) -> list[StageResult]:
    return [*_stages_of_learning(scored.learnt), scored.scores, *scored.sample_scores.values()]


def _reached(*stages: StageResult) -> RunOutcome:
    """What these stages left that is not whole; nothing is published."""
    failures = tuple(failure for stage in stages for failure in stage.failures)
    return RunOutcome(None, failures, tuple(line for stage in stages for line in stage.partial))


@flow(name="publish", **_FLOW)
def publish_run(spec: Form) -> State[RunOutcome]:
    """Do what is missing, then publish catalogue, report and manifest."""
    return _publish(spec)


@flow(name="survey-run", **_FLOW)
def survey_run(spec: Form) -> State[RunOutcome]:
    """A whole run: cut, train, score, compare, publish."""
    return _publish(spec)


Release = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


@flow(name="reprocess", **_FLOW)
def reprocess(spec: Form, release: Release, cluster: ClusterSpec | None = None) -> State[RunOutcome]:
    """A whole run of a specification on a new release of its survey: only what changed is made anew.

    Args:
        spec: The specification, as it was run before; of its survey and samples only the release is replaced.
        release: The survey's new release, as the run and whatever is made anew will be labelled.
        cluster: Where the work runs, instead of where the specification says.
    """
    found = of_release(spec, release)
    return _publish(found if cluster is None else found.model_copy(update={"cluster": cluster}))


FLOWS = {
    "survey-run": survey_run,
    "publish": publish_run,
    "ingest": ingest_survey,
    "train": train,
    "score": score,
    "compare": compare_with_sky,
}
"""By name; `galflow run --until NAME` takes one."""
