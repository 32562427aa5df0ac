"""Score columns that an earlier part has already: after a new model came, the others' scores are taken over.

A part is used again only for the very same cutouts, models and way of scoring, and only if its bytes are what its
receipt says; otherwise everything is scored anew. This file scores nothing and writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.errors import StoreError
from galflow.scores.part_columns import floats
from galflow.storage.checksums import FileSum
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

VERSION_DETAIL = "scores_version"
"""Where a score part's receipt says how it was scored."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EarlierPart:
    """A score part of the same cutouts."""

    product: str
    sum: FileSum
    models: tuple[str, ...]
    """Names of the models whose scores are in it and still hold."""


def best_earlier(
    receipts: Iterable[Receipt], cutouts: str, models: Mapping[str, str], version: str
) -> EarlierPart | None:
    """The part with the most scores by ``models`` (name -> fingerprint) of the cutout set of that fingerprint."""
    best: EarlierPart | None = None
    for receipt in receipts:
        if receipt.inputs.get("cutouts") != cutouts or receipt.details.get(VERSION_DETAIL) != version:
            continue
        hold = tuple(name for name, found in models.items() if receipt.inputs.get(f"model {name}") == found)
        if len(hold) > (len(best.models) if best else 0):
            best = EarlierPart(receipt.product, receipt.files[""], hold)
    return best


def earlier_scores(
    store: Store, part: EarlierPart, object_ids: np.ndarray, names: Sequence[str]
) -> dict[str, np.ndarray] | None:
    """(N,) float64 of each column, NaN where null; None if the part is gone, damaged, of others, or lacks a column."""
    try:
        data = store.get(part.product)
    except StoreError as error:
        logger.warning("%s: not used again (%s)", part.product, error)
        return None
    if FileSum.of(data) != part.sum:
        logger.warning("%s: not used again, for its bytes are not what its receipt says", part.product)
        return None
    if absent := sorted(set(names) - set(pq.read_schema(pa.BufferReader(data)).names)):
        logger.info("%s: not used again, for it has no column %s", part.product, absent[0])
        return None
    table = pq.read_table(pa.BufferReader(data), columns=["id_in_tile", *names])
    if not np.array_equal(table["id_in_tile"].to_numpy(), object_ids):
        logger.warning("%s: not used again, for it is of other objects", part.product)
        return None
    return {name: floats(table, name) for name in names}
