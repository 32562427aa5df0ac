"""The one training loop, for every model: phases, rounds, validation, early stopping, and an exact resume.

A phase is trained to its end before the next begins. In each epoch of it, rounds follow each other until the training
split is used up, and in each round every player of the phase makes its steps, each on a fresh batch. This file knows
no model, writes no product and chooses no device.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.errors import DataError, ModelError
from galflow.models.base import GenerativeModel, Player
from galflow.spec.run import TrainingSpec
from galflow.training.batch_schedule import BatchSchedule
from galflow.training.checkpoint import Checkpoint
from galflow.training.gpu_arithmetic import full_float32
from galflow.training.learning_curve import CurvePoint, FitResult, Progress
from galflow.training.players import PhaseOptimisers
from galflow.training.randomness import derived_seed, generator_states, restore_generators, seeded, set_seed
from galflow.training.ranks import SINGLE_PROCESS, Ranks
from galflow.training.training_state import TrainingState
from galflow.training.trimming import highest, main_scores
from galflow.training.validate import require_finite_weights, validate

logger = logging.getLogger(__name__)


def fit(
    model: GenerativeModel,
    training_set: TrainingSet,
    spec: TrainingSpec,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint: Checkpoint | None = None,
    progress: Callable[[Progress], None] | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> FitResult:
    """Train ``model`` in place on ``device``, leave it there in evaluation mode, and return its learning curves.

    A round uses as many batches as its players make steps in all (5 + 1 for the paper's WGAN-GP). An incomplete last
    round of an epoch is dropped, unless it has no other: then further shuffles of the split complete it. With
    ``spec.patience``, a phase with a single player stops after so many epochs without a better validation loss and
    keeps the best epoch's weights; several players have no common loss to stop by, and train for all epochs.

    With a ``checkpoint`` a training that was cut off goes on where it stood, in the middle of an epoch too: on a CPU
    its weights and curves equal those of an undisturbed one bit by bit, but for the seconds. ``progress`` is called
    after each round and each epoch and should return at once. As one of several ``ranks`` it takes its share of every
    batch; rank 0 alone writes checkpoints and tells of progress, and all ranks take up the same checkpoint.

    With ``spec.trim`` all of this is done anew, from the same weights and random numbers, without the objects that the
    finished model scores highest; the curves are those of the last training.

    Raises DataError for an empty training split, and ModelError when a loss or a weight is no longer finite.
    """
    if training_set.count(Split.TRAIN) == 0:
        counts = ", ".join(f"{split} {training_set.count(split)}" for split in Split)
        raise DataError(
            f"there is nothing to train {type(model).__name__} on: the splits hold {counts} normal objects; give more "
            "tiles or a looser selection, or lower training.validation_fraction and training.reference_fraction"
        )
    device = torch.device(device)
    data = BatchSchedule(training_set, spec, seed, device)
    exact = full_float32() if spec.precision == "float32" else contextlib.nullcontext()
    with seeded(derived_seed(seed, "fit"), device), exact:
        model = model.to(device)
        if device.type == "cuda" and spec.precision == "bf16":
            # The layout in which a GPU convolves in half precision; else it is changed there and back at each layer.
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return _Fit(model, data, spec, checkpoint, progress if ranks.is_main else None, ranks).run()


class _Fit:
    """One training under way."""

    def __init__(
        self,
        model: GenerativeModel,
        data: BatchSchedule,
        spec: TrainingSpec,
        checkpoint: Checkpoint | None,
        progress: Callable[[Progress], None] | None,
        ranks: Ranks,
    ) -> None:
        self.model, self.data, self.spec = model, data, spec
        self.checkpoint, self.progress, self.ranks = checkpoint, progress, ranks
        self.phases = sorted({player.phase for player in model.players})
        self.state = TrainingState()
        self._since = time.perf_counter()

    def run(self) -> FitResult:
        """Train from wherever the training stands, as often as objects are to be left out and once more."""
        trims = self.spec.trim_rounds if self.spec.trim and self.model.trains_on_data else 0
        untrained = {name: value.detach().clone() for name, value in self.model.state_dict().items()} if trims else {}
        self._train(self._resume())
        while self.state.trims < trims:
            self._leave_out()
            self.model.load_state_dict(untrained)
            set_seed(derived_seed(self.data.seed, "fit"), self.data.device)
            self._train(None)
        state = self.state
        left_out = (state.left_out.numpy(), state.left_out_scores.numpy())
        return FitResult(tuple(state.curves), state.kept_epochs, state.seconds, *left_out)

    def _train(self, team: PhaseOptimisers | None) -> None:
        """All phases, by ``team`` first if one has begun; then let the model finish."""
        if team is None:
            self.model.train()
            self.model.initialise(self.data.first())
            team = self._team()
        while self.state.phase < len(self.phases):
            self._run_phase(team)
            if self.state.phase < len(self.phases):
                self.model.begin_phase(self.phases[self.state.phase], self.data)
            team = self._team()
        self.model.eval()
        self.model.finish(self.data)
        self._tick()
        require_finite_weights(self.model)

    def _leave_out(self) -> None:
        """Choose what the next training is without: of all objects, those left out now too."""
        everyone = self.data.training_set.without(np.zeros(0, np.int64)).count(Split.TRAIN)
        scores = main_scores(self.model, self.data.whole(), everyone, self.ranks)
        left_out = highest(scores, self.spec.trim)
        self.state = self.state.trimmed(left_out, scores[left_out])
        self.data = self.data.without(left_out)

    def _team(self) -> PhaseOptimisers:
        """The present phase's players; nobody once all phases are done."""
        numbers = self.phases[self.state.phase : self.state.phase + 1]
        players = [player for player in self.model.players if player.phase in numbers]
        spec = self.spec
        return PhaseOptimisers(
            self.model, players, spec.learning_rate, self.ranks, precision=spec.precision, compiled=spec.compiled
        )

    def _run_phase(self, team: PhaseOptimisers) -> None:
        stops_early = self.spec.patience is not None and len(team.players) == 1
        if stops_early and self.data.training_set.count(Split.VALIDATION) == 0:
            logger.warning("the validation split is empty: phase %d trains without early stopping", self.state.phase)
        while self.state.epoch < self._phase_epochs(team.players) and not self._out_of_patience():
            points = self._run_epoch(team)
            self.state.end_epoch(points)
            if stops_early and (loss := points[0].validation_loss) is not None:
                self.state.note_best(loss, self.model)
            self._save_if_due(team)
            self._report(self.state.epoch, points)
        if self.state.best is not None:
            self.model.load_state_dict(self.state.best.weights)
        self.state.end_phase(self.phases[self.state.phase])

    def _phase_epochs(self, players: Sequence[Player]) -> int:
        """Epochs of these players' phase, at the most."""
        return max(1, round(self.spec.epochs * max((player.effort for player in players), default=1.0)))

    def _out_of_patience(self) -> bool:
        best, patience = self.state.best, self.spec.patience
        return best is not None and patience is not None and self.state.epoch - best.epoch >= patience

    def _run_epoch(self, team: PhaseOptimisers) -> list[CurvePoint]:
        """The rounds that the epoch still lacks, then its points."""
        state = self.state
        self.model.train()
        rounds = self.data.rounds(state.phase, state.epoch, state.round, team.steps_per_round)
        try:
            with contextlib.closing(rounds):
                for batches in rounds:
                    place = f"{self.data.seed}-{state.phase}-{state.epoch}-{state.round}"
                    state.add_losses(team.step_round(batches, augment=self.spec.augment, place=place))
                    self._save_if_due(team)
                    self._report(state.epoch + 1)
        finally:
            team.release()
        means = self._mean_losses(team)
        self.ranks.align_buffers(self.model)
        validation = validate(
            self.model, team.players, self.data.batches(Split.VALIDATION), self.ranks, seed=self.data.seed
        )
        self._tick()
        return [
            CurvePoint(
                phase=player.phase,
                epoch=state.epoch + 1,
                player=player.name,
                train_loss=means[player.name],
                validation_loss=validation.losses.get(player.name),
                seconds=state.epoch_seconds,
                diagnostics=validation.diagnostics,
            )
            for player in team.players
        ]

    def _mean_losses(self, team: PhaseOptimisers) -> dict[str, float]:
        """Each player's mean loss in the epoch so far: the one place where the loop waits for the device."""
        means = {}
        for player in team.players:
            losses = torch.stack(self.state.losses[player.name]).double().cpu()
            if not bool(losses.isfinite().all()):
                raise self._divergence(player, losses, team)
            means[player.name] = float(losses.mean())
        return means

    def _divergence(self, player: Player, losses: Tensor, team: PhaseOptimisers) -> ModelError:
        step = int((~losses.isfinite()).nonzero()[0])
        return ModelError(
            f"{type(self.model).__name__} diverged: the loss of player {player.name!r} is {float(losses[step])} at "
            f"step {step + 1} of epoch {self.state.epoch + 1} of phase {player.phase}; expected a finite number. Lower "
            f"training.learning_rate (now {team.learning_rate(player.name):g}), or raise stretch.white_sigma if pixels "
            "lie far above 1"
        )

    def _report(self, epoch: int, points: list[CurvePoint] | None = None) -> None:
        if self.progress is not None:
            number, rounds = self.phases[self.state.phase], self.state.round
            of_phases = [self._phase_epochs([p for p in self.model.players if p.phase == n]) for n in self.phases]
            epochs = of_phases[self.state.phase]
            ended = sum(of_phases[: self.state.phase]) + epoch - (not points)
            share = ended / sum(of_phases)
            self.progress(Progress(number, epoch, epochs, rounds, tuple(points or ()), share))

    def _tick(self) -> None:
        """Book the time since the last call."""
        now = time.perf_counter()
        self.state.seconds += now - self._since
        self.state.epoch_seconds += now - self._since
        self._since = now

    def _save_if_due(self, team: PhaseOptimisers) -> None:
        if self.checkpoint is None or not self.ranks.is_main or not self.checkpoint.due():
            return
        if self.state.losses:
            self._mean_losses(team)  # Raises if diverged: resuming from such a state could only diverge again.
        self._tick()
        parts: dict[str, Any] = {
            "training": self.state.plain(),
            "model": dict(self.model.state_dict()),
            "optimisers": team.state(),
            "generators": generator_states(self.data.device),
        }
        self.checkpoint.save(parts)

    def _resume(self) -> PhaseOptimisers | None:
        """Take up the checkpoint's state and return its phase's players; None if there is no usable one."""
        parts = None if self.checkpoint is None else self.checkpoint.load()
        if parts is None:
            return None
        untrained = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        try:
            self.model.load_state_dict(parts["model"])
            self.state = TrainingState.of(parts["training"], self.data.device)
            self.data = self.data.without(self.state.left_out)
            team = self._team()
            team.restore(parts["optimisers"])
        except (RuntimeError, KeyError, ValueError) as error:
            logger.warning(
                "the checkpoint does not fit %s: training starts afresh (%s)", type(self.model).__name__, error
            )
            self.model.load_state_dict(untrained)
            self.state = TrainingState()
            self.data = self.data.without(self.state.left_out)
            return None
        restore_generators(parts["generators"], self.data.device)
        return team
