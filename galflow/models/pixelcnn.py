"""Gated PixelCNN with a discretised logistic mixture: the exact probability of a cutout, pixel after pixel.

It refuses to learn from pixels that were not observed, and states masses of declared bins, not densities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.errors import ModelError, SpecError
from galflow.models.base import Batch, Density, Player, Reconstructs
from galflow.models.logistic_mixture import Bins, LogisticMixture

_ENTRY_ROWS, _ENTRY_COLUMNS = 4, 7
"""The first, wide look back: 4 rows up and 3 columns to either side; 4 columns to the left in the current row."""
_CONTEXT_GAIN = 4.0
"""Sky noise (a few hundredths of a stretched unit) enters the network at a few tenths."""


def _gate(x: Tensor) -> Tensor:
    """tanh(a) * sigmoid(b) of the two halves of the channels (van den Oord+16, equation 2)."""
    a, b = x.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


class _Upward(nn.Conv2d):
    """Convolution over rows y-rows+1 .. y and columns to both sides; with ``strict`` over rows y-rows .. y-1."""

    def __init__(self, inputs: int, outputs: int, rows: int, columns: int, dilation: int = 1, *, strict: bool) -> None:
        super().__init__(inputs, outputs, (rows, columns), dilation=dilation)
        side, up = dilation * (columns // 2), dilation * (rows - 1)
        self.pad = (side, side, up + 1, -1) if strict else (side, side, up, 0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pad))


class _Leftward(nn.Conv2d):
    """Convolution over columns x-columns+1 .. x of the same row; with ``strict`` over x-columns .. x-1."""

    def __init__(self, inputs: int, outputs: int, columns: int, dilation: int = 1, *, strict: bool) -> None:
        super().__init__(inputs, outputs, (1, columns), dilation=dilation)
        left = dilation * (columns - 1)
        self.pad = (left + 1, -1, 0, 0) if strict else (left, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, self.pad))


class _HorizontalLayer(nn.Module):
    """One gated layer of the horizontal stack, with its residual connection (van den Oord+16, figure 2)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.left = _Leftward(width, 2 * width, 2, dilation, strict=False)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        """The features one layer on; ``told`` comes from the vertical stack."""
        return h + self.out(_gate(self.left(h) + told))


