"""What changed between two published catalogues of a survey: objects added, removed, moved, scored otherwise.

Tiles whose score part is the same product in both runs are not read: their rows are equal by construction. The others
are read one at a time; only objects that a tile lost or gained are kept, to find those that went over to another tile.
This file judges nothing: whether a change is good is for who reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.catalog.parquet import read_catalog
from galflow.errors import StoreError
from galflow.scores.part_columns import OBJECTS_DETAIL
from galflow.storage.checksums import FileSum
from galflow.storage.layout import as_key
from galflow.storage.receipts import Receipt, RunManifest, list_runs, read_manifest, read_receipts, to_json
from galflow.storage.store import Store
from galflow.surveys.reading.positions import separation_arcsec

CHANGED_SIGMA = 3.0
"""A score changed if its calibrated value did by more than this many robust sigmas."""
MOVED_ARCSEC = 0.1
ADDED, REMOVED, MOVED, RESCORED = "added", "removed", "moved", "rescored"
_SIGMA = "_sigma"


@dataclass(frozen=True, eq=False)
class Difference:
    """Two runs side by side."""

    before: str
    after: str
    """Run ids."""
    changed_sigma: float
    moved_arcsec: float
    tiles: dict[str, int]
    """How many are unchanged, changed, added, removed."""
    objects: dict[str, int]
    """How many there were before, are now, are the same, were added, removed, moved, rescored (some both)."""
    models: list[str]
    """Models that are new, gone or trained anew."""
    table: pa.Table
    """A row an object and change: object_id, change, tile_before, tile_after, shift_arcsec, score, change_sigma."""

    def to_json(self, examples: int = 20) -> dict[str, Any]:
        """Plain values: all counts, and of the table its first rows. A score that came or went has no number."""
        names = ("before", "after", "changed_sigma", "moved_arcsec", "tiles", "objects", "models")
        rows = self.table.slice(0, examples).to_pylist()
        for row in rows:
            if row["change_sigma"] is not None and not np.isfinite(row["change_sigma"]):
                row["change_sigma"] = None
        return {name: getattr(self, name) for name in names} | {"examples": rows}


@dataclass(frozen=True, eq=False)
class _Rows:
    """What is compared of some objects."""

    object_id: np.ndarray
    ra_deg: np.ndarray
    dec_deg: np.ndarray
    tile: np.ndarray
    sigma: Mapping[str, np.ndarray]
    """Score -> calibrated value, NaN where there is none."""

    @classmethod
    def of(cls, table: pa.Table) -> _Rows:
        """Each object once, by its primary row; no planted copies. StoreError for a part of an older layout."""
        if "is_primary" not in table.column_names:
            raise StoreError("its score parts are of a galflow that did not know primary rows; they are not compared")
        table = table.filter(table.column("is_primary"))
        scores = [n.removesuffix(_SIGMA) for n in table.column_names if n.endswith(_SIGMA)]
        number = {n: table.column(n).to_pandas().to_numpy(dtype=np.float64) for n in ("ra", "dec")}
        sigma = {s: table.column(s + _SIGMA).to_pandas().to_numpy(dtype=np.float64) for s in scores}
        tile = np.asarray(table.column("tile").to_pylist(), dtype=object)
        return cls(table.column("object_id").to_numpy(), number["ra"], number["dec"], tile, sigma)

    def take(self, rows: np.ndarray) -> _Rows:
        """The chosen rows."""
        sigma = {name: values[rows] for name, values in self.sigma.items()}
        return _Rows(self.object_id[rows], self.ra_deg[rows], self.dec_deg[rows], self.tile[rows], sigma)

    @classmethod
    def joined(cls, parts: list[_Rows]) -> _Rows:
        """All of them; scores that all have."""
        names = set.intersection(*(set(p.sigma) for p in parts)) if parts else set()

        def together(name: str) -> np.ndarray:
            return np.concatenate([getattr(part, name) for part in parts]) if parts else np.zeros(0, np.int64)

        sigma = {name: np.concatenate([part.sigma[name] for part in parts]) for name in sorted(names)}
        return cls(together("object_id"), together("ra_deg"), together("dec_deg"), together("tile"), sigma)

    def __len__(self) -> int:
        return len(self.object_id)


@dataclass
class _Found:
    """What has been found so far."""

    changed_sigma: float
    moved_arcsec: float
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("same", MOVED, RESCORED), 0))
    rows: list[pa.Table] = field(default_factory=list)

    def compare(self, before: _Rows, after: _Rows) -> tuple[_Rows, _Rows]:
        """Book the objects that are in both; the others of each."""
        _, left, right = np.intersect1d(before.object_id, after.object_id, return_indices=True)
        self._book(before.take(left), after.take(right))
        rest = (np.setdiff1d(np.arange(len(rows)), found) for rows, found in ((before, left), (after, right)))
        gone, new = rest
        return before.take(gone), after.take(new)

    def _book(self, before: _Rows, after: _Rows) -> None:
        shift = _separation_arcsec(before, after)
        moved = (shift > self.moved_arcsec) | (before.tile != after.tile)
        score, change = _largest_change(before, after)
        rescored = np.abs(change) > self.changed_sigma
        self.counts["same"] += int((~moved & ~rescored).sum())
        for name, chosen in ((MOVED, moved), (RESCORED, rescored)):
            self.counts[name] += int(chosen.sum())
            self._note(name, chosen, before.tile, after.tile, after.object_id, shift, score, change)

    def book_alone(self, name: str, rows: _Rows) -> None:
        """Objects that are in one of the two alone."""
        self.counts[name] = len(rows)
        nothing, nowhere = np.full(len(rows), np.nan), np.full(len(rows), None, dtype=object)
        before, after = (nowhere, rows.tile) if name == ADDED else (rows.tile, nowhere)
        self._note(name, np.ones(len(rows), bool), before, after, rows.object_id, nothing, nowhere, nothing)

    def _note(
        self, name: str, chosen: np.ndarray, before: np.ndarray, after: np.ndarray, object_id: np.ndarray,
        shift: np.ndarray, score: np.ndarray, change: np.ndarray,
    ) -> None:  # fmt: skip
        if not chosen.any():
            return
        self.rows.append(
            pa.table(
                {
                    "object_id": object_id[chosen],
                    "change": pa.array([name] * int(chosen.sum())),
                    "tile_before": pa.array(before[chosen], pa.string()),
                    "tile_after": pa.array(after[chosen], pa.string()),
                    "shift_arcsec": pa.array(shift[chosen], pa.float64(), from_pandas=True),
                    "score": pa.array(score[chosen], pa.string()),
                    "change_sigma": pa.array(change[chosen], pa.float64(), from_pandas=True),
                }
            )
        )

    def table(self) -> pa.Table:
        """All changes, the largest change of a score first."""
        if not self.rows:
            return _NO_CHANGE
        whole = pa.concat_tables(self.rows, promote_options="permissive")
        size = np.abs(whole.column("change_sigma").to_pandas().to_numpy(dtype=np.float64))
        order = np.lexsort((whole.column("object_id").to_numpy(), -np.nan_to_num(size, nan=-1.0, posinf=np.inf)))
        return whole.take(pa.array(order))


_NO_CHANGE = pa.table(
    {
        "object_id": pa.array([], pa.int64()),
        **{name: pa.array([], pa.string()) for name in ("change", "tile_before", "tile_after")},
        "shift_arcsec": pa.array([], pa.float64()),
        "score": pa.array([], pa.string()),
        "change_sigma": pa.array([], pa.float64()),
    }
)


def _separation_arcsec(before: _Rows, after: _Rows) -> np.ndarray:
    """(N,) NaN where either has no position."""
    return separation_arcsec(before.ra_deg, before.dec_deg, after.ra_deg, after.dec_deg)


def _largest_change(before: _Rows, after: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """The score that changed most of each object, and by how much; infinite where it came or went."""
    names = [name for name in after.sigma if name in before.sigma]
    if not names or not len(before):
        return np.full(len(before), None, dtype=object), np.zeros(len(before))
    changes = np.stack([after.sigma[name] - before.sigma[name] for name in names])
    here = np.stack([np.isfinite(after.sigma[name]) for name in names])
    there = np.stack([np.isfinite(before.sigma[name]) for name in names])
    changes = np.where(here & there, changes, np.where(here, np.inf, np.where(there, -np.inf, 0.0)))
    largest = np.abs(changes).argmax(axis=0)
    return np.asarray(names, dtype=object)[largest], changes[largest, np.arange(changes.shape[1])]


def compare_catalogs(
    store: Store,
    before: RunManifest,
    after_run: str,
    after_scores: Mapping[str, Receipt],
    after_models: Mapping[str, str],
    *,
    changed_sigma: float = CHANGED_SIGMA,
    moved_arcsec: float = MOVED_ARCSEC,
) -> Difference:
    """The difference of the published run ``before`` and one with these score parts, tile -> receipt.

    ``after_models`` are the new run's models, name -> key or URI. Objects are counted once, planted copies never.
    """
    earlier = by_tile(read_receipts(store, before.products.get("scores", [])))
    found = _Found(changed_sigma, moved_arcsec)
    tiles = dict.fromkeys(("unchanged", "changed", ADDED, REMOVED), 0)
    lost: list[_Rows] = []
    gained: list[_Rows] = []
    for tile in sorted(set(earlier) | set(after_scores)):
        old, new = earlier.get(tile), after_scores.get(tile)
        if old is not None and new is not None and old.product == new.product:
            tiles["unchanged"] += 1
            found.counts["same"] += _objects(new)
            continue
        tiles["changed" if old and new else ADDED if new else REMOVED] += 1
        one, other = (_Rows.of(read_catalog(store.get(r.product))) if r and r.rows else None for r in (old, new))
        if one is not None and other is not None:
            one, other = found.compare(one, other)
        lost += [one] if one is not None and len(one) else []
        gained += [other] if other is not None and len(other) else []
    removed, added = found.compare(_Rows.joined(lost), _Rows.joined(gained))
    found.book_alone(REMOVED, removed)
    found.book_alone(ADDED, added)
    objects = {
        "before": sum(map(_objects, earlier.values())),
        "after": sum(map(_objects, after_scores.values())),
        **found.counts,
    }
    names = sorted(set(before.models) | set(after_models))
    models = [n for n in names if as_key(before.models.get(n, "")) != as_key(after_models.get(n, ""))]
    return Difference(before.run, after_run, changed_sigma, moved_arcsec, tiles, objects, models, found.table())


def compare_runs(store: Store, before: str, after: str, **thresholds: float) -> Difference:
    """The difference of two published runs; StoreError if either is none."""
    one, other = (_published(store, run) for run in (before, after))
    scores = by_tile(read_receipts(store, other.products.get("scores", [])))
    return compare_catalogs(store, one, after, scores, other.models, **thresholds)


def _published(store: Store, run: str) -> RunManifest:
    manifest = read_manifest(store, run)
    if manifest is None:
        raise StoreError(f"no run {run!r} has been published at {store.root}; `galflow runs` lists those that are")
    return manifest


def previous_run(store: Store, name: str, run: str) -> RunManifest | None:
    """The run of the same specification's name that finished last before ``run``; None if this is the first."""
    others = (other for other in list_runs(store) if other != run and other.rpartition("-")[0] == name)
    named = (manifest for other in others if (manifest := read_manifest(store, other)) is not None)
    return max(named, key=lambda manifest: manifest.finished, default=None)


def write_difference(store: Store, folder: str, found: Difference) -> dict[str, FileSum]:
    """Put ``difference/summary.json`` and ``difference/changes.parquet`` below ``folder``."""
    sink = pa.BufferOutputStream()
    pq.write_table(found.table, sink, compression="zstd")
    files = {
        "difference/summary.json": to_json(found.to_json()),
        "difference/changes.parquet": sink.getvalue().to_pybytes(),
    }
    return {name: store.put_once(f"{folder}/{name}", data) for name, data in files.items()}


def _objects(part: Receipt) -> int:
    return int(part.details.get(OBJECTS_DETAIL, part.rows))


def by_tile(receipts: Iterable[Receipt]) -> dict[str, Receipt]:
    """Score receipts, briefly, by the name of their tile."""
    return {str(receipt.details["tile"]): receipt.brief() for receipt in receipts}
