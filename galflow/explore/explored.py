"""A published run, opened to look at every row of its catalogue: what the web service and a notebook ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from galflow.errors import SpecError
from galflow.explore.database import Progress
from galflow.explore.index import cache_folder, open_rows
from galflow.explore.maps import Maps
from galflow.explore.pictures import Pictures, Place
from galflow.explore.rows import Rows
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

RANK, ID, PRIMARY = "anomaly_rank", "object_id", "is_primary"


@dataclass(frozen=True, eq=False)
class ExploredRun:
    """A run whose rows can be asked for. Threads may share it; ``close`` ends it."""

    store: Store
    manifest: RunManifest
    rows: Rows
    pictures: Pictures
    maps: Maps

    @classmethod
    def open(
        cls,
        store: Store,
        manifest: RunManifest,
        cache: Path | None = None,
        progress: Progress = lambda _: None,
    ) -> ExploredRun:
        """The run; a catalogue too large for memory is copied to a folder below ``cache`` at the first time."""
        rows = open_rows(store, manifest, cache or cache_folder(), progress)
        return cls(store, manifest, rows, Pictures(store), Maps(rows))

    @property
    def name(self) -> str:
        """The run's id."""
        return self.manifest.run

    def close(self) -> None:
        """Let go of the database."""
        self.rows.close()

    def schema(self) -> dict[str, Any]:
        """What a page has to know before it asks for anything."""
        return {
            "run": self.name,
            "finished": self.manifest.finished,
            "rows": self.rows.count,
            "columns": [column.to_json() for column in self.rows.columns.values()],
            "order": RANK if RANK in self.rows.columns else None,
        }

    def numbers_of(self, object_id: int) -> list[int]:
        """Numbers of an object's rows, the primary one first; SpecError if there is no such object."""
        found = self.rows.find(ID, object_id)
        if not len(found):
            raise SpecError(f"run {self.name} has no object {object_id}; ids stand in the column {ID}")
        primary = self.rows.fetch(found, [PRIMARY]).column(PRIMARY).to_pylist()
        return [int(n) for _, n in sorted(zip(primary, found, strict=True), key=lambda both: not both[0])]

    def places(self, numbers: Sequence[int]) -> list[Place | None]:
        """Where the pixels of these rows lie; None: nowhere."""
        table = self.rows.fetch(numbers, ["cutout", "row"])
        pairs = zip(table.column("cutout").to_pylist(), table.column("row").to_pylist(), strict=True)
        return [None if key is None else (key, row) for key, row in pairs]
