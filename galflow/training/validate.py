"""What an epoch has reached: the players' own losses on the validation split, and whether weights are still numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from galflow.batch import Batch
from galflow.errors import ModelError
from galflow.models.base import GenerativeModel, Player
from galflow.training.learning_curve import finite_or_none
from galflow.training.randomness import derived_seed, seeded
from galflow.training.ranks import SINGLE_PROCESS, Ranks


@dataclass(frozen=True)
class Validation:
    """One look at the validation split."""

    losses: dict[str, float]
    """Player -> mean loss over objects; empty if the split is."""
    diagnostics: dict[str, float | None]


def validate(
    model: GenerativeModel,
    players: Sequence[Player],
    batches: Iterable[Batch],
    ranks: Ranks = SINGLE_PROCESS,
    *,
    seed: int = 0,
) -> Validation:
    """Each player's loss over ``batches``, and the model's diagnostics on the first; the model is in evaluation mode.

    Several ``ranks`` take the batches in turn. Each batch has random numbers of its own, from ``seed``: a loss is then
    the same in every epoch and with any number of ranks, and the training's own numbers are undisturbed.

    Losses are taken without gradients: a model whose loss contains one (a gradient penalty) enables them itself.
    """
    model.eval()
    sums: dict[str, torch.Tensor] = {}
    objects = 0
    diagnostics: dict[str, float | None] = {}
    for number, batch in enumerate(batches):
        if not objects and ranks.is_main:
            with seeded(derived_seed(seed, "diagnostics"), batch.pixels.device):
                diagnostics = finite_or_none(model.diagnostics(batch))
        objects += len(batch)
        for player in players:
            if number % ranks.world != ranks.rank:
                sums.setdefault(player.name, batch.pixels.new_zeros((), dtype=torch.float64))
                continue
            with torch.no_grad(), seeded(derived_seed(seed, "validation", number), batch.pixels.device):
                loss = model.loss(batch, player.name).detach().double() * len(batch)
            sums[player.name] = sums[player.name] + loss if player.name in sums else loss
    losses = {name: float(ranks.total(total)) / objects for name, total in sums.items()}
    for name, loss_value in losses.items():
        if not math.isfinite(loss_value):
            raise ModelError(
                f"{type(model).__name__} gives a validation loss of {loss_value} for player {name!r}; expected a "
                "finite number. If the training loss is finite, some validation object lies outside the model's valid "
                "input range: raise stretch.white_sigma; if both rise, lower training.learning_rate"
            )
    return Validation(losses, diagnostics)


def require_finite_weights(model: GenerativeModel) -> None:
    """ModelError that names the first parameter or buffer that holds a number which is not finite."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            bad = int((~value.isfinite()).sum())
            raise ModelError(
                f"{bad} of {value.numel()} numbers in {name!r} of {type(model).__name__} are not finite; expected all "
                "to be. Train it anew with a lower training.learning_rate"
            )
