"""Tells a Prefect server that a survey has a new release: the event that starts the deployment `reprocess`.

The event carries the specification to run, so that whoever receives it need not be able to read a file of the sender's.
No specification holds a secret. This file decides nothing about what is to be made anew: the run does, by its plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.events import Event, Resource
from prefect.events.clients import PrefectEventsClient
from prefect.settings import PREFECT_API_URL

from galflow.errors import GalflowError, SpecError
from galflow.spec.run import RunSpec, SurveySpec, parse_spec, with_root
from galflow.storage.receipts import RunManifest, read_manifests
from galflow.storage.store import Store

EVENT = "galflow.release.published"
_ATTEMPTS = 3


@dataclass(frozen=True)
class Release:
    """A survey's new release, for one specification that takes from this survey."""

    spec: RunSpec
    """With the release in its survey, and a store root that means the same everywhere."""
    change: Mapping[str, Any]
    """What is known of it: for a watcher the tiles that are new, changed and gone."""

    @property
    def survey(self) -> str:
        """The survey's name."""
        return self.spec.survey.survey_name

    @property
    def name(self) -> str:
        """The release's."""
        return self.spec.survey.release

    def payload(self) -> dict[str, Any]:
        """What the automation hands to the flow, and what people read in the event feed."""
        spec = self.spec.model_dump(mode="json", exclude_unset=True)
        # Set here, not by who wrote the specification: they would be missing among what was set.
        spec["survey"]["release"] = self.name
        spec["store"] = self.spec.store.model_dump(mode="json")
        return {"survey": self.survey, "release": self.name, "run_name": self.spec.name, "spec": spec} | dict(
            self.change
        )


def of_release(spec: RunSpec, release: str) -> RunSpec:
    """The specification with that release of its survey, also where a comparison sample is of the same survey.

    SpecError if ``release`` cannot be the name of one.
    """
    name = spec.survey.survey_name

    def renewed(survey: SurveySpec) -> SurveySpec:
        return survey.model_copy(update={"release": release}) if survey.survey_name == name else survey

    samples = tuple(s.model_copy(update={"survey": renewed(s.survey)}) for s in spec.comparison.samples)
    comparison = spec.comparison.model_copy(update={"samples": samples})
    found = spec.model_copy(update={"survey": renewed(spec.survey), "comparison": comparison})
    parse_spec(found.model_dump(mode="json"), f"the specification with release {release!r}")
    return found


def release_of(spec: RunSpec, release: str, change: Mapping[str, Any] | None = None) -> Release:
    """A release of the specification's survey; SpecError if ``release`` cannot be the name of one."""
    root = Store.of(spec.store).root
    return Release(with_root(of_release(spec, release), root), change or {})


def specs_of_survey(store: Store, survey: str) -> list[RunSpec]:
    """The specifications that were run on a survey, as they were published last: one for each name of a run.

    SpecError if there is none. Where the work ran is no part of what is published, so they run where the deployment
    says.
    """
    manifests = read_manifests(store)
    last: dict[str, RunManifest] = {}
    for manifest in sorted(manifests, key=lambda m: m.finished):
        last[manifest.name] = manifest
    store_part = {"root": store.root, "endpoint_url": store.endpoint_url}
    # Others are not read any further: a run of long ago may have been specified in words that are no longer taken.
    surveys = {m.name: SurveySpec.model_construct(**m.specification["survey"]).survey_name for m in last.values()}
    found = [parse_spec(m.specification | {"store": store_part}, f"the specification of run {m.run}")
             for m in last.values() if surveys[m.name] == survey]  # fmt: skip
    if not found:
        known = ", ".join(sorted(set(surveys.values()))) or "none"
        raise SpecError(
            f"no run of survey {survey!r} has been published at {store.root} (surveys there: {known}); "
            "give the specification with --spec, or the store with --root"
        )
    return found


def server_address() -> str:
    """Of the Prefect server that PREFECT_API_URL (or Prefect's profile) names, without a password.

    SpecError if none is configured, GalflowError if it does not answer.
    """
    api = PREFECT_API_URL.value()
    if not api:
        raise SpecError(
            "no Prefect server is configured, so nobody would hear of the release; set PREFECT_API_URL, "
            "as http://127.0.0.1:4200/api for `galflow serve` on this machine"
        )
    parts = urlsplit(api)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    with get_client(sync_client=True) as client:
        trouble = client.api_healthcheck()
    if trouble is not None:
        raise GalflowError(
            f"the Prefect server at {shown} does not answer ({type(trouble).__name__}); start it, or set "
            "PREFECT_API_URL to where it is"
        )
    return shown


def announce(releases: Sequence[Release]) -> str:
    """Emit an event for each release; returns the address of the server that has them.

    SpecError if no server is configured, GalflowError if it does not take them.
    """
    server = server_address()
    events = [_event(release) for release in releases]
    try:
        asyncio.run(_emit(events))
    except Exception as error:
        raise GalflowError(
            f"the Prefect server at {server} did not take the event {EVENT} ({type(error).__name__}: {error}); "
            "is it a Prefect 3 server, and does PREFECT_API_AUTH_STRING fit?"
        ) from error
    return server


def _event(release: Release) -> Event:
    return Event(
        event=EVENT,
        resource=Resource(
            {
                "prefect.resource.id": f"galflow.survey.{release.survey}",
                "prefect.resource.name": release.survey,
                "galflow.release": release.name,
            }
        ),
        payload=release.payload(),
    )


async def _emit(events: Sequence[Event]) -> None:
    # Not prefect.events.emit_event, which hands events to a thread that tells nobody when it cannot deliver them.
    async with PrefectEventsClient(checkpoint_every=1, reconnection_attempts=_ATTEMPTS) as client:
        for event in events:
            await client.emit(event)
