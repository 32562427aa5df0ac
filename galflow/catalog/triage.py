"""The catalogue's triage: what each row most probably is, by its score part and the run's fitted triage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from galflow.catalog.own_columns import probability_column
from galflow.scores.part_columns import floats
from galflow.scores.triage import CLASSES, Triage
from galflow.scores.triage_features import measured_of_part

TRIAGE = "triage"
"""The most probable class."""


def triage_columns(part: pa.Table, triage: Triage | None) -> Mapping[str, pa.Array]:
    """The triage columns of a part's rows; null where nothing was learnt, or nothing could be measured of a row."""
    n = len(part)
    found = np.full((n, len(CLASSES)), np.nan)
    own = measured_of_part(part)
    if triage is not None and own.shape[1]:
        scores = [floats(part, name) for name in triage.names[own.shape[1] :]]
        features = np.concatenate([own, *(values[:, None] for values in scores)], axis=1)
        found = triage.probabilities(features, part.column("flags").to_numpy())
        found[~np.isfinite(own).any(axis=1)] = np.nan
    known = np.isfinite(found).all(axis=1)
    most = np.array(CLASSES, dtype=object)[np.nan_to_num(found, nan=-1.0).argmax(axis=1)] if n else np.zeros(0, object)
    learnt = [known & (triage is not None and name in triage.classes) for name in CLASSES]
    columns = {
        probability_column(name): pa.array(values, pa.float64(), mask=~there)
        for name, values, there in zip(CLASSES, found.T, learnt, strict=True)
    }
    return {TRIAGE: pa.array(most, pa.string(), mask=~known), **columns}
