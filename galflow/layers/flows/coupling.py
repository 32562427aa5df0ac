"""Coupling layers (Dinh+14, Dinh+17): some numbers of an image stay, and say how the others move.

The layer is inverted by reading the numbers that stayed and moving the others back, so both directions cost one pass.
This file knows no particular flow, no scale and no loss; and it uses no batch statistics, so that what it makes of one
object does not depend on which objects share its batch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from galflow.errors import SpecError
from galflow.layers.bounds import soft_bounded
from galflow.layers.flows.bijectors import Law
from galflow.layers.flows.transform import Mapped, Transform

SIGHT = 10.0
"""A conditioner sees its input softly bounded to +-10: a saturated star moves its neighbours by a bounded amount."""
DENSE_GAIN = 4
"""Features of a dense conditioner for each feature map of a convolutional one."""


class Halves(nn.Module, ABC):
    """Which numbers of an image (B, C, H, W) a coupling moves; the others stay and are seen by its conditioner."""

    seen_channels: int
    told_channels: int

    @abstractmethod
    def seen(self, values: Tensor) -> Tensor:
        """(B, seen_channels, H, W) what stays."""

    @abstractmethod
    def moving(self, values: Tensor) -> Tensor:
        """(B, ...) what moves."""

    @abstractmethod
    def merged(self, values: Tensor, moved: Tensor) -> Tensor:
        """``values`` with what moves replaced by ``moved``."""

    @abstractmethod
    def told(self, answer: Tensor) -> Tensor:
        """A conditioner's answer (B, P, told_channels, H, W) for what moves alone: (B, P, ...)."""


class ChannelHalves(Halves):
    """Some channels move, and the others stay."""

    moves: Tensor
    stays: Tensor

    def __init__(self, channels: int, moves: list[int]) -> None:
        super().__init__()
        stays = [c for c in range(channels) if c not in moves]
        self.register_buffer("moves", torch.tensor(moves), persistent=False)
        self.register_buffer("stays", torch.tensor(stays), persistent=False)
        self.seen_channels, self.told_channels = len(stays), len(moves)

    def seen(self, values: Tensor) -> Tensor:
        """The channels that stay."""
        return values.index_select(1, self.stays)

    def moving(self, values: Tensor) -> Tensor:
        """The channels that move."""
        return values.index_select(1, self.moves)

    def merged(self, values: Tensor, moved: Tensor) -> Tensor:
        """Channels back in their order."""
        return values.index_copy(1, self.moves, moved)

    def told(self, answer: Tensor) -> Tensor:
        """All of it: the conditioner speaks of the moving channels alone."""
        return answer


class CheckerboardHalves(Halves):
    """The fields of one colour move in every channel: for images that cannot be squeezed, of odd size say."""

    moves: Tensor
    stays: Tensor

    def __init__(self, channels: int, size: int, colour: int) -> None:
        super().__init__()
        axis = torch.arange(size)
        white = (axis[:, None] + axis[None, :]) % 2 == colour % 2
        self.register_buffer("moves", white.flatten().nonzero()[:, 0], persistent=False)
        self.register_buffer("stays", ~white, persistent=False)
        self.seen_channels = self.told_channels = channels

    def seen(self, values: Tensor) -> Tensor:
        """The whole image with 0 on the fields that move."""
        return values * self.stays

    def moving(self, values: Tensor) -> Tensor:
        """(B, C, fields of the colour that moves)."""
        return values.flatten(2).index_select(2, self.moves)

    def merged(self, values: Tensor, moved: Tensor) -> Tensor:
        """Fields back in their places."""
        return values.flatten(2).index_copy(2, self.moves, moved).view_as(values)

    def told(self, answer: Tensor) -> Tensor:
        """What was said of the fields that move."""
        return answer.flatten(3).index_select(3, self.moves)


