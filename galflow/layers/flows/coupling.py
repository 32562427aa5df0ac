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
from galflow.layers.flows.bijectors import Bijector
from galflow.layers.flows.transform import FlowState, Transform

SIGHT = 10.0
"""A conditioner sees its input softly bounded to +-10: a saturated star moves its neighbours by a bounded amount."""
DENSE_GAIN = 4
"""Features of a dense conditioner for each feature map of a convolutional one."""


class Partition(nn.Module, ABC):
    """Which numbers of an image (B, C, H, W) a coupling moves; the others stay and are seen by its conditioner."""

    identity_channels: int
    parameter_channels: int

    @abstractmethod
    def identity(self, values: Tensor) -> Tensor:
        """(B, identity_channels, H, W) what stays."""

    @abstractmethod
    def transformed(self, values: Tensor) -> Tensor:
        """(B, ...) what moves."""

    @abstractmethod
    def merged(self, values: Tensor, changed: Tensor) -> Tensor:
        """``values`` with what moves replaced by ``changed``."""

    @abstractmethod
    def parameters_of(self, answer: Tensor) -> Tensor:
        """A conditioner's answer (B, P, parameter_channels, H, W) for what moves alone: (B, P, ...)."""


class ChannelPartition(Partition):
    """Some channels move, and the others stay."""

    moves: Tensor
    stays: Tensor

    def __init__(self, channels: int, moves: list[int]) -> None:
        super().__init__()
        stays = [c for c in range(channels) if c not in moves]
        self.register_buffer("moves", torch.tensor(moves), persistent=False)
        self.register_buffer("stays", torch.tensor(stays), persistent=False)
        self.identity_channels, self.parameter_channels = len(stays), len(moves)

    def identity(self, values: Tensor) -> Tensor:
        """The channels that stay."""
        return values.index_select(1, self.stays)

    def transformed(self, values: Tensor) -> Tensor:
        """The channels that move."""
        return values.index_select(1, self.moves)

    def merged(self, values: Tensor, changed: Tensor) -> Tensor:
        """Channels back in their order."""
        return values.index_copy(1, self.moves, changed)

    def parameters_of(self, answer: Tensor) -> Tensor:
        """All of it: the conditioner speaks of the moving channels alone."""
        return answer


class CheckerboardPartition(Partition):
    """The fields of one colour move in every channel: for images that cannot be squeezed, of odd size say."""

    moves: Tensor
    stays: Tensor

    def __init__(self, channels: int, size: int, colour: int) -> None:
        super().__init__()
        axis = torch.arange(size)
        white = (axis[:, None] + axis[None, :]) % 2 == colour % 2
        self.register_buffer("moves", white.flatten().nonzero()[:, 0], persistent=False)
        self.register_buffer("stays", ~white, persistent=False)
        self.identity_channels = self.parameter_channels = channels

    def identity(self, values: Tensor) -> Tensor:
        """The whole image with 0 on the fields that move."""
        return values * self.stays

    def transformed(self, values: Tensor) -> Tensor:
        """(B, C, fields of the colour that moves)."""
        return values.flatten(2).index_select(2, self.moves)

    def merged(self, values: Tensor, changed: Tensor) -> Tensor:
        """Fields back in their places."""
        return values.flatten(2).index_copy(2, self.moves, changed).view_as(values)

    def parameters_of(self, answer: Tensor) -> Tensor:
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

    def forward(self, identity: Tensor) -> Tensor:
        """Parameters for every place."""
        features = self.enter(soft_bounded(identity, SIGHT)) + self.place
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

    def forward(self, identity: Tensor) -> Tensor:
        """Parameters for every band."""
        features = self.enter(soft_bounded(identity.flatten(1), SIGHT))
        for block in self.blocks:
            features = features + block(features)
        return self.leave(F.silu(features))[:, :, None, None]


def _zeroed(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Coupling(Transform):
    """One coupling layer on images (B, C, H, W): a bijector of the transformed part, given the identity part.

    Missing pixels are 0 for the conditioner, stay 0, and do not count in log|det|: what is observed and moves is moved
    by what is observed and stays, one number at a time, so the map of the observed numbers has a triangular Jacobian.
    """

    def __init__(self, partition: Partition, bijector: Bijector, *, size: int, width: int, blocks: int) -> None:
        super().__init__()
        self.partition = partition
        self.bijector = bijector
        outputs = bijector.parameters * partition.parameter_channels
        inputs = partition.identity_channels
        self.conditioner: nn.Module = (
            DenseConditioner(inputs, outputs, width=width, blocks=blocks)
            if size == 1
            else ImageConditioner(inputs, outputs, size=size, width=width, blocks=blocks)
        )

    def _theta(self, values: Tensor) -> Tensor:
        answer = self.conditioner(self.partition.identity(values)).to(
            values.dtype
        )  # under autocast only the network is half
        return self.partition.parameters_of(
            answer.unflatten(1, (self.bijector.parameters, self.partition.parameter_channels))
        )

    def forward(self, state: FlowState) -> FlowState:
        """What moves, moved towards the base."""
        mask = self.partition.transformed(state.mask)
        changed, log_slope = self.bijector.forward(self.partition.transformed(state.values), self._theta(state.values))
        log_det = state.log_det + (log_slope * mask).flatten(1).sum(1)
        return FlowState(self.partition.merged(state.values, changed * mask), state.mask, log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """What moved, moved back."""
        changed = self.bijector.inverse(self.partition.transformed(values), self._theta(values))
        return self.partition.merged(values, changed)


def alternating_partitions(channels: int, size: int, *, squeezed: bool) -> list[Partition]:
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
    partition: list[Partition] = []
    if not squeezed and size > 1:
        partition += [CheckerboardPartition(channels, size, colour) for colour in (1, 0)]
    for moves in chosen:
        partition += [
            ChannelPartition(channels, moves),
            ChannelPartition(channels, [c for c in every if c not in moves]),
        ]
    if not partition:
        raise SpecError(
            "a coupling flow moves some numbers by the others and cannot work on a single one; "
            f"got channels={channels}, size={size}: give two bands or two pixels at least"
        )
    return partition
