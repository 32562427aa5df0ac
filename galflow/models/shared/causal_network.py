"""The network of the autoregressive image models: a gated stack and a head, and what of the catalogue they are told.

It says what each pixel's distribution is given the pixels before it, and leaves to ``autoregressive.py`` what that is
good for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.weight_average import WeightAverage
from galflow.layers.pixels.catalogue_maps import CatalogueMaps
from galflow.layers.pixels.distribution import Bins, PixelDistribution
from galflow.layers.pixels.gated_stack import GatedStack
from galflow.models.base import Conditional, Player

_CONTEXT_GAIN = 3.2
"""In units of half the range: sky noise (a few hundredths of it) enters the network at a tenth or two."""


class CausalNetwork(Conditional):
    """Outputs at each pixel from the values and flags of those before it, its position, and catalogue values.

    ``conditions`` name catalogue columns that every pixel is told; ``average_over`` a subclass calls at the end of its
    constructor, where the weights that the training ends with are to be the average of those on its way.
    """

    position: Tensor
    head: nn.Module
    """Features (B, width, H, W) -> outputs (B, P, H, W); the subclass makes it."""

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: int,
        layers: int,
        bins: Bins,
        learning_rate: float,
        dropout: float,
        conditions: Sequence[str],
    ) -> None:
        super().__init__(channels=channels, size=size)
        if not 0 <= dropout < 1:
            raise SpecError(f"dropout is {dropout}; it is a fraction of activations, from 0 to below 1, such as 0.2")
        if isinstance(conditions, str):
            raise SpecError(
                f"conditions is the text {conditions!r}; give a list of catalogue columns, which may be empty"
            )
        self.conditions = tuple(conditions)
        self.bins = bins
        self.bin_width: float | None = bins.width
        self.learning_rate = learning_rate
        self.dropout = dropout
        self.stack = GatedStack(2 * channels + 3, width, layers, condition=width if conditions else 0)
        self.catalogue = CatalogueMaps(len(conditions), width) if conditions else None
        self.average: WeightAverage | None = None
        axis = (torch.arange(size) + 0.5) * (2 / size) - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("position", torch.stack([y, x, torch.hypot(x, y)])[None], persistent=False)

    @abstractmethod
    def distribution(self, outputs: Tensor) -> PixelDistribution:
        """What ``head``'s outputs (B, P, H, W) say of each pixel."""

    @property
    def players(self) -> tuple[Player, ...]:
        """One player: the network."""
        return (Player("network", (*self._shared_modules, "head"), learning_rate=self.learning_rate),)

    @property
    def _shared_modules(self) -> tuple[str, ...]:
        return ("stack", "catalogue") if self.conditions else ("stack",)

    def average_over(self, decay: float) -> None:
        """Keep an average of all weights, once they are all there; with a ``decay`` of 0 the last ones stand."""
        if decay:
            self.average = WeightAverage(self, decay)

    def initialise(self, batch: Batch) -> None:
        """Mean and spread of the conditions; averages begin at the weights as they are."""
        if self.catalogue is not None:
            self.catalogue.standardise(self._conditions_of(batch))
        if self.average is not None:
            self.average.start(self)

    def finish(self, batches: Iterable[Batch]) -> None:
        """The average becomes the network; the catalogue's rows are kept for draws."""
        if self.average is not None:
            self.average.store_in(self)
        if self.catalogue is not None:
            self.catalogue.keep(torch.cat([self.catalogue.context(self._conditions_of(batch)) for batch in batches]))

    def _conditions_of(self, batch: Batch) -> Tensor:
        if batch.conditions is None:
            raise ModelError(
                f"{type(self).__name__} is conditioned on {', '.join(self.conditions)}, but the batch has no "
                "conditions; give it a catalogue that has these columns, or build it without conditions"
            )
        return batch.conditions

    def _maps(self, context: Tensor | None) -> Tensor | None:
        """(B, width, H, W) for the stack, of the catalogue's contexts (B, 2 K); None without conditions."""
        return None if self.catalogue is None or context is None else self.catalogue(context, self.position)

    def _context_of(self, batch: Batch) -> Tensor | None:
        return None if self.catalogue is None else self.catalogue.context(self._conditions_of(batch))

    @property
    def reach(self) -> tuple[int, int]:
        """How many rows up, and how many columns to the right in them, a pixel depends on; to the left it is more."""
        return self.stack.reach

    def _told(self, values: Tensor, observed: Tensor) -> Tensor:
        """(B, 2C, ...): values, 0 where missing, and flags, 0 where missing as in the padding."""
        known = torch.where(observed, values, torch.zeros_like(values)) * (_CONTEXT_GAIN / self.bins.half_range)
        return torch.cat([known, observed.to(values.dtype)], dim=1)

    def outputs(
        self, values: Tensor, observed: Tensor, context: Tensor | None = None, *, dropout: float = 0.0
    ) -> Tensor:
        """(B, P, H, W) what the network says of each pixel given those before it; ``values`` (B, C, H, W) stretched.

        ``context``: (B, 2 K) of the conditions, where there are any.
        """
        position = self.position.to(values.dtype).expand(len(values), -1, -1, -1)
        told = torch.cat([self._told(values, observed), position], dim=1)
        return self.head(self.stack(told, self._maps(context), dropout=dropout))

    def _outputs_of(self, batch: Batch, values: Tensor, dropout: float = 0.0) -> Tensor:
        return self.outputs(values, batch.observed, self._context_of(batch), dropout=dropout)
