"""A gated stack that grows with the image: every activation that later pixels need is kept (Ramachandran+17).

One pixel costs one pixel's work: the vertical stack runs once a row, on cached rows; the horizontal one adds a few
small matrix products a pixel. It has no parameters of its own and does no gradients: it serves sampling alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from galflow.errors import ModelError

if TYPE_CHECKING:
    from galflow.layers.pixels.gated_stack import GatedStack


def _taps(kernel: Tensor) -> Tensor:
    """(rows * columns * inputs, outputs): a convolution's kernel as the matrix behind its gathered inputs."""
    return kernel.permute(2, 3, 1, 0).flatten(0, 2).contiguous()


def _halve_second(x: Tensor) -> Tensor:
    """Half of the gates' arguments in the last dimension: sigmoid(b) = (1 + tanh(b/2)) / 2 makes both halves a tanh."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a, b / 2], dim=-1)


class CachedStack:
    """The features of ``GatedStack`` at one pixel after the other, in raster order, for ``n`` images at once.

    Call ``step(None)`` for the features of the first pixel, then ``step(context)`` with the context maps of the pixel
    just visited for those of the next. Layouts: rows are (column, image, feature), so that a shift along the row is a
    slice.
    """

    def __init__(
        self, stack: GatedStack, n: int, height: int, width: int, condition: Tensor | None, dtype: torch.dtype
    ) -> None:
        def weight(layer: nn.Module) -> Tensor:
            return layer.get_parameter("weight").detach().to(dtype)

        def bias(layer: nn.Module) -> Tensor:
            return layer.get_parameter("bias").detach().to(dtype)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=stack.enter_up.weight.device)

        features, context, layers = stack.width, stack.context, len(stack.dilations)
        self.n, self.height, self.width, self.context = n, height, width, context
        self._dilations = stack.dilations
        self._at = 0
        # Vertical: weights, and the rows that the rows below will need.
        rows, columns = stack.enter_up.kernel_size
        self._entry = (_taps(weight(stack.enter_up)), bias(stack.enter_up))
        self._ups = [(_taps(weight(up)), bias(up)) for up in stack.ups]
        self._links = [_halve_second(weight(link)[:, :, 0, 0].T).contiguous() for link in stack.links]
        beside_bias = [bias(left) + bias(link) for left, link in zip(stack.lefts, stack.links, strict=True)]
        self._told_bias = [_halve_second(bias) for bias in beside_bias]
        self._rows_above = zeros(rows, width + columns - 1, n, context)
        self._vertical = [zeros(d + 1, width + 2 * d, n, features) for d in stack.dilations]
        # Horizontal: matrices of all layers, and a row of what is to the left, stored where it will be needed.
        before, here = zip(*(weight(left)[:, :, 0].unbind(-1) for left in stack.lefts), strict=True)
        self._before = _halve_second(torch.stack(before).transpose(1, 2)).contiguous()
        self._here = _halve_second(torch.stack(here).transpose(1, 2)).contiguous().unbind(0)
        self._outs = [torch.cat([weight(out)[:, :, 0, 0].T / 2, bias(out)[None]]).contiguous() for out in stack.outs]
        self._look_back = stack.enter_left.kernel_size[1]
        self._enter_left = (_taps(weight(stack.enter_left)), bias(stack.enter_left))
        self._row = zeros(n, (width + self._look_back) * context)
        self._told = zeros(layers, width, n, 2 * features)
        self._left = zeros(layers, width + max(stack.dilations), n, features)
        span = self._left.shape[1]
        base = torch.tensor([i * span + d for i, d in enumerate(stack.dilations)], device=self._left.device)
        self._places = [base + x for x in range(width)]
        # Buffers of one pixel.
        self._h = zeros(layers + 1, n, features)
        self._h_of = self._h.unbind(0)
        self._pair = zeros(n, 2 * features)
        self._halves = self._pair.chunk(2, dim=1)
        self._gated = zeros(n, features + 1)
        self._gated[:, -1] = 1  # behind it stands the bias: one matrix product less an addition
        self._gates = self._gated[:, :-1]
        self._conditions: list[Tensor] = []
        if condition is not None:
            maps = condition.to(dtype).permute(2, 3, 0, 1)  # (y, x, image, map)
            self._conditions = [maps @ weight(layer)[:, :, 0, 0].T for layer in stack.conditions]

    @torch.no_grad()
    def step(self, drawn: Tensor | None) -> Tensor:
        """(n, width) features of the next pixel; ``drawn`` (n, K): the context maps of the pixel before it.

        The result is a buffer that the next call overwrites.
        """
        if (drawn is None) != (self._at == 0) or self._at >= self.height * self.width:
            raise ModelError(
                f"step {self._at} of {self.height * self.width} was given "
                f"{'no context' if drawn is None else 'a context'}; give None for the first pixel and the context maps "
                "of the pixel before for every other, once a pixel"
            )
        y, x = divmod(self._at, self.width)
        if drawn is not None:
            place = (x or self.width) - 1 + self._look_back
            self._row[:, place * self.context : (place + 1) * self.context] = drawn
        if x == 0:
            self._begin_row(y)
        self._at += 1
        return self._visit(x)

    def _visit(self, x: int) -> Tensor:
        """The horizontal stack at column x of the current row."""
        kernel, bias = self._enter_left
        seen = self._row[:, x * self.context : (x + self._look_back) * self.context]
        torch.addmm(bias, seen, kernel, out=self._h_of[0])
        told = torch.baddbmm(self._told[:, x], self._left[:, x], self._before)
        a, b = self._halves
        for i, known in enumerate(told.unbind(0)):
            torch.addmm(known, self._h_of[i], self._here[i], out=self._pair)
            torch.tanh(self._pair, out=self._pair)
            torch.addcmul(a, a, b, out=self._gates)
            torch.addmm(self._h_of[i], self._gated, self._outs[i], out=self._h_of[i + 1])
        self._left.flatten(0, 1).index_copy_(0, self._places[x], self._h[:-1])
        return self._h_of[-1]

    def _begin_row(self, y: int) -> None:
        """The vertical stack along row y, once the row above is complete; then a fresh row."""
        if y > 0:
            side = (self._rows_above.shape[1] - self.width) // 2
            places = self._look_back + self.width
            finished = self._row.view(self.n, places, self.context)[:, self._look_back :].transpose(0, 1)
            self._rows_above = self._rows_above.roll(-1, 0)
            self._rows_above[-1, side : side + self.width] = finished
            self._row.zero_()
            self._left.zero_()
        kernel, bias = self._entry
        v = self._along(self._rows_above, 1, kernel, bias)
        for i, d in enumerate(self._dilations):
            rows = self._vertical[i] = self._vertical[i].roll(-1, 0)
            rows[-1, d : d + self.width] = v
            raw = self._along(rows[[0, -1]], d, *self._ups[i])
            told = self._told_bias[i]
            if self._conditions:
                above_told, beside_told = self._conditions[i][y].chunk(2, dim=-1)
                raw, told = raw + above_told, told + _halve_second(beside_told)
            self._told[i] = raw @ self._links[i] + told
            a, b = raw.chunk(2, dim=-1)
            v = v + torch.tanh(a) * torch.sigmoid(b)

    def _along(self, rows: Tensor, dilation: int, kernel: Tensor, bias: Tensor) -> Tensor:
        """(width, n, outputs) of a convolution along padded ``rows`` (rows, padded width, n, inputs)."""
        columns = (rows.shape[1] - self.width) // dilation + 1
        shifts = [c * dilation for c in range(columns)]
        gathered = torch.cat([row[s : s + self.width] for row in rows for s in shifts], dim=-1)
        return torch.addmm(bias, gathered.flatten(0, 1), kernel).unflatten(0, (self.width, self.n))
