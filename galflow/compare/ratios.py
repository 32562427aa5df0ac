"""Likelihood ratios of real objects, from their score parts: those that no model of the ratio learnt from.

A model states higher likelihoods for what it was trained on; a comparison on such objects would find that and nothing
else. This file computes no ratio; galflow.scores does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

_PARTS_AT_ONCE = 64


def unseen_ratios(
    store: Store, parts: Sequence[Receipt], cutouts: Mapping[str, str], learnt: Mapping[str, Sequence[TrainedModel]]
) -> dict[str, np.ndarray]:
    """Ratio column -> (n,) nats of the real objects of these score parts that none of its models was trained on.

    ``cutouts`` are the parts' cutout sets, fingerprint -> key; ``learnt`` says for each ratio column which of its
    models learnt from these objects: of those, the held-out ones count.
    """
    found: dict[str, list[np.ndarray]] = {column: [np.empty(0)] for column in learnt}
    filled = [part for part in parts if part.rows]
    for start in range(0, len(filled), _PARTS_AT_ONCE):
        group = {p.product: p for p in filled[start : start + _PARTS_AT_ONCE]}
        data = read_sound(store, {product: part.files[""] for product, part in group.items()})
        for product, part in group.items():
            table = pq.read_table(pa.BufferReader(data[product]), columns=["row", "flags", *learnt])
            cutout_set = CutoutSet(store, cutouts[part.inputs["cutouts"]])
            real = (table["flags"].to_numpy() & int(Flag.PLANTED)) == 0
            for column, models in learnt.items():
                wanted = real.copy()
                for model in models:
                    wanted &= np.isin(table["row"].to_numpy(), _held_out(cutout_set, model))
                values = table[column].cast(pa.float64()).fill_null(np.nan).to_numpy()
                found[column].append(values[wanted & np.isfinite(values)])
    return {column: np.concatenate(values) for column, values in found.items()}


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