class PixelCNN(Density, Reconstructs):
    """Gated PixelCNN (van den Oord+16) with the discretised logistic mixture of PixelCNN++ (Salimans+17).

    Pixels are visited row by row, the bands of a pixel in their order. A vertical stack sees all rows above, a
    horizontal one the pixels to the left; together they leave no blind spot. Dilations 1, 2, 4 in turn widen the reach
    (see ``reach``) at no cost.

    Valid input: stretched pixels; what lies outside [low, high] counts as the edge bin. ``log_prob`` is the log of
    the probability mass of bins of width ``bin_width``; divide by it per pixel and band for a density.
    ``loss`` is bits per observed dimension.

    Missing pixels: the network sees 0 and the flag of pixels beyond the edge, and their terms are left out.
    So ``log_prob`` is the sum over observed pixels of log P(pixel | observed pixels before it), a normalised
    probability over the observed pixels for the given mask. It is not the full model with the missing pixels
    integrated out, which would have to average over all values they might have.
    """

    source: ClassVar[str] = "van den Oord+16, Salimans+17"
    scores: ClassVar[Mapping[str, str]] = {
        "bits_per_dim": "-log2 probability per observed pixel and band; follows brightness (Nalisnick+19)"
    }
    one_pass_sampling: ClassVar[bool] = False
    free_form_jacobian: ClassVar[bool] = False
    position: Tensor

    def __init__(
        self,
        *,
        channels: int,
        size: int,
        width: int = 24,
        layers: int = 5,
        mixtures: int = 5,
        levels: int = 256,
        low: float = -0.3,
        high: float = 1.3,
        learning_rate: float = 2e-3,
    ) -> None:
        super().__init__(channels=channels, size=size)
        if min(width, layers, mixtures) < 1:
            raise SpecError(
                f"a PixelCNN needs width, layers and mixtures of at least 1; got {width}, {layers}, {mixtures}"
            )
        self.bins = Bins(low, high, levels)
        self.bin_width = self.bins.width
        self.mixtures = mixtures
        self.learning_rate = learning_rate
        self._dilations = [2 ** (i % 3) for i in range(layers)]
        context = 2 * channels + 3
        self.enter_up = _Upward(context, width, _ENTRY_ROWS, _ENTRY_COLUMNS, strict=True)
        self.enter_left = _Leftward(context, width, _ENTRY_ROWS, strict=True)
        self.ups = nn.ModuleList(_Upward(width, 2 * width, 2, 3, d, strict=False) for d in self._dilations)
        self.links = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 1) for _ in self._dilations)
        self.horizontals = nn.ModuleList(_HorizontalLayer(width, d) for d in self._dilations)
        self.hidden = nn.Conv2d(width, 2 * width, 1)
        self.head = nn.Conv2d(2 * width, LogisticMixture.parameters_per_pixel(mixtures, channels), 1)
        axis = (torch.arange(size) + 0.5) * (2 / size) - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("position", torch.stack([y, x, torch.hypot(x, y)])[None], persistent=False)
        self._start_head(torch.linspace(0.1, 0.9, mixtures)[:, None].expand(-1, channels) * (high - low) + low, 0.1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def players(self) -> tuple[Player, ...]:
        """One player: the network."""
        modules = ("enter_up", "enter_left", "ups", "links", "horizontals", "hidden", "head")
        return (Player("network", modules, learning_rate=self.learning_rate),)

    @property
    def reach(self) -> tuple[int, int]:
        """How many rows up, and how many columns to the right in them, a pixel depends on; to the left it is more."""
        return _ENTRY_ROWS + sum(self._dilations), _ENTRY_COLUMNS // 2 + sum(self._dilations)

    @classmethod
    def tiny(cls) -> Self:
        """For 8 x 8 pixels in two bands."""
        return cls(channels=2, size=8, width=8, layers=3, mixtures=2, levels=64)

    @torch.no_grad()
    def _start_head(self, means: Tensor, scale: float) -> None:
        """Begin as one fixed mixture: component means (K, C) and one scale in stretched units."""
        count, half_range = self.mixtures * self.channels, (self.bins.high - self.bins.low) / 2
        self.head.weight.mul_(0.1)
        bias = self.head.bias
        if bias is not None:
            bias.zero_()
            bias[self.mixtures : self.mixtures + count] = means.flatten().to(bias) / half_range
            bias[self.mixtures + count : self.mixtures + 2 * count] = math.log(scale / half_range)

    def initialise(self, batch: Batch) -> None:
        """Spread the components' means over the training pixels' own quantiles: most pixels are sky."""
        self.check(batch)
        quantiles = torch.linspace(0, 1, self.mixtures + 2)[1:-1] ** 0.5
        bands = [batch.pixels[:, c][batch.observed[:, c]].double().cpu() for c in range(self.channels)]
        if all(len(band) for band in bands):
            # torch.quantile refuses large inputs; every n-th of the sorted values says enough.
            picks = [band.sort().values[(quantiles * (len(band) - 1)).long()] for band in bands]
            self._start_head(torch.stack(picks, dim=1), 0.05)

    def _context(self, values: Tensor, observed: Tensor) -> Tensor:
        """(B, 2C+3, H, W): values (0 where missing), flags (0 where missing, as in the padding), position."""
        known = torch.where(observed, values, torch.zeros_like(values)) * _CONTEXT_GAIN
        position = self.position.to(values.dtype).expand(len(values), -1, -1, -1)
        context = torch.cat([known, observed.to(values.dtype), position], dim=1)
        return context.contiguous(memory_format=torch.channels_last)

    def _vertical(self, context: Tensor) -> list[Tensor]:
        """What the vertical stack tells each horizontal layer; row y depends on rows above y alone."""
        v, raw = self.enter_up(context), None
        linked = []
        for up, link in zip(self.ups, self.links, strict=True):
            if raw is not None:
                v = v + _gate(raw)
            raw = up(v)
            linked.append(link(raw))
        return linked

    def _horizontal(self, context: Tensor, linked: list[Tensor]) -> Tensor:
        """Features (B, width, H, W) of whole images or of single rows: this stack never looks into another row."""
        h = self.enter_left(context)
        for layer, told in zip(self.horizontals, linked, strict=True):
            h = layer(h, told)
        return h

    def _mixture(self, h: Tensor) -> LogisticMixture:
        outputs = self.head(F.elu(self.hidden(F.elu(h))))
        return LogisticMixture.from_outputs(outputs, self.bins, self.mixtures, self.channels)

    def predict(self, values: Tensor, observed: Tensor) -> LogisticMixture:
        """Each pixel's mixture given the pixels before it; ``values`` (B, C, H, W) stretched, differentiable."""
        context = self._context(values, observed)
        return self._mixture(self._horizontal(context, self._vertical(context)))

    def _levels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Bin numbers (0 where missing) and bin centres in the network's precision."""
        self.check(batch)
        pixels = torch.where(batch.observed, batch.pixels, torch.zeros_like(batch.pixels))
        level = self.bins.level(pixels)
        return level, self.bins.centre(level, self.head.weight.dtype)

    def log_prob(self, batch: Batch) -> Tensor:
        """(B,) natural log of the probability of the observed pixels' bins."""
        level, values = self._levels(batch)
        return self.predict(values, batch.observed).log_prob(level, batch.observed).sum((1, 2))

    def loss(self, batch: Batch, player: str) -> Tensor:
        """Bits per observed pixel and band, over the whole batch."""
        if player != "network":
            raise ModelError(f"PixelCNN has no player {player!r}; its only player is network")
        observed = batch.observed.sum().clamp(min=1)
        return -self.log_prob(batch).sum() / (observed * math.log(2))

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """Each pixel's expectation given its true predecessors (B, C, H, W); missing pixels are filled in likewise."""
        level, values = self._levels(batch)
        return self.predict(values, batch.observed).expectation(level, batch.observed)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """(n, C, H, W) bin centres, drawn pixel by pixel: the vertical stack runs once a row, on the rows in reach."""
        weight = self.head.weight
        pixels = torch.zeros(n, self.channels, self.size, self.size, dtype=weight.dtype, device=weight.device)
        observed = torch.ones_like(pixels, dtype=torch.bool)
        context = self._context(pixels, observed)
        for y in range(self.size):
            top = max(0, y - self.reach[0])
            linked = [told[:, :, -1:] for told in self._vertical(context[:, :, top : y + 1])]
            for x in range(self.size):
                told_so_far = [told[..., : x + 1] for told in linked]
                h = self._horizontal(context[:, :, y : y + 1, : x + 1], told_so_far)
                level = self._mixture(h[..., -1:]).draw(generator)[..., 0, 0]
                pixels[:, :, y, x] = self.bins.centre(level, weight.dtype)
                context[:, : self.channels, y, x] = pixels[:, :, y, x] * _CONTEXT_GAIN
        return pixels
