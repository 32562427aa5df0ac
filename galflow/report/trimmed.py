"""Which objects a run left out: of trainings (training.trim), and of the reference (scoring.trim_reference).

They are counted, named, and shown: what a model explains worst, or held-out objects do not expect, is worth a look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.ranking import ANOMALY, RunRanking
from galflow.cutouts.splits import Split
from galflow.scores.part_columns import floats
from galflow.training.trained_model import TrainedModel

REFERENCE = "the reference"


def trimmed_counts(models: Mapping[str, TrainedModel], ranking: RunRanking) -> dict[str, Any]:
    """Of each model that was trained without some objects how many of how many; and of the reference, from where on."""
    trained = {name: model.card.training["left_out"] for name, model in models.items() if _trims(model)}
    training = {name: {key: found[key] for key in ("objects", "of")} for name, found in trained.items()}
    objects = len(ranking.reference) + ranking.left_out
    above = float(ranking.reference[-1]) if ranking.left_out else None
    return {"training": training, "reference": {"objects": ranking.left_out, "of": objects, "above": above}}


def _trims(model: TrainedModel) -> bool:
    return "left_out" in model.card.training


@dataclass(frozen=True)
class Trimmed:
    """The left out objects of a run, to be recognised in its catalogue."""

    models: Mapping[str, Mapping[int, list[str]]] = field(default_factory=dict)
    """Tile -> row -> models that were trained without it."""
    above: float | None = None
    """Held-out objects that rank above it were left out of the reference; None: no such objects."""

    @classmethod
    def of(cls, models: Mapping[str, TrainedModel], counts: Mapping[str, Any]) -> Trimmed:
        """Of the models that a run trained on its survey, and its ``trimmed_counts``."""
        found: dict[str, dict[int, list[str]]] = {}
        for name, model in models.items():
            if not _trims(model):
                continue
            for tile, objects in model.card.training["left_out"]["by_tile"].items():
                for row, _, _ in objects:
                    found.setdefault(tile, {}).setdefault(row, []).append(name)
        return cls(found, counts["reference"]["above"])

    @property
    def any(self) -> bool:
        """Whether there are such objects."""
        return bool(self.models) or self.above is not None

    def among(self, table: pa.Table) -> np.ndarray:
        """(n,) bool: which rows of a catalogue's file are left out somewhere."""
        found = self._of_reference(table)
        rows = table.column("row").to_numpy()
        for tile in pc.unique(table.column("tile")).to_pylist():
            if own := self.models.get(tile):
                here = pc.equal(table.column("tile"), tile).to_numpy()
                found |= here & np.isin(rows, list(own))
        return found

    def _of_reference(self, table: pa.Table) -> np.ndarray:
        if self.above is None:
            return np.zeros(len(table), bool)
        held_out = pc.fill_null(pc.equal(table.column("split"), str(Split.REFERENCE)), False).to_numpy()
        return np.asarray(held_out & (np.nan_to_num(floats(table, ANOMALY), nan=-np.inf) > self.above))

    def of_what(self, tile: str, row: int) -> str:
        """What a left out row was left out of, in words."""
        return ", ".join(self.models.get(tile, {}).get(row, [REFERENCE]))
