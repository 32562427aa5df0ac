"""PixelCNN++ (Salimans+17): a discretised logistic mixture for each pixel, or the single Gaussian of Zanisi+21.

Neighbouring levels are neighbours here, so that 256 of them are learnt from few objects. A distribution that is no sum
of ``mixtures`` bumps is out of its reach.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.layers.pixels.discretised_mixture import DiscretisedMixture, GaussianMixture, LogisticMixture
from galflow.layers.pixels.distribution import Bins
from galflow.models.shared.autoregressive import Autoregressive

Head = Literal["logistic_mixture", "gaussian"]


class PixelCNNPP(Autoregressive):
    """PixelCNN++ (Salimans+17) on a gated stack, with its mixture head or with the one of Zanisi+21.

    ``head``: "logistic_mixture" gives each pixel ``mixtures`` discretised logistics, whose means are linear in the
    earlier bands of the pixel (channel autoregression); "gaussian" one Gaussian for each pixel and band, with the same
    channel autoregression and integrated over the same bins (``mixtures`` then plays no part).

    Differs from the publication: dilations 1, 2, 4 in turn instead of down- and up-sampling with shortcuts; gated
    convolutions (van den Oord+16) in two stacks instead of residual blocks; the channels' coefficients are not bounded
    by tanh; the network sees each pixel's position and flags of missing pixels. Zanisi+21 state a density; here it is
    integrated over bins, so that both heads' likelihoods can be compared.

    Valid input, likelihood and missing pixels: as ``Autoregressive`` says. ``log_prob`` is the log probability mass,
    in nats, of the observed pixels' bins of ``bin_width``; ``loss`` is bits per observed dimension.
    """

    source: ClassVar[str] = "Salimans+17, van den Oord+16, Zanisi+21"

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: Annotated[int, "features of each layer"] = 24,
        layers: Annotated[int, "gated layers; every third dilation widens the reach"] = 5,
        mixtures: Annotated[int, "logistics of each pixel"] = 5,
        levels: Annotated[int, "bins of a pixel's value"] = 256,
        low: Annotated[float, "lower edge of the lowest bin, in stretched units"] = -0.3,
        high: Annotated[float, "upper edge of the highest bin, in stretched units"] = 1.3,
        learning_rate: Annotated[float, "Adam's step size"] = 2e-3,
        head: Annotated[Head, "logistic_mixture (Salimans+17) or gaussian (Zanisi+21)"] = "logistic_mixture",
        dropout: Annotated[float, "fraction of activations dropped in training; for few objects"] = 0.0,
        conditions: Annotated[Sequence[str], "catalogue columns that every probability is given; none by default"] = (),
        average: Annotated[float, "memory of the averaged weights (0.9995 in Salimans+17); 0: the last ones"] = 0.0,
    ) -> None:
        if min(width, layers, mixtures) < 1:
            raise SpecError(
                f"a PixelCNN++ needs width, layers and mixtures of at least 1; got {width}, {layers}, {mixtures}"
            )
        if head not in get_args(Head):
            raise SpecError(f"head {head!r} is unknown; choose one of {', '.join(get_args(Head))}")
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
        self._law: type[DiscretisedMixture] = LogisticMixture if head == "logistic_mixture" else GaussianMixture
        self.mixtures = mixtures if head == "logistic_mixture" else 1
        parameters = self._law.parameters_per_pixel(self.mixtures, channels)
        layers_of_head = (nn.Conv2d(width, 2 * width, 1), nn.ELU(), nn.Conv2d(2 * width, parameters, 1))
        self.head = nn.Sequential(nn.ELU(), *layers_of_head)
        spread = torch.linspace(0.1, 0.9, self.mixtures) if self.mixtures > 1 else torch.tensor([0.3])
        self._start(spread[:, None].expand(-1, channels) * (high - low) + low, self.bins.half_range / 8)
        self.average_over(average)

    @classmethod
    def tiny(cls) -> Self:
        """For 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, width=8, layers=3, mixtures=2, levels=64)

    @torch.no_grad()
    def _start(self, means: Tensor, scale: float) -> None:
        """Begin as one fixed mixture: component means (K, C) and one scale in stretched units."""
        count = self.mixtures * self.channels
        weight, bias = list(self.head.parameters())[-2:]
        weight.mul_(0.1)
        bias.zero_()
        bias[self.mixtures : self.mixtures + count] = means.flatten().to(bias) / self.bins.half_range
        bias[self.mixtures + count : self.mixtures + 2 * count] = math.log(scale / self.bins.half_range)

    def initialise(self, batch: Batch) -> None:
        """Spread the components' means over the training pixels' own quantiles: most pixels are sky."""
        self.check(batch)
        quantiles = torch.linspace(0, 1, self.mixtures + 2)[1:-1] ** 0.5
        bands = [batch.pixels[:, c][batch.observed[:, c]].double().cpu() for c in range(self.channels)]
        if all(len(band) for band in bands):
            # torch.quantile refuses large inputs; picking from the sorted values says enough.
            picks = [band.sort().values[(quantiles * (len(band) - 1)).long()] for band in bands]
            self._start(torch.stack(picks, dim=1), self.bins.half_range / 16)
        super().initialise(batch)

    def distribution(self, outputs: Tensor) -> DiscretisedMixture:
        """The mixture of each pixel, in single precision at least: a bin's mass is a difference of near numbers."""
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return self._law.from_outputs(outputs, self.bins, self.mixtures, self.channels)
