"""The causal backbone of the autoregressive models: context maps in, features out, and no look at what comes later.

It knows neither pixels nor probabilities: what the context maps mean, and what is read off the features, is the
business of the model that owns it. Sampling from cached activations is in ``cached_stack``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.errors import ModelError, SpecError
from galflow.layers.pixels.cached_stack import CachedStack

ENTRY_ROWS, ENTRY_COLUMNS = 4, 7
"""The first, wide look back: 4 rows up and 3 columns to either side; 4 columns to the left in the current row."""


def gate(x: Tensor) -> Tensor:
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


class GatedStack(nn.Module):
    """Vertical and horizontal stacks of gated convolutions (van den Oord+16, figure 2), without a blind spot.

    The vertical stack sees the rows above, the horizontal one the pixels to the left and, layer by layer, what the
    vertical one tells. Instead of masks, kernels are shifted and cut, so that no weight is wasted. Dilations 1, 2, 4
    in turn widen the reach (see ``reach``) at no cost; the published network has none and is deeper.

    ``context``: maps K that stand before each pixel. ``condition``: maps that are known everywhere beforehand; each
    layer adds a linear function of a pixel's own maps in front of its gates (van den Oord+16, section 2.4). Through the
    stacks they also reach pixels around it, but no row above: whoever wants a pixel to know the conditions below it
    runs ordinary convolutions over them first.
    """

    def __init__(self, context: int, width: int, layers: int, condition: int = 0) -> None:
        super().__init__()
        if min(context, width, layers) < 1 or condition < 0:
            raise SpecError(
                f"a gated stack needs context, width and layers of at least 1 and condition of at least 0; "
                f"got {context}, {width}, {layers} and {condition}"
            )
        self.context, self.width, self.condition = context, width, condition
        self.dilations = tuple(2 ** (i % 3) for i in range(layers))
        self.enter_up = _Upward(context, width, ENTRY_ROWS, ENTRY_COLUMNS, strict=True)
        self.enter_left = _Leftward(context, width, ENTRY_ROWS, strict=True)
        self.ups = nn.ModuleList(_Upward(width, 2 * width, 2, 3, d, strict=False) for d in self.dilations)
        self.links = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 1) for _ in self.dilations)
        self.lefts = nn.ModuleList(_Leftward(width, 2 * width, 2, d, strict=False) for d in self.dilations)
        self.outs = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in self.dilations)
        conditions = self.dilations if condition else ()
        self.conditions = nn.ModuleList(nn.Conv2d(condition, 4 * width, 1, bias=False) for _ in conditions)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def reach(self) -> tuple[int, int]:
        """How many rows up, and how many columns to the right in them, a pixel depends on; to the left it is more."""
        return ENTRY_ROWS + sum(self.dilations), ENTRY_COLUMNS // 2 + sum(self.dilations)

    def check_condition(self, condition: Tensor | None, n: int, height: int, width: int) -> None:
        """Refuse conditions that are not the (n, condition, height, width) that the stack was built for."""
        given = None if condition is None else tuple(condition.shape)
        expected = (n, self.condition, height, width) if self.condition else None
        if given != expected:
            raise ModelError(
                f"the gated stack takes conditions of shape {expected} (batch, maps, y, x), but was given {given}; "
                "build it with condition= the number of maps, and pass as many as images"
            )

    def forward(self, context: Tensor, condition: Tensor | None = None, *, dropout: float = 0.0) -> Tensor:
        """(B, width, H, W) features at (y, x) of ``context`` (B, K, H, W) at the pixels before (y, x) in raster order.

        ``condition``: (B, condition, H, W). ``dropout``: the fraction of the gates' outputs in the horizontal stack
        that is dropped at random (the caller says so in training; 0 makes the result deterministic).
        """
        self.check_condition(condition, len(context), *context.shape[-2:])
        context = context.contiguous(memory_format=torch.channels_last)  # a sixth faster in training
        v, h = self.enter_up(context), self.enter_left(context)
        for i, (up, link, left, out) in enumerate(zip(self.ups, self.links, self.lefts, self.outs, strict=True)):
            raw, beside = up(v), left(h)
            if condition is not None:
                above_told, beside_told = self.conditions[i](condition).chunk(2, dim=1)
                raw, beside = raw + above_told, beside + beside_told
            gated = gate(beside + link(raw))
            h = h + out(F.dropout(gated, dropout) if dropout else gated)
            if i + 1 < len(self.ups):
                v = v + gate(raw)
        return h

    @torch.no_grad()
    def cached(
        self, n: int, height: int, width: int, condition: Tensor | None = None, dtype: torch.dtype = torch.float64
    ) -> CachedStack:
        """The same features for ``n`` images that grow pixel by pixel, at one pixel's cost a pixel.

        In double precision by default: convolutions of other shapes add in another order, and only there is what is
        left of the difference too small to change a draw.
        """
        self.check_condition(condition, n, height, width)
        return CachedStack(self, n, height, width, condition, dtype)
