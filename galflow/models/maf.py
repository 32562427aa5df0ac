"""Masked autoregressive flow (Papamakarios+17).

Scoring is one pass; a sample takes as many passes as an image has numbers, so draw few. It refuses no size, but its
dense layers know no neighbourhoods: where there are many pixels and few objects a convolutional model learns faster.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from galflow.errors import SpecError
from galflow.layers.bounds import soft_bounded
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.bijectors import Spline
from galflow.layers.flows.conditioners import Conditioner, MaskedNetwork
from galflow.layers.flows.transform import Chain, Flatten, FlowState, Transform
from galflow.models.shared.flow import Flow

Elementwise = Literal["affine", "spline"]
Order = Literal["raster", "interleaved"]

_LOG_SCALE_BOUND = 5.0
_LOG_SCALE_BOUND_OF_ALL = 25.0
"""All layers together stretch by at most e^25: the square of an outlier a million sigma away is still finite."""


class MaskedAffine(Transform):
    """u_i = (x_i - m_i) exp(-a_i), with m and a from the entries before i (Papamakarios+17, equation 4)."""

    def __init__(self, conditioner: Conditioner, log_scale_bound: float = _LOG_SCALE_BOUND) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.bound = log_scale_bound
        conditioner.start(torch.zeros(2))

    def _affine(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = numbers.unbind(-1)
        return shift, soft_bounded(raw, self.bound)

    def forward(self, state: FlowState) -> FlowState:
        """One pass for all entries."""
        shift, log_scale = self._affine(self.conditioner(state.values))
        values = (state.values - shift) * torch.exp(-log_scale) * state.mask
        return FlowState(values, state.mask, state.log_det - (state.mask * log_scale).sum(1))

    def inverse(self, values: Tensor) -> Tensor:
        """Entry after entry."""

        def find(entry: int, numbers: Tensor) -> Tensor:
            shift, log_scale = self._affine(numbers)
            return values[:, entry] * torch.exp(log_scale) + shift

        return self.conditioner.sequential_inverse(len(values), find)


class MaskedSpline(Transform):
    """u_i = a monotonic rational-quadratic spline of x_i whose knots the entries before i set (Durkan+19)."""

    def __init__(self, conditioner: Conditioner, spline: Spline) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.spline = spline
        conditioner.start(torch.zeros(spline.parameters))

    def forward(self, state: FlowState) -> FlowState:
        """One pass for all entries."""
        values, log_slope = self.spline.forward(state.values, self.conditioner(state.values).movedim(-1, 1))
        return FlowState(values * state.mask, state.mask, state.log_det + (state.mask * log_slope).sum(1))

    def inverse(self, values: Tensor) -> Tensor:
        """Entry after entry."""
        return self.conditioner.sequential_inverse(
            len(values), lambda entry, numbers: self.spline.inverse(values[:, entry], numbers)
        )


def raster_places(channels: int, size: int) -> Tensor:
    """(D,) place of each entry of a flat (C, H, W) image: row by row, in a row pixel by pixel, in a pixel the bands."""
    return torch.arange(channels * size**2).view(size, size, channels).permute(2, 0, 1).flatten()


def interleaved_places(channels: int, size: int) -> Tensor:
    """(D,) place of each entry: a coarse lattice of pixels first, then those between, halving until all are visited."""
    axis = torch.arange(size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    level = torch.zeros(size, size, dtype=torch.long)
    step = 2
    while step <= size:
        level += ((y % step == 0) & (x % step == 0)).long()
        step *= 2
    places = torch.empty(size * size, dtype=torch.long)
    places[(-level).flatten().sort(stable=True).indices] = torch.arange(size * size)
    return (places.view(1, size, size) * channels + torch.arange(channels).view(-1, 1, 1)).flatten()


class MAF(Flow):
    """Masked autoregressive flow (Papamakarios+17): masked dense layers (MADE, Germain+15), one behind the other.

    Layers visit the pixels in turns in an order and its reverse. ``order="raster"`` is row by row, a pixel's bands
    after one another; ``"interleaved"`` takes turns of that and a coarse lattice with ever finer ones after it, both
    with their reverse. ``transform`` is what happens to an entry given those before it: affine as published, or a
    monotonic spline (Durkan+19), whose output layers are (3 bins - 1) / 2 times as large.

    Missing pixels are 0 wherever a later one looks at them and their own terms are left out: the map of the observed
    pixels stays triangular, hence ``log_prob`` is a normalised density over them for the given mask.
    Valid input: finite stretched pixels; initialised on a first batch. Samples need D passes for D numbers in an image.
    """

    source: ClassVar[str] = "Papamakarios+17"
    version: ClassVar[str] = "2"
    one_pass_sampling: ClassVar[bool] = False
    free_form_jacobian: ClassVar[bool] = False

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        layers: Annotated[int, "masked autoregressive layers, each in another order"] = 5,
        width: Annotated[int, "units in a hidden layer; best not much below channels * size * size"] = 256,
        hidden_layers: Annotated[int, "hidden layers in each of them"] = 2,
        transform: Annotated[Elementwise, "what happens to a pixel given those before it"] = "affine",
        bins: Annotated[int, "pieces of a spline"] = 8,
        order: Annotated[Order, "in which order pixels are visited, beside the reverse"] = "raster",
    ) -> None:
        super().__init__(channels=channels, size=size)
        if layers < 1:
            raise SpecError(f"layers is {layers}; a MAF needs at least one, and two to look both ways, such as 5")
        _refuse_other("transform", transform, get_args(Elementwise))
        _refuse_other("order", order, get_args(Order))
        spline = Spline(bins)
        places = [raster_places(channels, size)]
        if order == "interleaved":
            places.append(interleaved_places(channels, size))
        orders = [turned for place in places for turned in (place, self.dimensions - 1 - place)]
        chain: list[Transform] = [Flatten(channels, size), ActNorm(self.dimensions)]
        for layer in range(layers):
            network = MaskedNetwork(
                order=orders[layer % len(orders)],
                numbers=2 if transform == "affine" else spline.parameters,
                width=width,
                hidden_layers=hidden_layers,
            )
            bound = min(_LOG_SCALE_BOUND, _LOG_SCALE_BOUND_OF_ALL / layers)
            chain.append(MaskedAffine(network, bound) if transform == "affine" else MaskedSpline(network, spline))
        self.transform = Chain(chain)

    @classmethod
    def tiny(cls) -> Self:
        """For 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, layers=2, width=64, hidden_layers=1)


def _refuse_other(name: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise SpecError(f"{name} is {given!r}; choose one of {', '.join(map(repr, known))}")
