"""Which objects a report shows: the most anomalous, random normal ones, planted ones; found file by file.

Of the most anomalous those that the triage takes for artefacts, stars or blends, or that are as small as a star or
cut off by an edge, are a list of their own; so are those that a run left out of training or of the reference.

The catalogue is read one file at a time, and only what may be shown is kept, so that a survey's catalogue need not fit
into memory. Nothing is drawn at random at run time: "random" rows have the smallest hashes of object id and seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.files import each_file
from galflow.catalog.published import has_names, planted_copies
from galflow.catalog.triage import TRIAGE
from galflow.cutouts.flags import Flag, has_flag
from galflow.cutouts.identities import hashed_unit
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.report.planted import TOP_FRACTION, KindRecall, recall_by_kind
from galflow.report.ranking import rank_copies
from galflow.report.trimmed import Trimmed
from galflow.scores.distributions import Histogram
from galflow.scores.part_columns import SOURCE_NAME, floats
from galflow.storage.store import Store

NORMAL_SIGMA = 1.0
"""A normal object's primary score lies within so many sigmas of the reference median, and nothing is flagged."""
_HASH_SALT = 0x5EED_0F_7E_9027
"""Keeps the choice of normal objects apart from the split into training and reference, made by the same hash."""
_IDENTITY = ("object_id", "ra", "dec", "tile", "row", "flags", "outcome", "anomaly_q", "anomaly_rank", TRIAGE, "split")
SET_APART = ("artefact", "star", "blend")
"""Classes of the triage that are listed apart: what ranks high for a detector's, star's or neighbour's sake."""
FLAGS_APART = Flag.EDGE | Flag.STAR
"""What one of these is set for is listed apart too, where there is a triage."""

_LISTS = ("top", "apart", "highest", "normal", "planted", "left")


@dataclass(frozen=True)
class Shown:
    """One row of the catalogue that the report shows."""

    object_id: int
    name: str
    """As the user's own catalogue calls it: a text if its ids are texts, else the id."""
    ra: float | None
    dec: float | None
    tile: str
    row: int
    flags: int
    q: float | None
    planted_kind: str | None
    sigma: Mapping[str, float | None]
    """Calibrated score column -> robust sigmas above the reference median."""
    p: float | None
    """Conformal p-value of the primary score."""
    triage: str | None = None
    """What it most probably is; None: not known."""
    rank: int | None = None
    """Among all objects of the run."""


@dataclass(frozen=True)
class Selection:
    """What a report shows of a catalogue."""

    top: list[Shown]
    """Real objects that are not set apart, most anomalous first."""
    apart: list[Shown]
    """Those that are."""
    highest: list[Shown]
    """As many of both together, most anomalous first."""
    left: list[Shown]
    """Of those that were left out, most anomalous first."""
    normal: list[Shown]
    planted: list[Shown]
    """All planted copies, most anomalous first."""
    recall: list[KindRecall]
    planted_sigma: Mapping[str, np.ndarray]
    """Score column -> sigmas of planted copies."""
    top_sigma: float | None
    """Planted copies whose primary sigma is at least this are in the top 5% of all scored; None: no such copies."""
    likelihoods: Mapping[str, Histogram]
    """Likelihood column -> histogram over real objects."""


