"""Who was compared at equal properties: the objects of each comparison, their cells, and which of them were drawn.

A table of one row for each comparison and object, sorted by score part, so that whoever reads a part finds its rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.storage.products import Target, write_one_file
from galflow.storage.receipts import Receipt

SAMPLE, PART, ROW, CELL, MATCHED = "sample", "part", "row", "cell", "matched"
_ROWS_PER_GROUP = 1 << 16
Places = npt.NDArray[np.int64]
"""(n, 2): number of an object's score part among its side's parts, and its row there."""


@dataclass(frozen=True, eq=False)
class CellMembers:
    """Objects of one side of a comparison that lie in its cells."""

    place: Places
    cell: npt.NDArray[np.int64]
    """(n,) number of each one's cell."""
    matched: npt.NDArray[np.bool_]
    """(n,) whether it was drawn into the matched sample."""

    @classmethod
    def of(cls, place: Places, cells: npt.NDArray[np.int64], drawn: npt.NDArray[np.int64]) -> CellMembers:
        """Of all objects of a side: their cells, -1 of those without one, and the rows that were drawn."""
        matched = np.zeros(len(cells), bool)
        matched[drawn] = True
        inside = cells >= 0
        return cls(place[inside], cells[inside], matched[inside])


BothSides = tuple[CellMembers, CellMembers]
"""Of the survey and of a sample."""
Members = dict[str, BothSides]
"""By sample."""


def write_members(
    target: Target,
    found: Members,
    survey_parts: Sequence[str],
    sample_parts: Mapping[str, Sequence[str]],
) -> Receipt:
    """Store who was compared: sample -> members of the survey and of the sample, with the keys of both sides' parts."""
    started = time.perf_counter()
    tables = [
        _table(name, side, parts)
        for name, sides in found.items()
        for side, parts in zip(sides, (survey_parts, sample_parts[name]), strict=True)
    ]
    table = pa.concat_tables(tables).sort_by([(PART, "ascending"), (SAMPLE, "ascending"), (ROW, "ascending")])
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=_ROWS_PER_GROUP)
    receipt = Receipt(
        product=target.product,
        fingerprint=target.fingerprint,
        inputs=dict(target.inputs),
        rows=len(table),
        details={"samples": list(found)},
    )
    return write_one_file(target.store, receipt, sink.getvalue().to_pybytes(), started)


def _table(name: str, side: CellMembers, parts: Sequence[str]) -> pa.Table:
    keys = np.asarray(parts, dtype=object)[side.place[:, 0]]
    return pa.table(
        {
            SAMPLE: pa.array([name] * len(keys), pa.string()),
            PART: pa.array(keys, pa.string()),
            ROW: pa.array(side.place[:, 1]),
            CELL: pa.array(side.cell),
            MATCHED: pa.array(side.matched),
        }
    )
