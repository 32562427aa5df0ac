"""Transformation autoregressive network (Oliva+18): learnt invertible maps, then a mixture of Gaussians an entry.

Its base is that autoregressive mixture, no standard normal; in all else it is a flow. It refuses nothing of its own
but a linear conditional for images of more numbers than that can hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.bounds import soft_bounded
from galflow.layers.flows.actnorm import ActNorm
from galflow.layers.flows.conditioners import Conditioner, LinearNetwork, MaskedNetwork, RecurrentNetwork
from galflow.layers.flows.transform import Chain, Flatten, FlowState, Transform
from galflow.layers.images.blocks import standard_normal
from galflow.models.base import Density, Player
from galflow.models.maf import raster_places
from galflow.models.shared.flow import Flow

Conditional = Literal["linear", "recurrent", "masked"]

_LOG_SIGMA_BOUND = 5.0
_FIRST_MEANS = 2.0
"""Components begin spread over +-2 standard deviations."""


class Reorder(Transform):
    """Entries of (B, D) put in another order: ``places`` (D,) says where each goes."""

    places: Tensor
    origin: Tensor

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("origin", places.argsort(), persistent=False)

    def forward(self, at: FlowState) -> FlowState:
        """Entry i goes to places[i]."""
        return FlowState(at.values[:, self.origin], at.mask[:, self.origin], at.log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """The way back."""
        return values[:, self.places]


class TriangularLinear(Transform):
    """x -> L U x, with L unit lower and U upper triangular (Oliva+18, linear transformations by their LU factors).

    U and L are each applied to the observed entries alone: a principal submatrix of a triangular matrix is triangular,
    and its determinant is the product of the diagonal that is left. Both factors share one (D, D) parameter.
    """

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(entries, entries))
        self.log_diagonal = nn.Parameter(torch.zeros(entries))

    def _factors(self) -> tuple[Tensor, Tensor]:
        lower = self.weight.tril(-1) + torch.eye(len(self.weight), dtype=self.weight.dtype, device=self.weight.device)
        return lower, self.weight.triu(1) + torch.diag(torch.exp(self.log_diagonal))

    def forward(self, at: FlowState) -> FlowState:
        """U, then L."""
        lower, upper = self._factors()
        values = F.linear(F.linear(at.values, upper) * at.mask, lower) * at.mask
        return FlowState(values, at.mask, at.log_det + (at.mask * self.log_diagonal).sum(1))

    def inverse(self, values: Tensor) -> Tensor:
        """Two triangular systems."""
        lower, upper = self._factors()
        between = torch.linalg.solve_triangular(lower, values.T, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, between, upper=True).T


class RecurrentShift(Transform):
    """z_i = x_i + m(s_i), with the state s_i of a recurrent unit after the entries before i; its determinant is 1."""

    def __init__(self, entries: int, state: int, width: int) -> None:
        super().__init__()
        self.conditioner = RecurrentNetwork(entries=entries, numbers=1, state=state, width=width)
        self.conditioner.start(torch.zeros(1))

    def forward(self, at: FlowState) -> FlowState:
        """One run of the recurrent unit along the entries."""
        return FlowState((at.values + self.conditioner(at.values)[..., 0]) * at.mask, at.mask, at.log_det)

    def inverse(self, values: Tensor) -> Tensor:
        """Entry after entry."""
        return self.conditioner.sequential_inverse(len(values), lambda entry, numbers: values[:, entry] - numbers[:, 0])


class EntryMixture:
    """Mixtures of K Gaussians, one for each of (...) entries, from (..., 3K) outputs of a network."""

    def __init__(self, numbers: Tensor) -> None:
        logits, self.mean, raw = numbers.chunk(3, -1)
        self.log_weight = F.log_softmax(logits, -1)
        self.log_sigma = soft_bounded(raw, _LOG_SIGMA_BOUND)

    @staticmethod
    def first(components: int) -> Tensor:
        """(3K,) outputs of a broad mixture whose components differ, so that training can part them."""
        spread = torch.linspace(-1, 1, components) if components > 1 else torch.zeros(1)
        sigma = min(1.0, 2 * _FIRST_MEANS / components)
        zeros = torch.zeros(components)
        return torch.cat([zeros, _FIRST_MEANS * spread, torch.full((components,), math.log(sigma))])

    def log_prob(self, values: Tensor) -> Tensor:
        """(...) log-density in nats."""
        z = (values[..., None] - self.mean) * torch.exp(-self.log_sigma)
        log_normal = -0.5 * z.square() - self.log_sigma - 0.5 * math.log(2 * math.pi)
        return torch.logsumexp(self.log_weight + log_normal, -1)

    def draw(self, generator: torch.Generator | None) -> Tensor:
        """(B,) one draw of each mixture (B, K)."""
        device = self.mean.device if generator is None else generator.device
        chosen = torch.multinomial(self.log_weight.exp().to(device), 1, generator=generator).to(self.mean.device)
        mean, sigma = self.mean.gather(-1, chosen)[..., 0], self.log_sigma.gather(-1, chosen)[..., 0].exp()
        return mean + sigma * standard_normal(mean.shape, generator, mean)


class TAN(Flow):
    """Transformation autoregressive network (Oliva+18).

    Pixels, row by row with the bands of a pixel together, pass ``layers`` times an invertible linear map (by its LU
    factors) and a recurrent shift. What comes out has the density of a product of mixtures of Gaussians, each given
    the entries before it: by features linear in them (``conditional="linear"``, LAM), by a recurrent unit
    (``"recurrent"``, RAM), or by a masked network (``"masked"``, as in MAF), which alone is quick for large images.
    ``encode`` gives the entries after the maps, which are not normal; ``decode`` takes them back.

    Missing pixels are held at 0 in every layer, whose remaining map is triangular, and have no term in the mixture:
    ``log_prob`` is a normalised density over the observed pixels for the given mask.
    Valid input: finite stretched pixels; initialised on a first batch. Samples take one step for each number.
    """

    source: ClassVar[str] = "Oliva+18"
    version: ClassVar[str] = "2"
    scores: ClassVar[Mapping[str, str]] = {
        "bits_per_dim": "-log2 density per observed pixel and band; follows brightness (Nalisnick+19)"
    }
    one_pass_sampling: ClassVar[bool] = False
    free_form_jacobian: ClassVar[bool] = False

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        layers: Annotated[int, "linear map and recurrent shift, so many times; 0 leaves the mixture alone"] = 1,
        state: Annotated[int, "numbers that a recurrent unit remembers, or linear features of an entry"] = 16,
        width: Annotated[int, "units in the hidden layers of the conditional"] = 128,
        mixtures: Annotated[int, "Gaussians in the mixture of an entry"] = 8,
        conditional: Annotated[Conditional, "how an entry learns of those before it"] = "masked",
    ) -> None:
        super().__init__(channels=channels, size=size)
        if layers < 0 or mixtures < 1:
            raise SpecError(
                f"a TAN needs layers of at least 0 and mixtures of at least 1; got {layers} and {mixtures}, "
                "where 1 and 8 would do"
            )
        chain: list[Transform] = [
            Flatten(channels, size),
            Reorder(raster_places(channels, size)),
            ActNorm(self.dimensions),
        ]
        for _ in range(layers):
            chain += [TriangularLinear(self.dimensions), RecurrentShift(self.dimensions, state, 2 * state)]
        self.transform = Chain(chain)
        self.conditioner = self._conditioner(conditional, 3 * mixtures, state, width)
        self.conditioner.start(EntryMixture.first(mixtures))

    def _conditioner(self, kind: str, numbers: int, state: int, width: int) -> Conditioner:
        entries = self.dimensions
        if kind == "masked":
            return MaskedNetwork(order=torch.arange(entries), numbers=numbers, width=width, hidden_layers=2)
        if kind == "linear":
            return LinearNetwork(entries=entries, numbers=numbers, state=state, width=width)
        if kind == "recurrent":
            return RecurrentNetwork(entries=entries, numbers=numbers, state=state, width=width)
        raise SpecError(f"conditional is {kind!r}; choose one of {', '.join(map(repr, get_args(Conditional)))}")

    @property
    def players(self) -> tuple[Player, ...]:
        """One player: maps and mixture."""
        return (Player("flow", ("transform", "conditioner"), learning_rate=self.learning_rate),)

    @classmethod
    def tiny(cls) -> Self:
        """For 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, layers=1, state=8, width=32, mixtures=2)

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) log-density in nats of the observed stretched pixels."""
        values, mask, log_det = self.to_base(batch)
        return (EntryMixture(self.conditioner(values)).log_prob(values) * mask).sum(1) + log_det

    def log_prob_and_scores(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """``bits_per_dim`` alone: the base values are no noise."""
        return Density.log_prob_and_scores(self, batch)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) stretched pixels: entries drawn one after another, then the maps inverted."""
        drawn = self.conditioner.sequential_inverse(n, lambda _, numbers: EntryMixture(numbers).draw(generator))
        return self.decode(drawn)
