"""What a training says about itself while it runs and afterwards. This file plots nothing and prints nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict


class CurvePoint(BaseModel):
    """One player in one epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    phase: int
    epoch: int
    """Counted from 1 in each phase."""
    player: str
    train_loss: float
    """Mean over the epoch's steps."""
    validation_loss: float | None
    """Mean over the validation split, under the same random numbers in each epoch; None if that split is empty."""
    seconds: float
    """Wall time of the epoch, all players and the validation together."""
    diagnostics: dict[str, float | None] = {}
    """The model's own numbers on the first validation batch, the same for all players of an epoch; None: not finite."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands; given to the caller after every round and after every epoch."""

    phase: int
    epoch: int
    """Counted from 1 in each phase."""
    epochs: int
    """Epochs of this phase, at the most."""
    rounds: int
    """Rounds finished in this epoch."""
    points: tuple[CurvePoint, ...] = ()
    """The curve's new points where the epoch is finished, one a player; empty within an epoch."""
    share: float = 0.0
    """Epochs that have ended of those of all phases, 0 to 1."""


@dataclass(frozen=True)
class FitResult:
    """What a finished training leaves beside the model's weights."""

    curves: tuple[CurvePoint, ...]
    kept_epochs: Mapping[int, int]
    """Phase -> the epoch whose weights were kept: the last one, or the best one under early stopping."""
    seconds: float
    """Wall time of all epochs, those before an interruption and before objects were left out included."""
    left_out: npt.NDArray[np.int64]
    """(k,) numbers of the objects of the training split that were left out, in stored order."""
    left_out_scores: npt.NDArray[np.float64]
    """(k,) their main scores by the training before."""

    def metrics(self) -> dict[str, float]:
        """Each player's losses in the epoch that was kept: "critic_train_loss", "critic_validation_loss"."""
        found: dict[str, float] = {}
        for point in self.curves:
            if self.kept_epochs.get(point.phase) == point.epoch:
                found[f"{point.player}_train_loss"] = point.train_loss
                if point.validation_loss is not None:
                    found[f"{point.player}_validation_loss"] = point.validation_loss
        return found


def finite_or_none(values: Mapping[str, float]) -> dict[str, float | None]:
    """The same numbers as JSON can hold them."""
    return {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
