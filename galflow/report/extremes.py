"""Which galaxies of each compared sample a report shows: random ones, and the least and the most probable.

Score parts are read one at a time, and of each only what may be shown is kept, so that a survey's parts need not fit
into memory. Every side offers what a comparison object by object may use: complete galaxies that no model learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.catalog.published import read_columns_of
from galflow.compare.populations import comparable_rows
from galflow.cutouts.identities import hashed_unit
from galflow.scores.part_columns import SOURCE_NAME, floats
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

_HASH_SALT = 0x51DE_B7_51DE
"""Keeps this choice apart from the split into training and reference, made by the same hash."""
_RANDOM = "random"
_IDENTITY = ("object_id", SOURCE_NAME, "tile", "row", "cutout", "is_primary", "flags", "split")


@dataclass(frozen=True)
class Side:
    """The survey, or one sample that is compared with it."""

    name: str
    parts: tuple[Receipt, ...]
    """Of its scores."""
    held_out: bool
    """Whether a model learnt from it, so that its reference split alone counts."""


@dataclass(frozen=True, eq=False)
class ComparedGalaxy:
    """One galaxy that is shown; the same one in several lists is one object."""

    object_id: int
    name: str
    """As the user's own catalogue calls it, else the id."""
    tile: str
    row: int
    cutout: str
    """Key of its cutout set."""
    values: Mapping[str, float | None]
    """Column -> its log-likelihood or ratio, nats."""


@dataclass(frozen=True)
class PickedGalaxies:
    """The galaxies of one side that are shown."""

    side: str
    comparable: int
    """Of how many they were chosen."""
    random: list[ComparedGalaxy]
    least: Mapping[str, list[ComparedGalaxy]]
    """Column -> those with the lowest values, the lowest first."""
    most: Mapping[str, list[ComparedGalaxy]]
    """Column -> those with the highest values, the highest first."""

    @property
    def every(self) -> list[ComparedGalaxy]:
        """All of them, each once."""
        lists = [self.random, *self.least.values(), *self.most.values()]
        return list(dict.fromkeys(galaxy for galaxies in lists for galaxy in galaxies))


def pick_galaxies(
    store: Store, side: Side, columns: Sequence[str], *, count: int, extremes: int, seed: int
) -> PickedGalaxies:
    """At most ``count`` random galaxies of a side and ``extremes`` at each end of each column.

    Random ones are those with the smallest hashes of object id and ``seed``.
    """
    kept: dict[tuple[str, str], pa.Table] = {}
    comparable = 0
    for table in _each_part(store, side, columns):
        comparable += len(table)
        draw = hashed_unit(table["object_id"].to_numpy().astype(np.uint64) ^ np.uint64(_HASH_SALT + seed))
        keys = {(_RANDOM, ""): draw}
        for column in columns:
            values = floats(table, column)
            keys |= {("least", column): values, ("most", column): -values}
        for which, key in keys.items():
            most = count if which[0] == _RANDOM else extremes
            kept[which] = _lowest(kept.get(which), table, key, most)

    seen: dict[tuple[str, int], ComparedGalaxy] = {}

    def galaxies(kind: str, column: str) -> list[ComparedGalaxy]:
        table = kept.get((kind, column))
        rows = [] if table is None else table.to_pylist()
        return [seen.setdefault((row["tile"], row["row"]), _galaxy(row, columns)) for row in rows]

    return PickedGalaxies(
        side.name,
        comparable,
        galaxies(_RANDOM, ""),
        {column: galaxies("least", column) for column in columns},
        {column: galaxies("most", column) for column in columns},
    )


def _each_part(store: Store, side: Side, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The comparable galaxies of one part after the other; a column that a part has not is null."""
    for part in side.parts:
        if not part.rows:
            continue
        table = read_columns_of(store, part.product, [*_IDENTITY, *columns])
        for name in (SOURCE_NAME, *columns):
            if name not in table.column_names:
                kind = pa.string() if name == SOURCE_NAME else pa.float64()
                table = table.append_column(name, pa.nulls(len(table), kind))
        _, usable = comparable_rows(table, held_out=side.held_out)
        yield table.select([*_IDENTITY, *columns]).filter(pa.array(usable))


def _lowest(before: pa.Table | None, table: pa.Table, key: npt.NDArray[np.float64], count: int) -> pa.Table:
    """The ``count`` rows with the lowest finite key, of those kept ``before`` and of ``table``; equal keys by id."""
    wanted = np.isfinite(key)
    if np.count_nonzero(wanted) > count:
        wanted &= key <= np.partition(key[wanted], count - 1)[count - 1]
    chosen = table.filter(pa.array(wanted)).append_column("key", pa.array(key[wanted]))
    merged = chosen if before is None else pa.concat_tables([before, chosen], promote_options="permissive")
    return merged.sort_by([("key", "ascending"), ("object_id", "ascending"), ("tile", "ascending")]).slice(0, count)


def _galaxy(row: Mapping[str, Any], columns: Sequence[str]) -> ComparedGalaxy:
    name = row[SOURCE_NAME] or str(row["object_id"])
    values = {column: row[column] for column in columns}
    return ComparedGalaxy(row["object_id"], name, row["tile"], row["row"], row["cutout"], values)
