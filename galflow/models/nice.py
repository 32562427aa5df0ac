"""NICE (Dinh+14): additive couplings, which keep volumes, and one diagonal scaling at the end."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from galflow.errors import SpecError
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.bijectors import Additive
from galflow.layers.flows.coupling import Coupling, alternating_partitions
from galflow.layers.flows.multiscale import Squeeze, scales
from galflow.layers.flows.transform import Chain, Flatten, Transform
from galflow.models.shared.flow import Flow


class NICE(Flow):
    """Additive couplings and a diagonal scaling (NICE, Dinh+14).

    The paper cuts a flat image into even and odd entries and conditions with dense networks. Here the conditioners are
    convolutions, so the image is cut into the colours of a checkerboard and into halves of its channels in turn,
    ``steps`` times on each of ``levels`` squeezes. All numbers run to the end, where each has a scale and a shift of
    its own, which start from the first batch. ``loss`` is -log2 density per observed dimension.

    All of its log|det| is the final scaling, the same for every object: it moves mass about but cannot squeeze it in
    one place more than in another. Valid input: finite stretched pixels. Missing pixels: see ``Coupling`` and flow.py.
    """

    source: ClassVar[str] = "Dinh+14"
    free_form_jacobian: ClassVar[bool] = False
    learning_rate = 2e-3

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: Annotated[int, "feature maps of a conditioner"] = 32,
        blocks: Annotated[int, "residual blocks of a conditioner"] = 1,
        steps: Annotated[int, "couplings on each scale; four visit both partitions and their complements"] = 4,
        levels: Annotated[int | None, "squeezes; None: two where the size allows"] = None,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if min(width, steps) < 1 or blocks < 0:
            raise SpecError(
                f"NICE needs width and steps of at least 1 and blocks of at least 0; got {width}, {steps}, {blocks}"
            )
        if levels is None:
            levels = 2 if size % 4 == 0 else 1 if size % 2 == 0 else 0
        bijector, layers = Additive(), list[Transform]()
        for scale in (found := scales(channels, size, levels=levels, factor_out=False)):
            layers += [Squeeze()] if scale.squeezed else []
            partition = alternating_partitions(scale.channels, scale.size, squeezed=scale.squeezed)
            layers += [
                Coupling(partition[step % len(partition)], bijector, size=scale.size, width=width, blocks=blocks)
                for step in range(steps)
            ]
        last = found[-1]
        layers += [ActNorm(last.channels, last.size, last.size), Flatten(last.channels, last.size)]
        self.transform = Chain(layers)

    @classmethod
    def tiny(cls) -> Self:
        """Four couplings on one scale for 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, width=16, levels=1)
