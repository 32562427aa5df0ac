"""How a run ends, as Prefect shows it: done, done with failures, or failed; and how it is continued.

What failed is a unit of the work, recorded by its stage. An exception that leaves a flow is no matter of this file:
Prefect makes a failed run of it, with its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import httpx
from prefect import Flow
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed, State

from galflow.errors import GalflowError, SpecError
from galflow.report.verdicts import parts_failed
from galflow.spec.emulation import EmulationSpec
from galflow.spec.run import RunSpec
from galflow.storage.receipts import RunManifest
from tasks.fan_out import Failure
from tasks.run_page import CONTINUE, tell_refusal
from tasks.run_record import RunRecord

WITH_FAILURES = "DoneWithFailures"
"""Name of the state; Prefect's event for it is prefect.flow-run.DoneWithFailures."""
_SHOWN = 10


@dataclass(frozen=True, eq=False)
class RunOutcome:
    """How a run ended."""

    manifest: RunManifest | None
    """What was published, if anything was."""
    failures: tuple[Failure, ...]
    partial: tuple[str, ...] = ()
    """Why products are partial or empty, a line a reason."""


def outcome_of(run: RunRecord, *, nothing_scored: bool) -> RunOutcome:
    """How a run ended that reached so much; ``nothing_scored``: it was to publish, and could not."""
    nothing = Failure("publish", run.spec.name, "no object was scored, so nothing to publish")
    return RunOutcome(run.manifest, (*run.failures, *([nothing] if nothing_scored else [])), run.partial)


def run_here(flow: Flow[..., Any], spec: RunSpec | EmulationSpec) -> RunOutcome:
    """Run a flow in this process; how it ended, also if it published nothing. What leaves the flow is raised."""
    try:
        state = cast(State[RunOutcome], flow(spec, return_state=True))
    except httpx.TransportError as error:
        where = f" at {PREFECT_API_URL.value()}" if PREFECT_API_URL.value() else ""
        raise GalflowError(
            f"Prefect's server{where} does not answer ({type(error).__name__}: {error}); what was done is kept. Start "
            "the server, then give the same command again: it does the rest"
        ) from error
    outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def stage_end(outcome: RunOutcome) -> State[RunOutcome]:
    """The end of a run that stops before publishing."""
    return _completed(outcome, "Done; nothing is published yet.")


def whole_end(outcome: RunOutcome) -> State[RunOutcome]:
    """The end of a run that publishes: failed, if it published nothing."""
    if outcome.manifest is None:
        return Failed(data=outcome, message=f"Nothing is published. {_told(outcome.failures)} {CONTINUE}")
    return _completed(outcome, f"Done: {outcome.manifest.run} is published.")


def refused(error: SpecError) -> State[RunOutcome]:
    """The end of a run whose specification cannot be done: its faults, word for word, and as an artifact of the run."""
    tell_refusal(str(error))
    return Failed(data=error, message=str(error))


def _completed(outcome: RunOutcome, done: str) -> State[RunOutcome]:
    if outcome.partial:
        done += f" Not whole: {_listed(outcome.partial)}."
    if not outcome.failures:
        return Completed(data=outcome, message=done)
    return Completed(data=outcome, name=WITH_FAILURES, message=f"{done} {_told(outcome.failures)} {CONTINUE}")


def _told(failures: tuple[Failure, ...]) -> str:
    return f"{parts_failed(len(failures))}: {_listed([f'{f.stage} {f.name}: {f.reason}' for f in failures])}."


def _listed(lines: Sequence[str]) -> str:
    more = f"; and {len(lines) - _SHOWN:,} more" if len(lines) > _SHOWN else ""
    return "; ".join(lines[:_SHOWN]) + more
