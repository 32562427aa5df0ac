"""Glow (Kingma+18): actnorm, an invertible 1 x 1 convolution and a coupling in every step, scale after scale."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from galflow.errors import SpecError
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.bijectors import bijector_of
from galflow.layers.flows.coupling import ChannelPartition, Coupling, Partition, alternating_partitions
from galflow.layers.flows.multiscale import MultiScale, Scale, Squeeze, scales
from galflow.layers.flows.transform import Chain, FlowState, Transform
from galflow.models.shared.flow import Flow


class InvertibleConvolution(Transform):
    """The same matrix on the channels of every pixel, W = P L U (Kingma+18, section 3.2).

    P is a fixed random permutation, L has ones on its diagonal, U is kept by the logarithm of its diagonal's size.
    L and U start as identities, not as the factors of a random rotation: of those no part alone is a rotation, so that
    where channels are missing every layer would stretch what is left, and a training with missing pixels would fail.

    Missing entries: U is restricted to the observed channels of each pixel, then L, and P moves the mask with the
    values. Each restricted factor is triangular with the observed part of the diagonal, so log|det| is the sum of that
    part's logarithms.
    """

    order: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(channels))
        self.lower = nn.Parameter(torch.zeros(channels, channels))
        self.upper = nn.Parameter(torch.zeros(channels, channels))
        self.log_diagonal = nn.Parameter(torch.zeros(channels))

    def _factors(self) -> tuple[Tensor, Tensor]:
        """L and U, each (C, C)."""
        lower = self.lower.tril(-1) + torch.ones_like(self.log_diagonal).diag()
        return lower, self.upper.triu(1) + self.log_diagonal.exp().diag()

    def forward(self, state: FlowState) -> FlowState:
        """U, then L, then P."""
        lower, upper = self._factors()
        values = _mixed(lower, _mixed(upper, state.values) * state.mask) * state.mask
        log_det = state.log_det + (state.mask.sum((2, 3)) * self.log_diagonal).sum(1)
        return FlowState(values.index_select(1, self.order), state.mask.index_select(1, self.order), log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """Permuted back, and two triangular systems solved."""
        lower, upper = self._factors()
        flat = values.index_select(1, self.order.argsort()).flatten(2)
        flat = torch.linalg.solve_triangular(lower, flat, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, flat, upper=True).view_as(values)


def _mixed(matrix: Tensor, values: Tensor) -> Tensor:
    """``matrix`` on the channels: a product, as cuDNN rounds convolutions to ten bits (TF32), and never in half."""
    with torch.autocast(values.device.type, enabled=False):
        return (matrix @ values.flatten(2)).view_as(values)


class Glow(Flow):
    """Multi-scale flow of actnorm, invertible 1 x 1 convolutions and couplings (Glow, Kingma+18).

    Every scale squeezes 2 x 2 pixels into channels, runs ``steps`` steps (actnorm, 1 x 1 convolution, a coupling that
    moves the second half of the channels) and sends half of the channels to the base. With ``coupling="spline"`` the
    couplings are those of Durkan+19. Where an odd size forbids squeezing there is one scale; a single band is then cut
    by a checkerboard, as there are no channels to mix; a single pixel (size 1, two bands or more) is a vector, and the
    conditioners dense. Each scale begins with a scale and shift for every place, since cutouts are centred on their
    objects. ``loss`` is -log2 density per observed dimension.

    Valid input: finite stretched pixels; far beyond the training set a coupling stretches by a bounded factor (affine)
    or not at all (spline), so that scores stay finite. Missing pixels: see ``Coupling``, ``InvertibleConvolution`` and
    flow.py.
    """

    source: ClassVar[str] = "Kingma+18"
    free_form_jacobian: ClassVar[bool] = False
    learning_rate = 2e-3

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        coupling: Annotated[
            Literal["affine", "spline"], "how a coupling moves a number: as published, or by a monotone spline"
        ] = "affine",
        width: Annotated[int, "feature maps of a conditioner"] = 32,
        blocks: Annotated[int, "residual blocks of a conditioner"] = 1,
        steps: Annotated[int, "steps on each scale"] = 6,
        levels: Annotated[int | None, "squeezes; None: down to 4 pixels on a side"] = None,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if min(width, steps) < 1 or blocks < 0:
            raise SpecError(
                f"Glow needs width and steps of at least 1 and blocks of at least 0; got {width}, {steps}, {blocks}"
            )
        if coupling not in ("affine", "spline"):
            raise SpecError(f"coupling is {coupling!r}; Glow takes affine or spline")
        bijector = bijector_of(coupling)

        def on(scale: Scale) -> Chain:
            layers: list[Transform] = [Squeeze()] if scale.squeezed else []
            layers.append(ActNorm(scale.channels, scale.size, scale.size))
            for step in range(steps):
                layers.append(ActNorm(scale.channels, 1, 1))
                if scale.channels > 1:
                    layers.append(InvertibleConvolution(scale.channels))
                layers.append(Coupling(_halves(scale, step), bijector, size=scale.size, width=width, blocks=blocks))
            return Chain(layers)

        found = scales(channels, size, levels=levels)
        self.transform = MultiScale(found, [on(scale) for scale in found])

    @classmethod
    def tiny(cls) -> Self:
        """Four steps on one scale for 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, width=16, steps=4)


def _halves(scale: Scale, step: int) -> Partition:
    """The second half of the channels moves; of a single channel, the colours of a checkerboard in turn."""
    if scale.channels > 1:
        return ChannelPartition(scale.channels, list(range((scale.channels + 1) // 2, scale.channels)))
    partition = alternating_partitions(scale.channels, scale.size, squeezed=scale.squeezed)
    return partition[step % len(partition)]
