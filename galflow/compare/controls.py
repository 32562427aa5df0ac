"""What a comparison's samples are held against: differences that chance, memory, brightness or noise alone would make.

Two halves of the held-out sky differ by chance alone: each statistic has the interval of many random halvings. Objects
that the models learnt from differ from held-out ones by what is memorised. Single-Sersic galaxies and empty sky are
samples like any other (galflow.spec.controls); which they are is said here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from galflow.compare.two_sample import STATISTICS, chance_statistics, compare_scalars, permutation_p
from galflow.cutouts.flags import NOT_NORMAL, has_flag
from galflow.cutouts.splits import Split
from galflow.scores.part_columns import floats
from galflow.storage.receipts import Receipt, read_sound
from galflow.storage.store import Store

FloatArray = npt.NDArray[np.float64]
MINIMUM_OBJECTS = 20
_HALVINGS = 200
_MOST_PARTS, _MOST_OBJECTS = 64, 20_000
"""Of objects that were learnt from; they are evenly taken from all tiles."""


@dataclass(frozen=True, eq=False)
class Controls:
    """The controls of a comparison."""

    held_out: bool
    """Whether two halves of the held-out sky are compared."""
    training: Mapping[str, FloatArray]
    """Column -> (n,) scores of objects that its model learnt from; empty: not compared."""
    samples: Mapping[str, str]
    """Control -> the name of the sample that it is."""

    def compare(
        self, held_out: Mapping[str, FloatArray], compared: Sequence[str], bootstraps: int, seed: int
    ) -> dict[str, Any]:
        """Plain values; ``held_out``: column -> scores of held-out objects, ``compared``: samples that were.

        "held_out": column -> number of objects and of each statistic the median and the 95% interval between random
        halves. "training": column -> statistics with intervals and p-values, as of a sample. "samples": control ->
        sample. What has too few objects is left out.
        """
        enough = {name: values for name, values in held_out.items() if len(values) >= MINIMUM_OBJECTS}
        found: dict[str, Any] = {"samples": {c: name for c, name in self.samples.items() if name in compared}}
        if self.held_out:
            found["held_out"] = {name: _halves(values, seed) for name, values in enough.items()}
        if self.training:
            found["training"] = {
                name: _against(held_out[name], values, bootstraps, seed)
                for name, values in self.training.items()
                if name in held_out and min(len(values), len(held_out[name])) >= MINIMUM_OBJECTS
            }
        return found


def _halves(values: FloatArray, seed: int) -> dict[str, Any]:
    drawn = chance_statistics(values, halvings=_HALVINGS, seed=seed)
    low, middle, high = np.percentile(drawn, [2.5, 50, 97.5], axis=1)
    of_statistics = {
        name: {"value": float(middle[i]), "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate(STATISTICS)
    }
    return {"n": len(values), "statistics": of_statistics}


def _against(held_out: FloatArray, values: FloatArray, bootstraps: int, seed: int) -> dict[str, Any]:
    statistics = compare_scalars(held_out, values, bootstraps=bootstraps, seed=seed)
    return {
        "statistics": statistics.to_json(),
        "p": permutation_p(held_out, values, permutations=bootstraps, seed=seed),
    }


def training_scores(store: Store, parts: Sequence[Receipt], columns: Sequence[str]) -> dict[str, FloatArray]:
    """Column -> scores of normal objects of these score parts that models were trained on; of some thousands."""
    filled = [part for part in parts if part.rows]
    if len(filled) > _MOST_PARTS:
        filled = [filled[number * len(filled) // _MOST_PARTS] for number in range(_MOST_PARTS)]
    found: dict[str, list[FloatArray]] = {name: [] for name in columns}
    for part in filled:
        (data,) = read_sound(store, {part.product: part.files[""]}).values()
        table = pq.read_table(pa.BufferReader(data), columns=["is_primary", "flags", "split", *columns])
        learnt = pc.fill_null(pc.equal(table["split"], str(Split.TRAIN)), False).to_numpy()
        learnt &= table["is_primary"].to_numpy() & ~has_flag(table["flags"].to_numpy(), NOT_NORMAL)
        rows = np.flatnonzero(learnt)[: max(1, _MOST_OBJECTS // len(filled))]
        for name in columns:
            found[name].append(floats(table, name)[rows])
    values = {name: np.concatenate([np.empty(0), *each]) for name, each in found.items()}
    return {name: each[np.isfinite(each)] for name, each in values.items()}
