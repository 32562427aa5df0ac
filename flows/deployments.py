"""The deployments of a single machine: the whole run, by itself at night and from the UI's form; what a new release
starts; and each stage alone. deploy/prefect.yaml has the same for a server of one's own, and a test compares the two.

The form starts out with a small run of the embedded sky, so that a first run is one click. Run as a module (which
flows.serving does) it serves them, one run at a time: two would fight for the same cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

from prefect import Flow, serve
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from flows.emulate import emulate
from flows.form_values import form
from flows.release import EVENT
from flows.survey_run import FLOWS, compare_simulations, reprocess
from galflow.spec.emulation import EmulationSpec, load_emulation
from galflow.spec.run import RunSpec, load_spec

ADHOC, NIGHTLY, REPROCESS = "survey-adhoc", "survey-nightly", "reprocess"
SIMULATIONS, EMULATE = "simulations-adhoc", "emulate-adhoc"
"""A deployment is called FLOW/DEPLOYMENT, as survey-run/survey-adhoc; that of a stage alone ingest/ingest-adhoc."""
TRIGGER = "galflow: a new release is reprocessed"
_HERE = Path(__file__).parent
# What an automation fills in is text. `tojson` and this pair of marks make a mapping of it again.
FILLED_IN: dict[str, Any] = {
    "release": "{{ event.payload.release }}",
    "spec": {
        "__prefect_kind": "json",
        "value": {"__prefect_kind": "jinja", "template": "{{ event.payload.spec | tojson }}"},
    },
}
"""The parameters of `reprocess`, from the event's payload."""


def deployments(root: str, cron: str, timezone: str, nightly: RunSpec | None = None) -> list[RunnerDeployment]:
    """All of them; ``root`` is store.root in their forms.

    Without a specification of its own the nightly one is there with its schedule off.
    """
    start, compared = (form(_plain(load_spec(_HERE / f"{name}.yaml", root))) for name in ("form", "form_simulations"))
    emulated = _plain(load_emulation(_HERE / "emulate.yaml", root))
    schedule = Cron(cron, timezone=timezone, active=nightly is not None)
    whole = FLOWS["survey-run"]
    found = [
        _deployment(whole, ADHOC, start),
        _deployment(whole, NIGHTLY, start if nightly is None else _plain(nightly), schedules=[schedule]),
        _deployment(reprocess, REPROCESS, start, triggers=[release_trigger()]),
        _deployment(compare_simulations, SIMULATIONS, compared),
        _deployment(emulate, EMULATE, emulated),
    ]
    stages = [flow for flow in FLOWS.values() if flow is not whole]
    return found + [_deployment(flow, f"{flow.name}-adhoc", start) for flow in stages]


def release_trigger() -> DeploymentEventTrigger:
    """A run of `reprocess` for each event, with the event's specification and release."""
    return DeploymentEventTrigger(name=TRIGGER, expect={EVENT}, parameters=FILLED_IN)


def _plain(spec: RunSpec | EmulationSpec) -> dict[str, Any]:
    return spec.model_dump(mode="json", exclude_unset=True)


def _deployment(flow: Flow[..., Any], name: str, spec: dict[str, Any], **more: Any) -> RunnerDeployment:
    # When it ends, Prefect's runner pauses what it served, and that is remembered.
    made = flow.to_deployment(
        name=name,
        description=flow.description,
        parameters={"spec": spec},
        paused=False,
        # Not the file's path: a run would then look for modules in the folder that the service was started in.
        entrypoint_type=EntrypointType.MODULE_PATH,
        **more,
    )
    return cast(RunnerDeployment, made)


def main() -> None:
    """Serve them until SIGTERM or SIGINT; flows.serving starts this."""
    words = argparse.ArgumentParser(prog="python -m flows.deployments")
    words.add_argument("root")
    words.add_argument("--cron", required=True)
    words.add_argument("--timezone", required=True)
    words.add_argument("--nightly", type=Path)
    words.add_argument("--nightly-root")
    given = words.parse_args()
    nightly = None if given.nightly is None else load_spec(given.nightly, given.nightly_root)
    serve(*deployments(given.root, given.cron, given.timezone, nightly), limit=1, print_starting_message=False)


if __name__ == "__main__":
    main()
