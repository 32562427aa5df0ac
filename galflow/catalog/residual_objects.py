"""The objects whose residuals a run stores, a share of all, the most anomalous first; before its catalogue is written.

Score parts are read one after another, a few columns of each; what is kept is the chosen rows alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from galflow.catalog.parquet import read_catalog, read_columns
from galflow.catalog.ranking import RunRanking, columns_that_rank
from galflow.errors import DataError
from galflow.scores.residuals import ChosenRows
from galflow.spec.run import fingerprint
from galflow.storage.products import Target, outcome_of, write_one_file
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

RESIDUAL_OBJECTS_VERSION = "1"
"""Raised when the same scores would give other objects."""
RANK = "anomaly_rank"
_KEPT = ("object_id", "tile", "row")


def residual_objects_fingerprint(parts: Sequence[str], ranking: str, share: float) -> str:
    """Of what that choice depends on: the score parts, the rule that ranks them, and the share."""
    return fingerprint(RESIDUAL_OBJECTS_VERSION, sorted(parts), ranking, share)


def choose_residual_objects(target: Target, parts: Sequence[Receipt], ranking: RunRanking, share: float) -> Receipt:
    """Store which objects of these parts are the ``share`` that ranks first, rounded up; the receipt.

    Columns object_id, tile, row and anomaly_rank, the most anomalous first. Objects of one rank are chosen together.
    """
    began = time.perf_counter()
    last = math.ceil(round(share * len(ranking.values), 6))  # 0.07 of 100 is 7, not 8
    chosen = []
    for part in parts:
        if not part.rows:
            continue
        names = [*dict.fromkeys((*_KEPT, *columns_that_rank(ranking.rule, ranking.masks)))]
        with target.store.reading(part.product) as file:
            table = read_columns(file, target.store.uri(part.product), names)
        ranks = ranking.ranks(table)
        first = (ranks > 0) & (ranks <= last)
        kept = table.select(list(_KEPT)).filter(pa.array(first))
        chosen.append(kept.append_column(RANK, pa.array(ranks[first].astype(np.int64))))
    if len(types := {str(table.schema.field("object_id").type) for table in chosen}) > 1:
        raise DataError(f"object ids are {' and '.join(sorted(types))} in different tiles; give all ids of one type")
    found = pa.concat_tables(chosen) if chosen else pa.table({name: pa.nulls(0) for name in (*_KEPT, RANK)})
    found = found.sort_by([(name, "ascending") for name in (RANK, "object_id", "tile", "row")])
    sink = pa.BufferOutputStream()
    pq.write_table(found, sink, compression="zstd")
    outcome, reasons = outcome_of([], empty=None if len(found) else "no object is ranked")
    receipt = Receipt(
        product=target.product,
        fingerprint=target.fingerprint,
        inputs=dict(target.inputs),
        rows=len(found),
        outcome=outcome,
        reasons=reasons,
    )
    return write_one_file(target.store, receipt, sink.getvalue().to_pybytes(), began)


def read_residual_objects(store: Store, product: str) -> pa.Table:
    """The objects whose residuals are stored, the most anomalous first."""
    return read_catalog(store.get(product))


def rows_by_tile(store: Store, product: str) -> dict[str, ChosenRows]:
    """Tile -> those of its objects that the choice at this key holds."""
    table = read_residual_objects(store, product)
    if not len(table):
        return {}
    table = table.sort_by([("tile", "ascending"), ("row", "ascending")])
    tiles = pc.run_end_encode(table.column("tile").combine_chunks())
    ends = np.asarray(tiles.run_ends)
    numbers, ids = (table.column(name).to_numpy() for name in ("row", "object_id"))
    return {
        name: ChosenRows(numbers[start:end].astype(np.int64), ids[start:end])
        for name, start, end in zip(tiles.values.to_pylist(), [0, *ends[:-1]], ends, strict=True)
    }
