"""What comes before a run's work: the folder that relative paths are meant from, and whether the run may be done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from flows.allowances import require_allowed
from galflow.errors import SpecError
from galflow.spec.emulation import EmulationSpec
from galflow.spec.run import RunSpec
from tasks.monitoring import watched_emulation, watched_run

FOLDER = "GALFLOW_FOLDER"
"""Environment variable of a service's runs: the folder that the service was started in.

They begin in another one: Prefect looks for a flow's module in the current folder first, where somebody's own tasks.py
may lie.
"""


@dataclass(frozen=True)
class Refused:
    """What a flow is given in place of a specification that is none."""

    faults: Sequence[str]
    """A sentence each."""


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


def require_read(spec: RunSpec | EmulationSpec | Refused) -> None:
    """SpecError if a flow was given no specification."""
    if isinstance(spec, Refused):
        raise SpecError("\n".join(spec.faults))


def _before(spec: RunSpec | EmulationSpec) -> None:
    require_read(spec)
    if folder := os.environ.get(FOLDER):
        os.chdir(folder)
    require_allowed(spec)
