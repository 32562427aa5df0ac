"""How far a stage is: a bar in the terminal, and within a Prefect run an artifact on that run's page in the UI.

It starts no Prefect server: a stage called as a plain function only draws its bar.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

import httpx
from prefect.artifacts import create_link_artifact, create_progress_artifact, update_progress_artifact
from prefect.context import get_run_context
from prefect.exceptions import MissingContextError
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from galflow.logs import LogSettings

logger = logging.getLogger(__name__)
_ARTIFACT_SECONDS = 2.0
"""The server takes some thirty calls a second; a stage makes at most one each so many seconds."""
_UNITS = {"train": "models", "ingest": "tiles", "join": "tiles", "measure": "tiles", "score": "tiles"}
"""First word of a stage's name -> what it makes one after another; of other stages products."""
_LEAST_SHARE = 0.02
"""So much must be done before the time that is left is worth a word."""
_ARTIFACT_PERCENT = 5.0
"""And at most one each so many percent of its units: a stage of a million makes no more calls than one of hundreds."""


def in_prefect_run() -> bool:
    """Whether this is called by a Prefect flow or task run. Outside of one there is no page to put an artifact on."""
    try:
        get_run_context()
    except MissingContextError:
        return False
    return True


class _Server:
    """Whether Prefect's server answered when it was last told something."""

    answers = True


@contextmanager
def telling() -> Iterator[None]:
    """Around what only shows the run: a server that does not answer is said once, and stops nothing."""
    try:
        yield
    except httpx.HTTPError as error:
        if _Server.answers:
            logger.warning("Prefect's server does not answer (%s): the run goes on, its page stands still", error)
        _Server.answers = False
    else:
        _Server.answers = True


def link_to(uri: str, words: str, key: str) -> None:
    """A link on the run's page in the UI; nothing outside a run."""
    if in_prefect_run():
        with telling():
            create_link_artifact(link=uri, link_text=words, key=key)


class _Counts(ProgressColumn):
    """Units done, and objects with their rate where units hold any."""

    def render(self, task: Task) -> Text:
        """As 3/11 tiles, 1,204 objects, 310/s."""
        unit = _UNITS.get(task.description.partition(" ")[0], "products")
        words = f"{task.fields['done']:,}/{task.total or 0:,.0f} {unit}"
        if objects := task.fields["objects"]:
            words += f", {objects:,} objects, {objects / max(task.elapsed or 0.0, 1e-3):,.0f}/s"
        return Text(words, style="green")


class _Time(ProgressColumn):
    """Time spent, and time left."""

    def render(self, task: Task) -> Text:
        """As 0:00:06, 0:00:11 left."""
        spent, before = task.elapsed or 0.0, task.fields["before"]
        words = str(timedelta(seconds=round(spent)))
        share = (task.completed - before) / max(1.0, (task.total or 0.0) - before)
        if _LEAST_SHARE <= share < 1:
            words += f", {timedelta(seconds=round(spent / share - spent))} left"
        return Text(words, style="yellow")


class StageProgress:
    """A context manager for one stage of ``total`` units, ``done`` of which were there before."""

    def __init__(self, stage: str, total: int, done: int = 0) -> None:
        self._stage, self._total, self._done = stage, total, done
        self._failed = 0
        self._bar = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=20),
            _Counts(table_column=Column(no_wrap=True)),
            _Time(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[note]}", style="dim", table_column=Column(no_wrap=True)),
            console=Console(stderr=True, soft_wrap=True, force_jupyter=False),
            refresh_per_second=4,
            disable=LogSettings.from_environment().format == "json",  # then every line is an object
        )
        self._objects = 0
        self._parts: dict[str, float] = {}
        self._line = self._bar.add_task(stage, total=total, completed=done, note="", before=done, done=done, objects=0)
        self._artifact: UUID | None = None
        self._told = 0.0
        self._told_percent = self._percent

    def __enter__(self) -> Self:
        self._bar.start()
        if in_prefect_run():
            # A sample's name may hold what Prefect's keys may not.
            key = f"galflow-{re.sub(r'[^a-z0-9]+', '-', self._stage.lower())}"
            with telling():
                made = create_progress_artifact(progress=self._percent, key=key, description=self._words)
                self._artifact = made  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.clear()
        if kind is None:
            self.note("" if not self._failed else f"{self._failed} failed")
        self._draw()
        self._bar.stop()
        self._tell(always=True)

    def advance(self, *, failed: bool = False, name: str = "", objects: int = 0) -> None:
        """One more unit, ``name``, ended, with so many objects in it."""
        self._done += 1
        self._failed += failed
        self._objects += objects
        self._parts.pop(name, None)
        self._draw()
        self._tell()

    def part(self, name: str, share: float, text: str) -> None:
        """How far, from 0 to 1, a unit is that is not ended yet, and in a few words what is being done."""
        self._parts[name] = share
        self.note(text)
        self._draw()

    def note(self, text: str) -> None:
        """A few words behind the bar."""
        self._bar.update(self._line, note=text)

    def _draw(self) -> None:
        reached = min(self._done + sum(self._parts.values()), float(self._total))
        self._bar.update(self._line, completed=reached, done=self._done, objects=self._objects)

    @property
    def _percent(self) -> float:
        return 100.0 * self._done / self._total if self._total else 100.0

    @property
    def _words(self) -> str:
        failed = f", {self._failed} of them failed" if self._failed else ""
        return f"{self._stage}: {self._done} of {self._total} done{failed}"

    def _tell(self, *, always: bool = False) -> None:
        if self._artifact is None:
            return
        waited = time.monotonic() - self._told > _ARTIFACT_SECONDS
        if always or (waited and self._percent >= self._told_percent + _ARTIFACT_PERCENT):
            self._told, self._told_percent = time.monotonic(), self._percent
            with telling():
                update_progress_artifact(self._artifact, progress=self._percent, description=self._words)
