"""The deployments of a single machine: the whole run and each stage alone, started from the UI's form."""

from __future__ import annotations

from prefect import serve

from flows.survey_run import FLOWS


def serve_deployments() -> None:
    """Serve them until interrupted."""
    serve(*(flow.to_deployment(name="adhoc", description=flow.description) for flow in FLOWS.values()))  # type: ignore[arg-type]