@dataclass
class _Scan:
    """What is kept while files go by."""

    primary: str
    scores: tuple[str, ...]
    count: int
    seed: int
    left_out: Trimmed
    kept: dict[str, list[pa.Table]] = field(default_factory=lambda: {name: [] for name in _LISTS})

    def add(self, table: pa.Table) -> None:
        """Consider one file's objects."""
        sigma = floats(table, f"{self.primary}_sigma")
        ids = table.column("object_id").to_numpy()
        draw = hashed_unit(ids.astype(np.uint64) ^ np.uint64(_HASH_SALT + self.seed))
        clean = (table.column("flags").to_numpy() == 0) & (np.abs(np.nan_to_num(sigma, nan=np.inf)) < NORMAL_SIGMA)
        scored = np.isfinite(sigma)
        told = pc.is_in(table.column(TRIAGE), value_set=pa.array(SET_APART)).to_numpy()
        flagged = has_flag(table.column("flags").to_numpy(), FLAGS_APART)
        apart = told | (table.column(TRIAGE).is_valid().to_numpy() & flagged)
        for name, wanted in (("top", scored & ~apart), ("apart", scored & apart), ("highest", scored)):
            self._keep(name, table, wanted, -sigma, self.count)
        self._keep("left", table, scored & self.left_out.among(table), -sigma, self.count)
        self._keep("normal", table, clean, draw, self.count)

    def add_planted(self, copies: pa.Table) -> None:
        """Take the planted copies, all of them."""
        sigma = floats(copies, f"{self.primary}_sigma")
        every = np.ones(len(copies), bool)
        self._keep("planted", copies, every, -np.nan_to_num(sigma, nan=-np.inf), None)

    def _keep(self, name: str, table: pa.Table, wanted: np.ndarray, key: np.ndarray, count: int | None) -> None:
        """Keep the ``count`` wanted rows with the lowest key, of this file and those before; equal keys by id."""
        if count is not None and np.count_nonzero(wanted) > count:
            # Only those that may be kept, ties included, become rows of a table that is sorted.
            wanted = wanted & (key <= np.partition(key[wanted], count - 1)[count - 1])
        chosen = table.filter(pa.array(wanted)).append_column("key", pa.array(key[wanted]))
        merged = pa.concat_tables([*self.kept[name], chosen])
        merged = merged.sort_by([("key", "ascending"), ("object_id", "ascending"), ("tile", "ascending")])
        self.kept[name] = [merged if count is None else merged.slice(0, count)]

    def rows(self, name: str) -> list[Shown]:
        """What was kept under that name, in order."""
        tables = self.kept[name]
        return [self._shown(row) for row in tables[0].to_pylist()] if tables else []

    def _shown(self, row: Mapping[str, Any]) -> Shown:
        return Shown(
            object_id=row["object_id"],
            name=row.get(SOURCE_NAME) or str(row["object_id"]),
            ra=row["ra"],
            dec=row["dec"],
            tile=row["tile"],
            row=row["row"],
            flags=row["flags"],
            q=row["anomaly_q"],
            planted_kind=row.get(PLANTED_COLUMN),
            sigma={score: row[f"{score}_sigma"] for score in self.scores},
            p=row[f"{self.primary}_p"],
            triage=row[TRIAGE],
            rank=row["anomaly_rank"],
        )


def select_objects(
    store: Store,
    catalog: str,
    scores: Sequence[str],
    *,
    count: int,
    seed: int,
    planted: bool,
    likelihood_edges: Mapping[str, np.ndarray],
    left_out: Trimmed = Trimmed(),  # noqa: B008 - frozen
) -> Selection:
    """Go through the catalogue at key ``catalog``.

    ``scores`` are the calibrated score columns, what ranks first. ``planted``: whether planted copies are to be
    expected; only then are they ranked among all objects.
    """
    primary = scores[0]
    scan = _Scan(primary, tuple(scores), count, seed, left_out)
    histograms = {name: Histogram.empty(edges) for name, edges in likelihood_edges.items()}
    files = partial(each_file, store, catalog)
    named = [SOURCE_NAME] if has_names(store, catalog) else []
    shown = [*_IDENTITY, *named, f"{primary}_p", *scores, *(f"{s}_sigma" for s in scores)]
    for table in files([*shown, *histograms]):
        scan.add(table.select(shown))
        for name, histogram in histograms.items():
            values = floats(table, name)
            histograms[name] = histogram.add(values[np.isfinite(values)])
    copies = planted_copies(store, catalog, shown) if planted else None
    if copies is not None:
        scan.add_planted(copies)
    found = scan.rows("planted")
    sigma = {s: np.array([v for row in found if (v := row.sigma[s]) is not None]) for s in scores}
    sigma_column = f"{primary}_sigma"
    rankings = {} if copies is None else rank_copies(files, copies, [*scores, sigma_column])
    return Selection(
        scan.rows("top"),
        scan.rows("apart"),
        scan.rows("highest"),
        scan.rows("left"),
        scan.rows("normal"),
        found,
        [] if copies is None else recall_by_kind(copies, {score: rankings[score] for score in scores}),
        sigma,
        None if copies is None else rankings[sigma_column].threshold(TOP_FRACTION),
        histograms,
    )