class ImageConditioner(nn.Module):
    """A small residual network from what stays (B, inputs, size, size) to (B, outputs, size, size), 0 at first.

    It learns a map of its own for each place, since cutouts are centred on their objects.
    """

    def __init__(self, inputs: int, outputs: int, *, size: int, width: int, blocks: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(inputs, width, 3, padding=1)
        self.place = nn.Parameter(torch.zeros(width, size, size))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 1))
            for _ in range(blocks)
        )
        self.leave = _zeroed(nn.Conv2d(width, outputs, 1))

    def forward(self, seen: Tensor) -> Tensor:
        """Parameters for every place."""
        features = self.enter(soft_bounded(seen, SIGHT)) + self.place
        for block in self.blocks:
            features = features + block(features)
        return self.leave(F.silu(features))


class DenseConditioner(nn.Module):
    """The same for a single pixel (B, inputs, 1, 1), a vector of bands: ``DENSE_GAIN`` times as wide, and dense.

    Small images keep convolutions: on 8 x 8 digits a dense conditioner learnt its training set by heart.
    """

    def __init__(self, inputs: int, outputs: int, *, width: int, blocks: int) -> None:
        super().__init__()
        hidden = DENSE_GAIN * width
        self.enter = nn.Linear(inputs, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
            for _ in range(blocks)
        )
        self.leave = _zeroed(nn.Linear(hidden, outputs))

    def forward(self, seen: Tensor) -> Tensor:
        """Parameters for every band."""
        features = self.enter(soft_bounded(seen.flatten(1), SIGHT))
        for block in self.blocks:
            features = features + block(features)
        return self.leave(F.silu(features))[:, :, None, None]


def _zeroed(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Coupling(Transform):
    """One coupling layer on images (B, C, H, W): ``halves.moving`` moves by ``law``, as told by what stays.

    Missing pixels are 0 for the conditioner, stay 0, and do not count in log|det|: what is observed and moves is moved
    by what is observed and stays, one number at a time, so the map of the observed numbers has a triangular Jacobian.
    """

    def __init__(self, halves: Halves, law: Law, *, size: int, width: int, blocks: int) -> None:
        super().__init__()
        self.halves = halves
        self.law = law
        outputs = law.parameters * halves.told_channels
        seen = halves.seen_channels
        self.conditioner: nn.Module = (
            DenseConditioner(seen, outputs, width=width, blocks=blocks)
            if size == 1
            else ImageConditioner(seen, outputs, size=size, width=width, blocks=blocks)
        )

    def _theta(self, values: Tensor) -> Tensor:
        answer = self.conditioner(self.halves.seen(values)).to(values.dtype)  # under autocast only the network is half
        return self.halves.told(answer.unflatten(1, (self.law.parameters, self.halves.told_channels)))

    def forward(self, at: Mapped) -> Mapped:
        """What moves, moved towards the base."""
        keep = self.halves.moving(at.keep)
        moved, log_slope = self.law.forward(self.halves.moving(at.values), self._theta(at.values))
        log_det = at.log_det + (log_slope * keep).flatten(1).sum(1)
        return Mapped(self.halves.merged(at.values, moved * keep), at.keep, log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """What moved, moved back."""
        moved = self.law.inverse(self.halves.moving(values), self._theta(values))
        return self.halves.merged(values, moved)


def alternating_halves(channels: int, size: int, *, squeezed: bool) -> list[Halves]:
    """The partitions that couplings of one scale take in turn, each with its complement behind it.

    A checkerboard first, then halves of the channels (Dinh+17, figure 3). Right after a squeeze the four neighbours
    that were a checkerboard lie in four channels of one band, so that both are choices of channels.
    """
    every = list(range(channels))
    chosen: list[list[int]] = []
    if squeezed:
        chosen.append([c for c in every if c % 4 in (0, 3)])
    if channels > 1:
        chosen.append(every[math.ceil(channels / 2) :])
    halves: list[Halves] = []
    if not squeezed and size > 1:
        halves += [CheckerboardHalves(channels, size, colour) for colour in (1, 0)]
    for moves in chosen:
        halves += [ChannelHalves(channels, moves), ChannelHalves(channels, [c for c in every if c not in moves])]
    if not halves:
        raise SpecError(
            "a coupling flow moves some numbers by the others and cannot work on a single one; "
            f"got channels={channels}, size={size}: give two bands or two pixels at least"
        )
    return halves
