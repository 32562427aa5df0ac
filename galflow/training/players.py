"""The players of one phase: their parameters, their optimisers, and whose turn it is.

A player's step changes that player's parameters alone, and no gradient reaches anybody else's.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError
from galflow.models.base import GenerativeModel, Player
from galflow.spec.training import Precision
from galflow.training.augment import turn_and_mirror
from galflow.training.oom_splitter import OomSplitter
from galflow.training.ranks import SINGLE_PROCESS, Ranks


def trainable_parameters(model: GenerativeModel, player: Player) -> list[nn.Parameter]:
    """The parameters that a player updates, each once."""
    found: dict[int, nn.Parameter] = {}
    for name in player.modules:
        try:
            part = attrgetter(name)(model)
        except AttributeError:
            part = None
        if not isinstance(part, nn.Module | nn.Parameter):
            raise ModelError(
                f"player {player.name!r} of {type(model).__name__} names {name!r}, which is neither a submodule nor a "
                "parameter of the model; correct Player.modules"
            )
        parameters = [part] if isinstance(part, nn.Parameter) else list(part.parameters())
        found.update((id(p), p) for p in parameters if p.requires_grad)
    if not found:
        raise ModelError(
            f"player {player.name!r} of {type(model).__name__} owns no trainable parameter in "
            f"{', '.join(player.modules) or 'its empty list of modules'}; give it one, or leave the player out"
        )
    return list(found.values())


class PhaseOptimisers:
    """The players of one phase, each with its own Adam."""

    def __init__(
        self,
        model: GenerativeModel,
        players: Sequence[Player],
        learning_rate: float | None,
        ranks: Ranks = SINGLE_PROCESS,
        *,
        precision: Precision = "float32",
        compiled: bool = False,
    ) -> None:
        self.players = tuple(players)
        faster = torch.compile(model.loss) if compiled else model.loss
        self._losses = {player.name: faster if player.compiles else model.loss for player in players}
        self._half = precision == "bf16"
        self._ranks = ranks
        self._model = model
        self._trainable = [p for p in model.parameters() if p.requires_grad]
        self._moving: str | None = None
        self._portions = OomSplitter(f"the training of {type(model).__name__}")
        self._own = {player.name: trainable_parameters(model, player) for player in players}
        self._optimisers = {
            player.name: torch.optim.Adam(
                self._own[player.name],
                lr=learning_rate or player.learning_rate,
                betas=player.betas,
                fused=all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in self._own[player.name]),
            )
            for player in players
        }

    @property
    def steps_per_round(self) -> int:
        """Batches that one round uses."""
        return sum(player.steps for player in self.players)

    @property
    def optimisers(self) -> tuple[torch.optim.Optimizer, ...]:
        """Each player's, for whoever changes step sizes on the way."""
        return tuple(self._optimisers.values())

    def learning_rate(self, player: str) -> float:
        """The step size in use."""
        return float(self._optimisers[player].param_groups[0]["lr"])

    def step_round(self, batches: Sequence[Batch], *, augment: bool, place: str = "") -> dict[str, list[Tensor]]:
        """Each player's steps, each on its own batch; the scalar losses, left on the device: reading one would wait.

        ``place`` says where in the training the round is, for the random numbers of ranks.
        """
        supply = iter(batches)
        losses: dict[str, list[Tensor]] = {player.name: [] for player in self.players}
        for player in self.players:
            self._give_turn(player.name)
            for step in range(player.steps):
                batch = next(supply)
                batch = turn_and_mirror(batch) if augment else batch
                with self._ranks.draws(batch, place, player.name, step):
                    losses[player.name].append(self._step(batch, player.name))
        return losses

    def _step(self, batch: Batch, player: str) -> Tensor:
        """One step on all ranks' shares of a batch together; the whole batch's loss."""
        optimiser = self._optimisers[player]

        def forget() -> None:
            optimiser.zero_grad(set_to_none=True)

        def learn(portion: Batch) -> Tensor:
            # Weights, their gradients and Adam's moments stay in float32; only what the networks compute is rounded.
            with torch.autocast(portion.pixels.device.type, torch.bfloat16, enabled=self._half):
                loss = self._losses[player](portion, player).float() * _weight(self._model, portion, batch)
            loss.backward()
            return loss.detach()

        forget()
        try:
            losses = self._portions.each(self._ranks.share(batch), learn, forget)
        except RuntimeError as error:
            if not _is_of_the_compiler(error):
                raise
            raise ModelError(
                f"torch.compile failed at the loss of player {player!r} of {type(self._model).__name__}: "
                f"{type(error).__name__}: {str(error).splitlines()[0]}. Install what it asks for, or leave "
                "training.compiled out"
            ) from error
        self._ranks.sum_gradients(self._own[player])
        optimiser.step()
        return self._ranks.total(torch.stack(losses).sum() if losses else batch.pixels.new_zeros(()))

    def _give_turn(self, player: str) -> None:
        """Let gradients flow into this player's parameters alone; others' would be computed for nothing."""
        if player == self._moving:
            return
        for parameter in self._trainable:
            parameter.requires_grad_(False)
        for parameter in self._own[player]:
            parameter.requires_grad_(True)
        self._moving = player

    def release(self) -> None:
        """Nobody's turn: parameters take gradients again as they did before, and hold none."""
        for parameter in self._trainable:
            parameter.requires_grad_(True)
            parameter.grad = None
        self._moving = None

    def state(self) -> dict[str, Any]:
        """The optimisers' states, as tensors and plain containers."""
        return {name: optimiser.state_dict() for name, optimiser in self._optimisers.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state()``."""
        for name, optimiser in self._optimisers.items():
            optimiser.load_state_dict(state[name])


def _is_of_the_compiler(error: RuntimeError) -> bool:
    """Whether torch.compile raised it. Its package takes seconds to import, and is there if anything was compiled."""
    compiler = sys.modules.get("torch._dynamo.exc")
    if compiler is None:
        return False
    # A loss that is made of gradients is refused in plain words: see Player.compiles.
    return isinstance(error, compiler.TorchDynamoException) or "aot_autograd" in str(error)


def _weight(model: GenerativeModel, share: Batch, batch: Batch) -> Tensor | float:
    """What a share's loss counts in that of its batch."""
    if model.loss_per_pixel and len(share) < len(batch):
        return share.observed.sum() / batch.observed.sum().clamp_min(1)
    return len(share) / len(batch)
