"""The story of a run, and a flow for each stage that it may end with. Every flow takes one RunSpec."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar, cast

from prefect import flow
from prefect.states import State
from prefect.utilities.annotations import quote as prefect_quote
from pydantic import Field

from flows.beginning import begun_run, require_read
from flows.form_schema import Form
from flows.release import of_release
from flows.run_state import RunOutcome, outcome_of, refused, stage_end, whole_end
from galflow.errors import SpecError
from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec
from tasks.publish import publish
from tasks.residuals import residual_objects, store_residuals
from tasks.run_record import RunRecord
from tasks.similar import encode_latents, index_latents
from tasks.stages import check, choose_rule, compare, ingest, join, measure_cutouts, score_cutouts, train_models

# The store keeps what a run makes; Prefect keeps no results. One run's parameters are a RunSpec, checked by pydantic.
_FLOW: dict[str, Any] = {"persist_result": False}


Value = TypeVar("Value")


def quote(value: Value) -> Value:
    """The value as a task's argument that Prefect hands over as it is, without walking through its receipts."""
    return cast(Value, prefect_quote(value))


STAGES = ("ingest", "train", "score", "compare", "publish")
"""In their order; a run may end with any of them."""


def run_until(spec: RunSpec, last: str) -> RunOutcome:
    """The story of a run: it does what is missing, up to the stage ``last``, and redoes nothing that is done."""
    run = RunRecord(spec)
    wanted = STAGES[: STAGES.index(last) + 1]
    check(spec)
    observe(run)
    if "train" in wanted:
        run.models = train_models(quote(run))
    if "score" in wanted:
        judge(run)
    if "compare" in wanted:
        run.comparison = compare(quote(run))
    if "publish" in wanted:
        publish_whole(run)
    return outcome_of(run, nothing_scored="publish" in wanted and not run.has_scores)


def observe(run: RunRecord) -> None:
    """Cut out the survey and every sample alike, and join rows that are one object."""
    run.cutouts = {sample: ingest(quote(run), sample) for sample in run.surveys}
    run.joined = {sample: join(quote(run), sample) for sample in run.surveys}


def judge(run: RunRecord) -> None:
    """Measure what is to be measured, choose what ranks, and score the survey and every sample by the same models."""
    if run.spec.measure:
        run.measurements = {sample: measure_cutouts(quote(run), sample) for sample in run.surveys}
    run.ranking = choose_rule(quote(run))
    run.scores = {sample: score_cutouts(quote(run), sample) for sample in run.surveys}


def publish_whole(run: RunRecord) -> None:
    """Residuals, where they are asked for, then catalogue, report and manifest, if anything was scored."""
    if not run.has_scores:
        return
    if run.spec.output.residuals:
        run.residual_objects = residual_objects(quote(run))
        run.residuals = store_residuals(quote(run))
    if run.spec.output.similar:
        run.latents = encode_latents(quote(run))
        run.index = index_latents(quote(run))
    run.manifest = publish(quote(run))


def _run(spec: RunSpec, last: str) -> State[RunOutcome]:
    try:
        with begun_run(spec) as reached:
            outcome = run_until(reached, last)
    except SpecError as error:
        return refused(error)
    return whole_end(outcome) if last == "publish" else stage_end(outcome)


@flow(name="ingest", **_FLOW)
def ingest_survey(spec: Form) -> State[RunOutcome]:
    """Cut the survey and the comparison samples, join rows that are one object, and stop there."""
    return _run(spec, "ingest")


@flow(name="train", **_FLOW)
def train(spec: Form) -> State[RunOutcome]:
    """Cut what is missing, train the models, and stop there."""
    return _run(spec, "train")


@flow(name="score", **_FLOW)
def score(spec: Form) -> State[RunOutcome]:
    """Cut and train what is missing, score every object, and stop there."""
    return _run(spec, "score")


@flow(name="compare", **_FLOW)
def compare_with_sky(spec: Form) -> State[RunOutcome]:
    """Do what is missing up to the comparison of the samples with the sky, and publish nothing."""
    return _run(spec, "compare")


@flow(name="publish", **_FLOW)
def publish_run(spec: Form) -> State[RunOutcome]:
    """Do what is missing, then publish catalogue, report and manifest."""
    return _run(spec, "publish")


@flow(name="survey-run", **_FLOW)
def survey_run(spec: Form) -> State[RunOutcome]:
    """A whole run: cut, train, score, compare, publish."""
    return _run(spec, "publish")


@flow(name="compare-simulations", **_FLOW)
def compare_simulations(spec: Form) -> State[RunOutcome]:
    """How far simulations are from the sky: observe both alike, learn the sky, compare, publish with controls.

    Args:
        spec: A specification with comparison.samples, the simulations; comparison.match and measure make the comparison
            one of galaxies of equal brightness and size.
    """
    try:
        outcome = compare_until_published(spec)
    except SpecError as error:
        return refused(error)
    return whole_end(outcome)


def compare_until_published(spec: RunSpec) -> RunOutcome:
    """The story of a comparison."""
    require_read(spec)
    require_simulations(spec)
    with begun_run(spec) as reached:
        run = RunRecord(reached)
        check(reached)
        observe(run)  # the sky, the simulations as the survey would see them, and the controls
        run.models = train_models(quote(run))  # of the sky, and of the background that ratios are taken to
        judge(run)
        run.comparison = compare(quote(run))
        publish_whole(run)  # with the likelihood catalogue and a catalogue of each simulation
        return outcome_of(run, nothing_scored=not run.has_scores)


def require_simulations(spec: RunSpec) -> None:
    """SpecError where there is nothing to compare the survey with."""
    if not spec.comparison.samples:
        raise SpecError(
            "compare-simulations compares samples with the survey, and comparison.samples is empty; give a simulation "
            "there (kinds illustris, skirt, stamps, ...), or start survey-run"
        )


Release = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]


@flow(name="reprocess", **_FLOW)
def reprocess(spec: Form, release: Release, cluster: ClusterSpec | None = None) -> State[RunOutcome]:
    """A whole run of a specification on a new release of its survey: only what changed is made anew.

    Args:
        spec: The specification, as it was run before; of its survey and samples only the release is replaced.
        release: The survey's new release, as the run and whatever is made anew will be labelled.
        cluster: Where the work runs, instead of where the specification says.
    """
    try:
        require_read(spec)
        found = of_release(spec, release)
    except SpecError as error:
        return refused(error)
    return _run(found if cluster is None else found.model_copy(update={"cluster": cluster}), "publish")


FLOWS = {
    "survey-run": survey_run,
    "publish": publish_run,
    "ingest": ingest_survey,
    "train": train,
    "score": score,
    "compare": compare_with_sky,
}
"""By name; `galflow run --until NAME` takes one."""
