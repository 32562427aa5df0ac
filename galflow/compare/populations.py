"""The objects of a survey, or of a sample, that a comparison object by object may use, with scores and properties.

Both sides by the same rule: primary rows of objects without a known defect and with all their pixels (a likelihood of
an incomplete object is the density of another quantity), of the survey, or of a sample that a model learnt, those that
no model learnt from.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from galflow.compare.cell_members import Places
from galflow.cutouts.flags import NOT_NORMAL, Flag, has_flag
from galflow.cutouts.observed_shares import INCOMPLETE
from galflow.cutouts.splits import Split
from galflow.scores.part_columns import CARRIED, floats
from galflow.storage.receipts import Receipt, read_sound
from galflow.storage.store import Store

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Columns = tuple[str, ...]
_AT_ONCE = 8
"""Parts: what is waited for is mostly the store."""


@dataclass(frozen=True, eq=False)
class Population:
    """n objects with their scores and properties."""

    scores: dict[str, FloatArray]
    """Column -> (n,), NaN where there is none."""
    properties: FloatArray
    """(n, D), NaN where one is missing."""
    left_out: int
    """Objects with a known defect, or with pixels missing."""
    keys: dict[Columns, npt.NDArray[np.object_]] = field(default_factory=dict)
    """Columns that together name an object's galaxy -> (n,) texts, "" where it has none."""
    place: Places | None = None
    """(n, 2) where each object lies: the number of its score part, of those with rows, and its row there."""

    def __len__(self) -> int:
        return len(self.properties)

    def of(self, rows: npt.NDArray[np.int64]) -> Population:
        """Some of its objects."""
        scores = {n: v[rows] for n, v in self.scores.items()}
        keys = {columns: texts[rows] for columns, texts in self.keys.items()}
        place = None if self.place is None else self.place[rows]
        return Population(scores, self.properties[rows], self.left_out, keys, place)

    def stacked(self, columns: Sequence[str]) -> FloatArray:
        """(n, len(columns)) of scores."""
        return np.stack([self.scores[c] for c in columns], axis=1)


def read_population(
    store: Store,
    parts: Sequence[Receipt],
    scores: Sequence[str],
    properties: Sequence[str],
    *,
    held_out: bool,
    keys: Sequence[Columns] = (),
    measured: Sequence[Receipt] = (),
) -> Population:
    """Of these score parts the objects to compare; ``properties`` are names of the survey's or galflow's columns.

    ``measured``: parts of what was measured on the same cutouts, whose columns are properties, too. ``keys``: columns
    that together name an object's galaxy, any number of such ways. ``held_out``: a model of the comparison learnt from
    these objects, so that those of the reference split alone count.
    """
    beside = {r.inputs["cutouts"]: r for r in measured if r.rows}
    columns = [*scores, *properties, *(name for key in keys for name in key)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        found = list(
            threads.map(
                lambda numbered: _of_part(
                    _table_of(store, numbered[1], beside.get(numbered[1].inputs.get("cutouts", "")), columns),
                    scores,
                    properties,
                    held_out,
                    keys,
                    numbered[0],
                ),
                enumerate(part for part in parts if part.rows),
            )
        )
    return Population(
        {name: np.concatenate([np.empty(0), *(one.scores[name] for one in found)]) for name in scores},
        np.concatenate([np.empty((0, len(properties))), *(one.properties for one in found)]),
        sum(one.left_out for one in found),
        {key: np.concatenate([np.empty(0, object), *(one.keys[key] for one in found)]) for key in keys},
        np.concatenate([np.empty((0, 2), np.int64), *(one.place for one in found if one.place is not None)]),
    )


def _table_of(store: Store, part: Receipt, measured: Receipt | None, columns: Sequence[str]) -> pa.Table:
    """The columns that are there, of a score part and of what was measured on its cutouts, under their plain names."""
    table = _read(store, part, ["is_primary", "flags", "split", *columns])
    if measured is not None:
        beside = _read(store, measured, [name for name in columns if name not in table.column_names])
        for name in beside.column_names:
            table = table.append_column(name, beside.column(name))
    return table


def _read(store: Store, part: Receipt, columns: Sequence[str]) -> pa.Table:
    (data,) = read_sound(store, {part.product: part.files[""]}).values()
    there = set(pq.read_schema(pa.BufferReader(data)).names)
    places = {name: name if name in there else CARRIED + name for name in dict.fromkeys(columns)}
    found = {name: place for name, place in places.items() if place in there}
    table = pq.read_table(pa.BufferReader(data), columns=list(found.values()))
    return table.select(list(found.values())).rename_columns(list(found))


def comparable_rows(table: pa.Table, *, held_out: bool) -> tuple[BoolArray, BoolArray]:
    """(N,) which rows are objects that no model learnt from; and which of them may be compared object by object.

    ``table`` has the columns is_primary, flags and split of a score part. ``held_out``: a model of the comparison
    learnt from its objects.
    """
    flags = table["flags"].to_numpy()
    offered = table["is_primary"].to_numpy() & ~has_flag(flags, Flag.PLANTED)
    if held_out:
        offered &= pc.fill_null(pc.equal(table["split"], str(Split.REFERENCE)), False).to_numpy()
    return offered, offered & ~has_flag(flags, NOT_NORMAL | INCOMPLETE)


def _of_part(
    table: pa.Table,
    scores: Sequence[str],
    properties: Sequence[str],
    held_out: bool,
    keys: Sequence[Columns],
    number: int,
) -> Population:
    offered, usable = comparable_rows(table, held_out=held_out)
    rows = np.flatnonzero(usable)

    def column(name: str) -> FloatArray:
        return floats(table, name)[rows] if name in table.column_names else np.full(len(rows), np.nan)

    return Population(
        {name: column(name) for name in scores},
        np.stack([column(name) for name in properties], axis=1) if properties else np.empty((len(rows), 0)),
        int(offered.sum()) - len(rows),
        {key: _key_texts(table, key)[rows] for key in keys},
        np.stack([np.full(len(rows), number, np.int64), rows], axis=1),
    )


def _key_texts(table: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.object_]:
    """(N,) the columns' texts joined; "" where one is null or not there."""
    if any(name not in table.column_names for name in columns):
        return np.full(len(table), "", object)
    texts = [pc.cast(table.column(name), pa.string()) for name in columns]
    joined = pc.binary_join_element_wise(*texts, "/", null_handling="emit_null")
    return np.asarray(pc.fill_null(joined, "").to_pylist(), object)
