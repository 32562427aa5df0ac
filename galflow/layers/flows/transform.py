"""Invertible layers that chain: values, which of them are observed, and the log-determinant so far.

Missing pixels, the same for every layer: it holds them at 0 and leaves their terms out of its determinant. What remains
is an invertible map of the observed pixels alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn


class FlowState(NamedTuple):
    """A value on its way through a flow."""

    values: Tensor
    """(B, ...) floats, 0 where missing."""
    mask: Tensor
    """The same shape, of the same type: 1 where observed, 0 where missing."""
    log_det: Tensor
    """(B,) log|det| of all that was done so far, over observed entries."""


class Transform(nn.Module, ABC):
    """One invertible layer, data -> base. Layers chain: ``FlowState`` in, ``FlowState`` out."""

    @abstractmethod
    def forward(self, state: FlowState) -> FlowState:
        """One layer nearer to the base; its own log|det| added to ``state.log_det``."""

    @abstractmethod
    def inverse(self, values: Tensor) -> Tensor:
        """One layer back towards the data, everything observed."""

    def initialise(self, state: FlowState) -> FlowState:
        """Set data-dependent initial values from a first batch and return ``forward(at)``."""
        return self(state)


class Chain(Transform):
    """Layers after one another."""

    def __init__(self, layers: Iterable[Transform]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def _each(self) -> list[Transform]:
        return list(self.layers)  # type: ignore[arg-type]

    def forward(self, state: FlowState) -> FlowState:
        """Through all layers, first to last."""
        for layer in self._each():
            state = layer(state)
        return state

    def inverse(self, values: Tensor) -> Tensor:
        """Through all layers, last to first."""
        for layer in reversed(self._each()):
            values = layer.inverse(values)
        return values

    def initialise(self, state: FlowState) -> FlowState:
        """Each layer on what the ones before it, initialised, make of the batch."""
        for layer in self._each():
            state = layer.initialise(state)
        return state


class Flatten(Transform):
    """Images (B, C, H, W) to vectors (B, D), for flows that know no neighbourhoods."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.shape = (channels, size, size)

    def forward(self, state: FlowState) -> FlowState:
        """(B, C, H, W) -> (B, D)."""
        return FlowState(state.values.flatten(1), state.mask.flatten(1), state.log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, C, H, W)."""
        return values.unflatten(1, self.shape)
