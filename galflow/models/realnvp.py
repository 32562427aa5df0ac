"""RealNVP (Dinh+17): couplings on a checkerboard and on channels, scale after scale.

The paper's batch normalisation is left out on purpose, since it would make the density of one object depend on the
others in its batch; a learnt scale and shift takes its place (see actnorm).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from galflow.errors import SpecError
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.bijectors import bijector_of
from galflow.layers.flows.coupling import Coupling, alternating_partitions
from galflow.layers.flows.multiscale import MultiScale, Scale, Squeeze, scales
from galflow.layers.flows.transform import Chain, Transform
from galflow.models.shared.flow import Flow


class RealNVP(Flow):
    """Multi-scale flow of coupling layers (RealNVP, Dinh+17); with ``coupling="spline"`` as in Durkan+19.

    Every scale squeezes 2 x 2 pixels into channels and runs ``steps`` couplings, which take in turn both colours of a
    checkerboard and both halves of the channels; then half of the channels leave for the base. A checkerboard is cut
    after squeezing, where its colours are channels: the same partition, with conditioners that run on a quarter of the
    pixels. Where an odd size forbids squeezing there is one scale; a single pixel (size 1, two bands or more) is a
    vector, and the conditioners dense. ``loss`` is -log2 density per observed dimension.

    Valid input: finite stretched pixels; far beyond the training set a coupling stretches by a bounded factor (affine)
    or not at all (spline), so that scores stay finite. Missing pixels: see ``Coupling`` and flow.py.
    """

    source: ClassVar[str] = "Dinh+17"
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
        steps: Annotated[int, "couplings on each scale; four visit both partitions and their complements"] = 6,
        levels: Annotated[int | None, "squeezes; None: down to 4 pixels on a side"] = None,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if min(width, steps) < 1 or blocks < 0:
            raise SpecError(
                f"RealNVP needs width and steps of at least 1 and blocks of at least 0; got {width}, {steps}, {blocks}"
            )
        if coupling not in ("affine", "spline"):
            raise SpecError(f"coupling is {coupling!r}; RealNVP takes affine or spline")
        bijector = bijector_of(coupling)

        def on(scale: Scale) -> Chain:
            layers: list[Transform] = [Squeeze()] if scale.squeezed else []
            layers.append(ActNorm(scale.channels, scale.size, scale.size))
            partition = alternating_partitions(scale.channels, scale.size, squeezed=scale.squeezed)
            for step in range(steps):
                layers.append(
                    Coupling(partition[step % len(partition)], bijector, size=scale.size, width=width, blocks=blocks)
                )
                layers.append(ActNorm(scale.channels, 1, 1))
            return Chain(layers)

        found = scales(channels, size, levels=levels)
        self.transform = MultiScale(found, [on(scale) for scale in found])

    @classmethod
    def tiny(cls) -> Self:
        """Four couplings on one scale for 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, width=16, steps=4)
