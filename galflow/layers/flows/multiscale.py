"""From fine to coarse in a flow (Dinh+17): squeezing, and half of the numbers leaving after each scale.

This file moves numbers about and changes none; what happens on each scale is the flow's own business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from galflow.errors import SpecError
from galflow.layers.flows.transform import FlowState, Transform


class Scale(NamedTuple):
    """What one scale works on."""

    channels: int
    size: int
    squeezed: bool
    """Whether four neighbours were just laid into four channels."""


SMALLEST_GRID = 4
"""Squeezing stops, unless told otherwise, before an image would have fewer pixels on a side."""


def scales(channels: int, size: int, *, levels: int | None, factor_out: bool = True) -> list[Scale]:
    """The scales of a flow, fine to coarse, each of which squeezes first.

    ``levels`` asks for so many squeezes; None for as many as leave SMALLEST_GRID pixels on a side, and at least one of
    an even size. A size that cannot be squeezed has one scale, as it is. With ``factor_out`` half of the channels leave
    after each scale but the last. Raises SpecError for more levels than the size has factors of two.
    """
    possible, side = 0, size
    while side % 2 == 0:
        possible, side = possible + 1, side // 2
    if levels is None:
        levels = max((n for n in range(1, possible + 1) if size >> n >= SMALLEST_GRID), default=min(possible, 1))
    if not 0 <= levels <= possible:
        raise SpecError(
            f"levels is {levels}, but a size of {size} can be halved {possible} times; give 0 to {possible}, or None"
        )
    found = []
    for _ in range(levels):
        channels, size = 4 * channels, size // 2
        found.append(Scale(channels, size, True))
        channels = channels // 2 if factor_out else channels
    return found or [Scale(channels, size, False)]


class Squeeze(Transform):
    """2 x 2 neighbours of a channel into four channels: (B, C, H, W) -> (B, 4 C, H/2, W/2)."""

    def forward(self, state: FlowState) -> FlowState:
        """Channel 4 c + 2 dy + dx holds what lay at (2 y + dy, 2 x + dx) of channel c."""
        return FlowState(F.pixel_unshuffle(state.values, 2), F.pixel_unshuffle(state.mask, 2), state.log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """Four channels into 2 x 2 neighbours."""
        return F.pixel_shuffle(values, 2)


class MultiScale(Transform):
    """Scales after one another; after each but the last every second channel leaves for the base. Ends flat: (B, D).

    ``transforms[i]`` ends in images of the shape that ``scales[i]`` says.
    """

    def __init__(self, scales: list[Scale], transforms: Iterable[Transform]) -> None:
        super().__init__()
        self.scales = scales
        self.transforms = nn.ModuleList(transforms)

    def _each(self) -> list[Transform]:
        return list(self.transforms)  # type: ignore[arg-type]

    def forward(self, state: FlowState) -> FlowState:
        """Finest scale first; what left first stands first."""
        return self._through(state, initialise=False)

    def initialise(self, state: FlowState) -> FlowState:
        """Each scale on what the ones before it make of the batch."""
        return self._through(state, initialise=True)

    def _through(self, state: FlowState, *, initialise: bool) -> FlowState:
        left: list[tuple[Tensor, Tensor]] = []
        for i, transform in enumerate(self._each()):
            state = transform.initialise(state) if initialise else transform(state)
            if i < len(self.scales) - 1:
                left.append((state.values[:, 1::2].flatten(1), state.mask[:, 1::2].flatten(1)))
                state = FlowState(state.values[:, ::2], state.mask[:, ::2], state.log_det)
        left.append((state.values.flatten(1), state.mask.flatten(1)))
        values, mask = zip(*left, strict=True)
        return FlowState(torch.cat(values, 1), torch.cat(mask, 1), state.log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """Coarsest scale first."""
        sizes = [s.channels * s.size**2 // 2 for s in self.scales[:-1]]
        parts = list(values.split([*sizes, values.shape[1] - sum(sizes)], dim=1))
        last = self.scales[-1]
        image = parts.pop().unflatten(1, (last.channels, last.size, last.size))
        for i in range(len(self.scales) - 1, -1, -1):
            if i < len(self.scales) - 1:
                leaving = parts.pop().view_as(image)
                image = torch.stack([image, leaving], dim=2).flatten(1, 2)
            image = self._each()[i].inverse(image)
        return image
