"""Networks that tell each entry of a vector what the entries before it imply, in one pass: the heart of MAF and TAN.

Each gives P numbers an entry that depend on earlier entries alone, so that any map of an entry by its own numbers has a
triangular Jacobian. ``sequential_inverse`` visits the entries one by one, for the inverse and for samples, and reuses
at each visit what earlier ones have computed. This file knows no density and no image. It does not use zuko's masked
network, whose hidden units look at the first entries only where there are fewer units than entries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from galflow.errors import SpecError

REACH = 30.0
"""Networks see entries clamped to +-30 standard deviations, so that their outputs stay finite for any input; the entry
itself is mapped as it is."""
_QUIET = 0.1
"""Output weights begin small: every layer starts close to a map that its biases alone set."""

EntryInverse = Callable[[int, Tensor], Tensor]
"""(entry, its numbers (B, P)) -> its value (B,)."""


class Conditioner(nn.Module, ABC):
    """(B, D) values -> (B, D, P) numbers; those of an entry depend on the entries before it alone."""

    entries: int
    numbers: int
    last: nn.Linear

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, D, P) in one pass."""

    @abstractmethod
    def sequential_inverse(self, rows: int, find: EntryInverse) -> Tensor:
        """(rows, D) values that ``find`` gives, asked for entry after entry, each with its numbers given the former."""

    @torch.no_grad()
    def start(self, numbers: Tensor) -> None:
        """Begin with the same numbers (P,) for every entry, almost whatever stands before it."""
        self.last.weight.mul_(_QUIET)
        self.last.bias.copy_(numbers.repeat(len(self.last.bias) // len(numbers)))


class _MaskedLinear(nn.Linear):
    """A linear layer with some weights held at zero."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def masked(self) -> Tensor:
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.masked(), self.bias)


class MaskedNetwork(Conditioner):
    """Masked dense layers (MADE, Germain+15). ``order`` (D,) is each entry's place, 0 for the one visited first.

    The hidden units' degrees are spread evenly over the places, also where there are fewer units than entries; then an
    entry does not see the D / width entries just before it, but does through another layer of another order.
    """

    last: _MaskedLinear

    def __init__(self, *, order: Tensor, numbers: int, width: int, hidden_layers: int) -> None:
        super().__init__()
        if min(width, hidden_layers) < 1:
            raise SpecError(
                f"a masked network needs at least one hidden layer of one unit; "
                f"got width={width} and hidden_layers={hidden_layers}, where 256 and 2 would do"
            )
        self.entries, self.numbers = len(order), numbers
        self._visits = order.argsort().tolist()
        self._order = order.tolist()
        degree = torch.arange(width) * max(self.entries - 1, 1) // width
        self.first = _MaskedLinear(order[None] <= degree[:, None])
        self.middle = nn.ModuleList(_MaskedLinear(degree[None] <= degree[:, None]) for _ in range(hidden_layers - 1))
        self.last = _MaskedLinear((degree[None] < order[:, None]).repeat_interleave(numbers, 0))
        self.activation = nn.SiLU()

    def forward(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, D, P)."""
        hidden = self.activation(self.first(values.clamp(-REACH, REACH)))
        for layer in self._middle():
            hidden = self.activation(layer(hidden))
        return self.last(hidden).unflatten(1, (self.entries, self.numbers))

    def _middle(self) -> list[_MaskedLinear]:
        return list(self.middle)  # type: ignore[arg-type]

    def sequential_inverse(self, rows: int, find: EntryInverse) -> Tensor:
        """(rows, D): a visit costs the hidden layers and one entry's weights at either end."""
        entering = self.first.masked()
        middle = [(layer.masked(), layer.bias) for layer in self._middle()]
        leaving = self.last.masked().unflatten(0, (self.entries, self.numbers))
        bias = self.last.bias.unflatten(0, (self.entries, self.numbers))
        before = self.first.bias.expand(rows, -1)
        found: list[Tensor] = []
        for entry in self._visits:
            hidden = self.activation(before)
            for weight, shift in middle:
                hidden = self.activation(F.linear(hidden, weight, shift))
            found.append(find(entry, F.linear(hidden, leaving[entry], bias[entry])))
            before = before + found[-1].clamp(-REACH, REACH)[:, None] * entering[:, entry]
        return torch.stack([found[place] for place in self._order], 1)


class RecurrentNetwork(Conditioner):
    """A gated recurrent unit runs along the entries; its state is what an entry knows (RAM, Oliva+18)."""

    def __init__(self, *, entries: int, numbers: int, state: int, width: int) -> None:
        super().__init__()
        if min(state, width) < 1:
            raise SpecError(f"a recurrent network needs a state and a width of at least 1; got {state} and {width}")
        self.entries, self.numbers = entries, numbers
        self.cell = nn.GRU(1, state, batch_first=True)
        self.place = nn.Parameter(torch.zeros(entries, width))
        self.hidden = nn.Linear(state, width)
        self.last = nn.Linear(width, numbers)
        self.activation = nn.SiLU()

    def train(self, mode: bool = True) -> Self:
        """As any module's; the unit, which is the same in both modes, stays in training: cuDNN has no gradient else."""
        super().train(mode)
        self.cell.train()
        return self

    def _numbers(self, state: Tensor, place: Tensor) -> Tensor:
        return self.last(self.activation(self.hidden(state) + place))

    def forward(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, D, P)."""
        states, _ = self.cell(values[:, :-1, None].clamp(-REACH, REACH)) if self.entries > 1 else (None, None)
        first = values.new_zeros(len(values), 1, self.cell.hidden_size)
        known = first if states is None else torch.cat([first, states], 1)
        return self._numbers(known, self.place)

    def sequential_inverse(self, rows: int, find: EntryInverse) -> Tensor:
        """(rows, D): a visit is one step of the recurrent unit."""
        state = self.place.new_zeros(1, rows, self.cell.hidden_size)
        found: list[Tensor] = []
        for entry in range(self.entries):
            if found:
                _, state = self.cell(found[-1].clamp(-REACH, REACH)[:, None, None], state)
            found.append(find(entry, self._numbers(state[0], self.place[entry])))
        return torch.stack(found, 1)


MOST_LINEAR_ENTRIES = 256
"""Beyond this the D * (D - 1) / 2 vectors of a LinearNetwork would be the whole model."""


class LinearNetwork(Conditioner):
    """Each entry has linear features of its own of the entries before it, then one small network (LAM, Oliva+18)."""

    earlier: Tensor

    def __init__(self, *, entries: int, numbers: int, state: int, width: int) -> None:
        super().__init__()
        if min(state, width) < 1:
            raise SpecError(f"a linear network needs a state and a width of at least 1; got {state} and {width}")
        if entries > MOST_LINEAR_ENTRIES:
            raise SpecError(
                f"a linear conditional has weights for each pair of numbers and takes at most {MOST_LINEAR_ENTRIES}; "
                f'an image of {entries} (bands x size x size) needs conditional="masked" or "recurrent"'
            )
        self.entries, self.numbers = entries, numbers
        self.weight = nn.Parameter(torch.randn(entries, state, entries) / entries**0.5)
        self.bias = nn.Parameter(torch.zeros(entries, state))
        self.hidden = nn.Linear(state, width)
        self.last = nn.Linear(width, numbers)
        self.activation = nn.SiLU()
        self.register_buffer("earlier", torch.ones(entries, entries).tril(-1)[:, None], persistent=False)

    def _numbers(self, features: Tensor) -> Tensor:
        return self.last(self.activation(self.hidden(self.activation(features))))

    def forward(self, values: Tensor) -> Tensor:
        """(B, D) -> (B, D, P)."""
        weight = (self.weight * self.earlier).flatten(0, 1)
        features = F.linear(values.clamp(-REACH, REACH), weight, self.bias.flatten())
        return self._numbers(features.unflatten(1, self.bias.shape))

    def sequential_inverse(self, rows: int, find: EntryInverse) -> Tensor:
        """(rows, D): a visit costs one entry's features."""
        found: list[Tensor] = []
        for entry in range(self.entries):
            features = self.bias[entry].expand(rows, -1)
            if found:
                known = torch.stack(found, 1).clamp(-REACH, REACH)
                features = F.linear(known, self.weight[entry, :, :entry], self.bias[entry])
            found.append(find(entry, self._numbers(features)))
        return torch.stack(found, 1)
