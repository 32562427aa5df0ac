"""A published run, opened to look at every row of its catalogue: what the web service and a notebook ask."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt

from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import SpecError
from galflow.explore.database import Progress
from galflow.explore.described import Described
from galflow.explore.index import open_rows
from galflow.explore.latents import LatentAxes
from galflow.explore.maps import Maps
from galflow.explore.pictures import Pictures, Place
from galflow.explore.query import Query
from galflow.explore.reconstructions import Reconstructions
from galflow.explore.rows import Rows
from galflow.report.pictures import Display
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

RANK, ID, PRIMARY = "anomaly_rank", "object_id", "is_primary"
Similar = Callable[[int, int], npt.NDArray[Any]]
"""Id of an object and how many are wanted -> ids of objects like it, the nearest first."""


def _new_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="galflow-explore-")


@dataclass(eq=False)
class ExploredRun:
    """A run whose rows can be asked for. Threads may share it; ``close`` ends it."""

    store: Store
    manifest: RunManifest
    rows: Rows
    described: Described
    latents: LatentAxes | None
    """Of the columns by the run's latents; None: it has none."""
    pictures: Pictures
    maps: Maps
    reconstructions: Reconstructions
    label_classes: Callable[[], Sequence[str]] = field(default=tuple)
    """Classes that people gave; who has a label is ``rows.masks.labelled``."""
    similar: Similar | None = None
    """Who knows which objects are alike; None: nobody."""
    sent: tempfile.TemporaryDirectory[str] = field(default_factory=_new_folder)
    """Files that other programs were told to read."""

    @classmethod
    def open(
        cls,
        store: Store,
        manifest: RunManifest,
        cache: Path | None = None,
        progress: Progress = lambda _: None,
    ) -> ExploredRun:
        """The run; a catalogue too large for memory is copied to a folder below ``cache`` at the first time."""
        opened = open_rows(store, manifest, cache, progress)
        made = Pictures(store), Maps(opened.rows, opened.described.west), Reconstructions(store, manifest)
        return cls(store, manifest, opened.rows, opened.described, opened.latents, *made)

    @property
    def name(self) -> str:
        """The run's id."""
        return self.manifest.run

    def close(self) -> None:
        """Let go of the database, and of what was sent to other programs."""
        self.rows.close()
        self.sent.cleanup()

    def numbers_of(self, object_id: int) -> list[int]:
        """Numbers of an object's rows, the primary one first; SpecError if there is no such object."""
        found = self.rows.find(ID, object_id)
        if not len(found):
            raise SpecError(f"run {self.name} has no object {object_id}; ids stand in the column {ID}")
        primary = self.rows.fetch(found, [PRIMARY]).column(PRIMARY).to_pylist()
        return [int(n) for _, n in sorted(zip(primary, found, strict=True), key=lambda both: not both[0])]

    def places(self, numbers: Sequence[int] | npt.NDArray[Any]) -> list[Place | None]:
        """Where the pixels of these rows lie; None: nowhere."""
        table = self.rows.fetch(numbers, ["cutout", "row"])
        pairs = zip(table.column("cutout").to_pylist(), table.column("row").to_pylist(), strict=True)
        return [None if key is None else (key, row) for key, row in pairs]

    @cached_property
    def _first_place(self) -> Place | None:
        ranked = self.rows.ordered(Query(order=RANK if RANK in self.rows.columns else None))
        return next((place for place in self.places(ranked[:100]) if place is not None), None)

    @property
    def first_cutout(self) -> CutoutSet | None:
        """The cutout set of the highest-ranked row that has one."""
        return None if self._first_place is None else self.pictures.cutouts(self._first_place[0])

    @property
    def display(self) -> Display | None:
        """How all pictures are drawn; None: there are none."""
        return None if self._first_place is None else self.pictures.display(self._first_place)
