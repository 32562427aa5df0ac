"""What `galflow serve` asks its own Prefect server: whether it answers, what is offered, and to call off what ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType


@dataclass(frozen=True)
class Server:
    """A Prefect server of one's own."""

    api: str
    """Its address, as http://127.0.0.1:4200/api."""
    login: str = field(repr=False)

    def is_healthy(self) -> bool:
        """Whether it answers."""
        try:
            return httpx.get(f"{self.api}/health", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def has_offers(self, name: str, since: datetime) -> bool:
        """Whether the runner has asked for runs of deployment FLOW/DEPLOYMENT since then; it does once all are offered.

        What an earlier runner asked does not count.
        """
        # By a GET, of one: for any other question the server writes a token down, and the runner would wait for that.
        user, _, token = self.login.partition(":")
        try:
            found = httpx.get(f"{self.api}/deployments/name/{name}", auth=(user, token), timeout=30, trust_env=False)
        except httpx.TransportError:
            return False
        polled = found.json().get("last_polled") if found.status_code == 200 else None
        return polled is not None and datetime.fromisoformat(polled) > since

    def call_off(self) -> None:
        """Call the runs that ended with the runner crashed: nobody else would, and they would stay Running for good."""
        begun = FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.PENDING, StateType.RUNNING])),
            deployment_id=FlowRunFilterDeploymentId(is_null_=False),
        )
        crashed = State(
            type=StateType.CRASHED, message="galflow serve was stopped; the same run again does what is missing"
        )
        with SyncPrefectClient(self.api, auth_string=self.login) as client:
            for run in client.read_flow_runs(flow_run_filter=begun):
                client.set_flow_run_state(run.id, crashed, force=True)
