"""What comes before a run's work: the folder that relative paths are meant from, and whether the run may be done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from flows.allowances import require_allowed
from galflow.spec.emulation import EmulationSpec
from galflow.spec.run import RunSpec
from tasks.monitoring import watched_emulation, watched_run

FOLDER = "GALFLOW_FOLDER"
"""Environment variable of a service's runs: the folder that the service was started in.

They begin in another one: Prefect looks for a flow's module in the current folder first, where somebody's own tasks.py
may lie.
"""


@contextmanager
def begun_run(spec: RunSpec) -> Iterator[RunSpec]:
    """A run that may be done here, watched; SpecError before anything of it is done if it may not."""
    _before(spec)
    with watched_run(spec) as reached:
        yield reached


@contextmanager
def begun_emulation(spec: EmulationSpec) -> Iterator[EmulationSpec]:
    """The same for an emulated survey."""
    _before(spec)
    with watched_emulation(spec) as reached:
        yield reached


def _before(spec: RunSpec | EmulationSpec) -> None:
    if folder := os.environ.get(FOLDER):
        os.chdir(folder)
    require_allowed(spec)
