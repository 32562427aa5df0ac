"""Networks f(z, t) of continuous flows whose exact trace costs no more than f itself, whatever is missing.

For a general network a trace takes as many passes as there are dimensions. With one or two hidden layers it does not:
for f = V s(U r(W z)) with elementwise s and r, tr(df/dz) = s'^T (U * (W V)^T) r', and the bracket stays the same all
along a solve. With missing entries W V is the sum over observed entries only, so the trace of the restricted map is
just as exact. Hidden units are tanh, at most with a linear part: far away f grows no faster than linearly, so that no
outlier makes the ODE unsolvable.

This file solves nothing and refuses deeper networks, which have no such trace.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from galflow.errors import SpecError
from galflow.layers.flows.continuous import Dynamics, VelocityAndTrace

_FIRST_SCALE = 0.1
"""Untrained dynamics move the data little, which is cheap to solve and easy to train from."""

_REACH = 2.0
"""Spread of the untrained first layer's arguments, times the root of the dimensions. With 6 the plane's densities are
learnt no better, and a quarter more evaluations solve them."""


def check_width(width: int) -> int:
    """``width`` itself, refused where it is no number of hidden units."""
    if width < 1:
        raise SpecError(f"width is {width}; dynamics need at least one hidden unit, such as 64")
    return width


class Clock(nn.Module):
    """Smooth functions of time, of times (B,) or one for all (1,); untrained they are little noise about zero."""

    waves: Tensor

    def __init__(self, outputs: int, waves: int = 1) -> None:
        super().__init__()
        self.register_buffer("waves", math.pi * torch.arange(1, waves + 1), persistent=False)
        self.layer = nn.Linear(1 + 2 * waves, outputs)
        nn.init.normal_(self.layer.weight, std=0.1)
        nn.init.zeros_(self.layer.bias)

    def forward(self, time: Tensor) -> Tensor:
        """(B, outputs) or (1, outputs)."""
        angle = time[:, None] * self.waves.to(time.dtype)
        return self.layer(torch.cat([time[:, None] - 0.5, angle.sin(), angle.cos()], 1))


def gate(raw: Tensor) -> Tensor:
    """A factor in 0..2, 1 for raw 0."""
    return 2 * torch.sigmoid(raw)


class DenseDynamics(Dynamics):
    """Two hidden layers of ``width`` units and a straight way past them: a free-form Jacobian.

    f = V tanh(g2 * (U tanh(a) + d) + c2) + L a + c3 with a = g1 * (W z + b) + c1 and g and c functions of time. The
    straight way does what a linear map can do (whitening), for which tanh is a poor tool.
    """

    def __init__(self, dimensions: int, width: int, waves: int = 1) -> None:
        super().__init__()
        self.parts = [check_width(width)] * 4 + [dimensions]
        self.enter = nn.Linear(dimensions, width)
        self.mix = nn.Linear(width, width)
        self.leave = nn.Linear(width, dimensions, bias=False)
        self.straight = nn.Linear(width, dimensions, bias=False)
        self.clock = Clock(4 * width + dimensions, waves)
        with torch.no_grad():
            self.leave.weight.mul_(_FIRST_SCALE)
            self.straight.weight.zero_()
            # Default layers see a plane through a few broad waves, and learn sharp edges late.
            self.enter.weight.normal_(std=_REACH / dimensions)
            self.enter.bias.uniform_(-_REACH / math.sqrt(dimensions), _REACH / math.sqrt(dimensions))
            self.mix.weight.normal_(std=1.2 / math.sqrt(width))

    def trace_terms(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """U * (W V)^T, restricted to observed entries: (H, H), or (B, H, H) where something is missing; diag(W L)."""
        enter, mix, leave = self.enter.weight, self.mix.weight, self.leave.weight
        past = mask @ (enter.T * self.straight.weight)
        if bool((mask == 1).all()):
            return mix * (enter @ leave).T, past
        pairs = leave[:, :, None] * enter.T[:, None, :]
        return mix * (mask @ pairs.flatten(1)).unflatten(1, mix.shape), past

    def _controls(self, time: Tensor) -> tuple[Tensor, ...]:
        g1, c1, g2, c2, c3 = self.clock(time).split(self.parts, 1)
        return gate(g1), c1, gate(g2), c2, c3

    def velocity(self, time: Tensor, state: Tensor) -> Tensor:
        """(B, D)."""
        g1, c1, g2, c2, c3 = self._controls(time)
        arrived = g1 * self.enter(state) + c1
        return self.leave(torch.tanh(g2 * self.mix(arrived.tanh()) + c2)) + self.straight(arrived) + c3

    def velocity_and_trace(
        self, time: Tensor, state: Tensor, mask: Tensor, trace_terms: tuple[Tensor, ...], probe: Tensor | None
    ) -> VelocityAndTrace:
        """Velocity (B, D), its exact trace, and its directional derivative."""
        g1, c1, g2, c2, c3 = self._controls(time)
        bent, past = trace_terms
        arrived = g1 * self.enter(state) + c1
        first = arrived.tanh()
        second = torch.tanh(g2 * self.mix(first) + c2)
        slope1, slope2 = g1 * (1 - first.square()), g2 * (1 - second.square())
        linked = slope1 @ bent.T if bent.ndim == 2 else torch.einsum("bkl,bl->bk", bent, slope1)
        tangent = None
        if probe is not None:
            entered = F.linear(probe, self.enter.weight)
            tangent = self.leave(slope2 * F.linear(slope1 * entered, self.mix.weight))
            tangent = (tangent + self.straight(g1 * entered)) * mask
        velocity = (self.leave(second) + self.straight(arrived) + c3) * mask
        return VelocityAndTrace(velocity, (slope2 * linked + g1 * past).sum(1), tangent)


class OneLayer(Dynamics):
    """One hidden layer, dense or convolutional: f = V (o * r(g * (W z + b) + c)) + d, all but W, V, b of time.

    r(a) = tanh(a) + leak a, with a leak for each unit or none.
    """

    leak: Tensor

    @abstractmethod
    def enter(self, state: Tensor, bias: bool) -> Tensor:
        """W z, with or without b."""

    @abstractmethod
    def leave(self, hidden: Tensor) -> Tensor:
        """V applied to the hidden units."""

    @abstractmethod
    def controls(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """o, g, c and d at times (B,) or (1,), each shaped to be multiplied with, or added to, what it controls."""

    def velocity(self, time: Tensor, state: Tensor) -> Tensor:
        """f, of the shape of ``state``."""
        out, inner, shift, drift = self.controls(time)
        arrived = inner * self.enter(state, bias=True) + shift
        return self.leave(out * (arrived.tanh() + self.leak * arrived)) + drift

    def velocity_and_trace(
        self, time: Tensor, state: Tensor, mask: Tensor, trace_terms: tuple[Tensor, ...], probe: Tensor | None
    ) -> VelocityAndTrace:
        """Velocity, its exact trace, and its directional derivative."""
        out, inner, shift, drift = self.controls(time)
        arrived = inner * self.enter(state, bias=True) + shift
        bent = arrived.tanh()
        slope = out * inner * (1 - bent.square() + self.leak)
        trace = (slope * trace_terms[0]).flatten(1).sum(1)
        tangent = None if probe is None else self.leave(slope * self.enter(probe, bias=False)) * mask
        hidden = out * (bent + self.leak * arrived)
        return VelocityAndTrace((self.leave(hidden) + drift) * mask, trace, tangent)


class PlanarDynamics(OneLayer):
    """dz/dt = sum over units n of o_n(t) u_n tanh(w_n . z + b_n) (Chen+18, equations 9 and 10): rank <= units."""

    def __init__(self, dimensions: int, units: int) -> None:
        super().__init__()
        self.inwards = nn.Linear(dimensions, check_width(units))
        self.outwards = nn.Linear(units, dimensions, bias=False)
        self.clock = Clock(units)
        self.register_buffer("leak", torch.zeros(()), persistent=False)
        with torch.no_grad():
            self.outwards.weight.mul_(_FIRST_SCALE)

    def enter(self, state: Tensor, bias: bool) -> Tensor:
        """(B, D) -> (B, N)."""
        return F.linear(state, self.inwards.weight, self.inwards.bias if bias else None)

    def leave(self, hidden: Tensor) -> Tensor:
        """(B, N) -> (B, D)."""
        return self.outwards(hidden)

    def controls(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Only the gate o_n(t), in 0..2."""
        out = gate(self.clock(time))
        return out, torch.ones_like(out), torch.zeros_like(out), out.new_zeros(())

    def trace_terms(self, mask: Tensor) -> tuple[Tensor]:
        """(B, N) u_n . w_n over observed entries."""
        return (mask @ (self.inwards.weight.T * self.outwards.weight),)


