"""What Prometheus sees of a run, beside Dask's own metrics: counts of units on each worker, and where the workers are.

Dask serves a worker's registry under /metrics of the worker's own port. A scheduler that preloads this module says at
/galflow/targets which ports these are. Nothing is counted in the process that started the run.
"""

from __future__ import annotations

import json
from functools import cache

from distributed import Scheduler
from distributed.http.utils import RequestHandler
from prometheus_client import Counter


@cache
def _counters() -> dict[str, Counter]:
    """Made when the first unit ends, in the registry that Dask shows."""
    return {
        "units": Counter("galflow_units", "Units of work that ended", ["stage", "outcome"]),
        "seconds": Counter("galflow_unit_seconds", "Time spent on units that ended", ["stage"]),
        "rows": Counter("galflow_rows", "Rows of the products made", ["stage"]),
    }


def count_unit(stage: str, outcome: str, seconds: float, rows: int = 0) -> None:
    """A unit of this worker has ended: done, empty, partial or failed."""
    counters = _counters()
    counters["units"].labels(stage, outcome).inc()
    counters["seconds"].labels(stage).inc(seconds)
    counters["rows"].labels(stage).inc(rows)


class WorkerTargets(RequestHandler):
    """Where the workers' /metrics are, as Prometheus' http_sd_config reads it: their ports are any free ones."""

    def get(self) -> None:
        """Answer with those that are there now."""
        workers = self.server.workers.values()
        targets = [f"{w.host}:{w.services['dashboard']}" for w in workers if "dashboard" in w.services]
        self.set_header("Content-Type", "application/json")
        self.write(json.dumps([{"targets": targets}]))


def dask_setup(scheduler: Scheduler) -> None:
    """What Dask calls of a module that its scheduler preloads."""
    scheduler.http_application.add_handlers(".*", [("/galflow/targets", WorkerTargets, {"dask_server": scheduler})])
