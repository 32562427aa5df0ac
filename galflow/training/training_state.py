"""Where a training stands between two rounds, in memory and as the plain values that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from galflow.models.base import GenerativeModel
from galflow.training.learning_curve import CurvePoint


@dataclass
class BestEpoch:
    """The epoch of the present phase with the lowest validation loss."""

    epoch: int
    """Counted from 1."""
    loss: float
    weights: dict[str, Tensor]


@dataclass
class TrainingState:
    """All that the loop itself knows; model, optimisers and random numbers keep their own."""

    phase: int = 0
    """Index of the phase; the number of phases when all are done."""
    epoch: int = 0
    """Epochs finished in the phase."""
    round: int = 0
    """Rounds finished in the epoch."""
    losses: dict[str, list[Tensor]] = field(default_factory=dict)
    """Player -> the epoch's losses so far, one scalar a step, left on the device."""
    best: BestEpoch | None = None
    """Kept under early stopping alone."""
    curves: list[CurvePoint] = field(default_factory=list)
    kept_epochs: dict[int, int] = field(default_factory=dict)
    """Phase -> the epoch whose weights were kept."""
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    trims: int = 0
    """How often objects to leave out have been chosen."""
    left_out: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    """(k,) their numbers in the whole training split, in stored order."""
    left_out_scores: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    """(k,) the main scores for which they were."""

    def add_losses(self, losses: Mapping[str, list[Tensor]]) -> None:
        """One more round."""
        for player, values in losses.items():
            self.losses.setdefault(player, []).extend(values)
        self.round += 1

    def end_epoch(self, points: list[CurvePoint]) -> None:
        """The epoch is measured; the next one begins."""
        self.curves.extend(points)
        self.epoch, self.round, self.losses, self.epoch_seconds = self.epoch + 1, 0, {}, 0.0

    def note_best(self, loss: float, model: GenerativeModel) -> None:
        """Keep the weights of the epoch just ended if no epoch of the phase had a lower ``loss``."""
        if self.best is None or loss < self.best.loss:
            weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
            self.best = BestEpoch(self.epoch, loss, weights)

    def end_phase(self, phase_number: int) -> None:
        """The phase's weights are final; the next one begins."""
        self.kept_epochs[phase_number] = self.best.epoch if self.best else self.epoch
        self.phase, self.epoch, self.best = self.phase + 1, 0, None

    def trimmed(self, left_out: Tensor, scores: Tensor) -> TrainingState:
        """The beginning of the next training, without some objects; its time goes on from here."""
        return TrainingState(seconds=self.seconds, trims=self.trims + 1, left_out=left_out, left_out_scores=scores)

    def plain(self) -> dict[str, Any]:
        """Tensors and plain containers."""
        best = self.best
        return {
            "place": [self.phase, self.epoch, self.round],
            "losses": {player: torch.stack(values) for player, values in self.losses.items()},
            "best": None if best is None else {"epoch": best.epoch, "loss": best.loss, "weights": best.weights},
            "curves": [point.model_dump(mode="json") for point in self.curves],
            "kept_epochs": self.kept_epochs,
            "seconds": [self.seconds, self.epoch_seconds],
            "left_out": [self.trims, self.left_out, self.left_out_scores],
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any], device: torch.device) -> TrainingState:
        """The state that ``plain()`` gave, its tensors on ``device``."""
        phase, epoch, rounds = plain["place"]
        seconds, epoch_seconds = plain["seconds"]
        best = None
        if plain["best"] is not None:
            weights = {name: value.to(device) for name, value in plain["best"]["weights"].items()}
            best = BestEpoch(plain["best"]["epoch"], plain["best"]["loss"], weights)
        return cls(
            phase,
            epoch,
            rounds,
            {player: list(values.to(device).unbind()) for player, values in plain["losses"].items()},
            best,
            [CurvePoint.model_validate(point) for point in plain["curves"]],
            dict(plain["kept_epochs"]),
            seconds,
            epoch_seconds,
            *plain["left_out"],
        )
