"""The deployments of a single machine: the whole run and each stage alone, started from the UI's form.

The form starts out with the demo's specification, so that a first run is one click. Run as a module (which
flows.serving does) it serves them, one run at a time: two would fight for the same cores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from prefect import serve
from prefect.deployments.runner import RunnerDeployment

from flows.survey_run import FLOWS
from galflow.spec import load_spec

NAME = "adhoc"
"""A deployment is called FLOW/adhoc."""


def deployments(root: str) -> list[RunnerDeployment]:
    """One a flow, with the demo's specification in its form; ``root`` is its store.root."""
    spec = load_spec(Path(__file__).with_name("demo.yaml"), root)
    form = {"spec": spec.model_dump(mode="json", exclude_unset=True)}
    return [
        cast(RunnerDeployment, flow.to_deployment(name=NAME, description=flow.description, parameters=form))
        for flow in FLOWS.values()
    ]


def serve_deployments(root: str) -> None:
    """Serve them until SIGTERM or SIGINT."""
    serve(*deployments(root), limit=1, print_starting_message=False)


if __name__ == "__main__":
    serve_deployments(sys.argv[1])
