"""Gated PixelCNN with a softmax head (van den Oord+16): every bin of every band has a probability of its own.

It assumes nothing of the shape of a pixel's distribution, and so needs more data than ``pixelcnn_pp`` for fine bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

import torch
from torch import nn

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.pixels.categorical import BandLogits, Categorical
from galflow.layers.pixels.distribution import Bins
from galflow.models.base import Player
from galflow.models.shared.autoregressive import Autoregressive


class PixelCNN(Autoregressive):
    """Gated PixelCNN (van den Oord+16): softmax over the levels of each band, bands of a pixel in turn.

    Differs from the publication: dilations 1, 2, 4 in turn instead of more layers; kernels are shifted instead of
    masked; the order of the bands is kept by separate hidden units of the head, not by groups of features throughout;
    the network sees each pixel's position and flags of missing pixels.

    Valid input, likelihood and missing pixels: as ``Autoregressive`` says. ``log_prob`` is the log probability mass,
    in nats, of the observed pixels' bins of ``bin_width``; ``loss`` is bits per observed dimension.
    """

    source: ClassVar[str] = "van den Oord+16"
    version: ClassVar[str] = "2"

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: Annotated[int, "features of each layer"] = 24,
        layers: Annotated[int, "gated layers; every third dilation widens the reach"] = 5,
        levels: Annotated[int, "bins of a pixel's value"] = 256,
        low: Annotated[float, "lower edge of the lowest bin, in stretched units"] = -0.3,
        high: Annotated[float, "upper edge of the highest bin, in stretched units"] = 1.3,
        learning_rate: Annotated[float, "Adam's step size"] = 2e-3,
        dropout: Annotated[float, "fraction of activations dropped in training; for few objects"] = 0.0,
        conditions: Annotated[Sequence[str], "catalogue columns that every probability is given; none by default"] = (),
        average: Annotated[float, "memory of the averaged weights (0.9995 in Salimans+17); 0: the last ones"] = 0.0,
    ) -> None:
        if min(width, layers) < 1:
            raise SpecError(f"a PixelCNN needs width and layers of at least 1; got {width}, {layers}")
        super().__init__(
            channels=channels,
            size=size,
            width=width,
            layers=layers,
            bins=Bins(low, high, levels),
            learning_rate=learning_rate,
            dropout=dropout,
            conditions=conditions,
        )
        self.head = nn.Sequential(nn.ELU(), nn.Conv2d(width, channels * 2 * width, 1))
        self.band_logits = BandLogits(channels, 2 * width, levels)
        self.average_over(average)

    @property
    def players(self) -> tuple[Player, ...]:
        """One player: the network."""
        return (Player("network", (*self._shared_modules, "head", "band_logits"), learning_rate=self.learning_rate),)

    @classmethod
    def tiny(cls) -> Self:
        """For 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, width=16, layers=3, levels=32, learning_rate=1e-2)

    @torch.no_grad()
    def initialise(self, batch: Batch) -> None:
        """Begin at the frequencies of each band's levels, whatever the pixels before say."""
        level, _ = self._levels(batch)
        for band, last in enumerate(self.band_logits.last):
            seen = level[:, band][batch.observed[:, band]]
            share = (torch.bincount(seen, minlength=self.bins.levels) + 0.5) / (len(seen) + 0.5 * self.bins.levels)
            last.get_parameter("bias").copy_(share.log())
            last.get_parameter("weight").mul_(0.3)
        super().initialise(batch)

    def distribution(self, outputs: torch.Tensor) -> Categorical:
        """A softmax for each band of each pixel."""
        return Categorical(self.bins, outputs, self.band_logits)
