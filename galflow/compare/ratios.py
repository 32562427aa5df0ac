"""Likelihood ratios of real objects, from their score parts: those that no model of the ratio learnt from.

A model states higher likelihoods for what it was trained on; a comparison on such objects would find that and nothing
else. This file computes no ratio; galflow.scores does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.cutouts.stream import Split, split_rows
from galflow.errors import DataError
from galflow.receipts import Receipt, read_sound
from galflow.store import Store
from galflow.training.trained_model import TrainedModel

_AT_ONCE = 8
"""Parts: what is waited for is mostly the store."""


def unseen_ratios(
    store: Store, parts: Sequence[Receipt], cutouts: Mapping[str, str], learnt: Mapping[str, Sequence[TrainedModel]]
) -> dict[str, np.ndarray]:
    """Ratio column -> (n,) nats of the real objects of these score parts that none of its models was trained on.

    ``cutouts`` are the parts' cutout sets, fingerprint -> key; ``learnt`` says for each ratio column which of its
    models learnt from these objects: of those, the held-out ones count.
    """
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        of_parts = list(
            threads.map(
                lambda part: _of_part(store, part, CutoutSet(store, cutouts[part.inputs["cutouts"]]), learnt),
                [part for part in parts if part.rows],
            )
        )
    return {column: np.concatenate([np.empty(0), *(of[column] for of in of_parts)]) for column in learnt}


def _of_part(
    store: Store, part: Receipt, cutouts: CutoutSet, learnt: Mapping[str, Sequence[TrainedModel]]
) -> dict[str, np.ndarray]:
    (data,) = read_sound(store, {part.product: part.files[""]}).values()
    table = pq.read_table(pa.BufferReader(data), columns=["row", "flags", *learnt])
    rows, real = table["row"].to_numpy(), (table["flags"].to_numpy() & int(Flag.PLANTED)) == 0
    found = {}
    for column, models in learnt.items():
        values = table[column].cast(pa.float64()).fill_null(np.nan).to_numpy()
        wanted = real & np.isfinite(values)
        for model in models:
            wanted &= np.isin(rows, _held_out(cutouts, model))
        found[column] = values[wanted]
    return found


def _held_out(cutouts: CutoutSet, model: TrainedModel) -> np.ndarray:
    """Row numbers of the normal objects that calibrate ``model`` and trained nothing of it."""
    settings = model.card.training.get("settings", {})
    try:
        validation, reference = (float(settings[f"{name}_fraction"]) for name in ("validation", "reference"))
    except KeyError as error:
        raise DataError(
            f"the card of model {model.card.name} does not say which share of the objects was held out ({error}); "
            "train it anew"
        ) from error
    return split_rows(cutouts, Split.REFERENCE, validation, reference)