class ConvolutionalDynamics(OneLayer):
    """Two 3 x 3 convolutions around ``width`` hidden maps, gated and shifted with time; zeros beyond the edge."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.parts = [check_width(width)] * 3 + [channels]
        self.inwards = nn.Conv2d(channels, width, 3, padding=1)
        self.outwards = nn.Conv2d(width, channels, 3, padding=1, bias=False)
        self.clock = Clock(3 * width + channels)
        self.leak = nn.Parameter(torch.zeros(width, 1, 1))
        with torch.no_grad():
            self.outwards.weight.mul_(_FIRST_SCALE)

    def enter(self, state: Tensor, bias: bool) -> Tensor:
        """(B, C, h, w) -> (B, width, h, w)."""
        return F.conv2d(state, self.inwards.weight, self.inwards.bias if bias else None, padding=1)

    def leave(self, hidden: Tensor) -> Tensor:
        """(B, width, h, w) -> (B, C, h, w)."""
        return self.outwards(hidden)

    def controls(self, time: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gates and shifts of each map, the same over the image."""
        out, inner, shift, drift = self.clock(time)[:, :, None, None].split(self.parts, 1)
        return gate(out), gate(inner), shift, drift

    def trace_terms(self, mask: Tensor) -> tuple[Tensor]:
        """(B, width, h, w) how a hidden unit feeds back to the observed entries that it sees."""
        back = self.outwards.weight.transpose(0, 1).flip((2, 3))
        return (F.conv2d(mask, self.inwards.weight * back, padding=1),)
