"""Likelihood ratios of real objects, from their score parts: those that no model of the ratio learnt from.

A model states higher likelihoods for what it was trained on; a comparison on such objects would find that and nothing
else. This file computes no ratio; galflow.scores does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.splits import Split, split_rows
from galflow.errors import DataError
from galflow.scores.part_columns import floats
from galflow.storage.receipts import Receipt, read_sound
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel

_AT_ONCE = 8
"""Parts: what is waited for is mostly the store."""
_Shares = tuple[float, float]
"""Of objects for validation and for reference."""


def unseen_ratios(
    store: Store, parts: Sequence[Receipt], sets: Mapping[str, CutoutSet], learnt: Mapping[str, Sequence[TrainedModel]]
) -> dict[str, np.ndarray]:
    """Ratio column -> (n,) nats of the real objects of these score parts that none of its models was trained on.

    ``sets`` are the parts' cutout sets by the fingerprint of their join; ``learnt`` says for each ratio column which of
    its models learnt from these objects: of those, the held-out ones count.
    """
    shares = {column: {_held_out_shares(model) for model in models} for column, models in learnt.items()}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        of_parts = list(
            threads.map(
                lambda part: _of_part(store, part, sets[part.inputs["join"]], shares),
                [part for part in parts if part.rows],
            )
        )
    return {column: np.concatenate([np.empty(0), *(of[column] for of in of_parts)]) for column in learnt}


def _of_part(
    store: Store, part: Receipt, cutouts: CutoutSet, shares: Mapping[str, Collection[_Shares]]
) -> dict[str, np.ndarray]:
    (data,) = read_sound(store, {part.product: part.files[""]}).values()
    table = pq.read_table(pa.BufferReader(data), columns=["row", "is_primary", *shares])
    rows, real = table["row"].to_numpy(), table["is_primary"].to_numpy()
    # Models of one run hold out the same objects: asked of the set once.
    held_out = {
        share: np.isin(rows, split_rows(cutouts, Split.REFERENCE, *share)) for share in set().union(*shares.values())
    }
    found = {}
    for column, asked in shares.items():
        values = floats(table, column)
        found[column] = values[np.logical_and.reduce([real, np.isfinite(values), *(held_out[s] for s in asked)])]
    return found


def _held_out_shares(model: TrainedModel) -> _Shares:
    """Which shares of the normal objects validated and calibrated ``model``; those of the second trained nothing."""
    settings = model.card.training.get("settings", {})
    try:
        return float(settings["validation_fraction"]), float(settings["reference_fraction"])
    except KeyError as error:
        raise DataError(
            f"the card of model {model.card.name} does not say which share of the objects was held out ({error}); "
            "train it anew"
        ) from error
