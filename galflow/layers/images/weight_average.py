"""An exponential average of a network's weights, which wavers less than the weights do while two networks compete.

It holds buffers, no parameters: nobody's optimiser moves it, and it is stored and resumed with the model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from galflow.errors import SpecError
from galflow.layers.images.gan_networks import frozen


class WeightAverage(nn.Module):
    """The average of the weights of one network, older ones forgotten by ``decay`` a step (Karras+18, Yazici+19).

    Early averages forget faster, (1 + n) / (10 + n) after n steps, so that a short training does not draw with its
    first weights. With a ``decay`` of 0 nothing is kept: the network itself is its average.
    """

    steps: Tensor

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        if not 0.0 <= decay < 1.0:
            raise SpecError(f"the average's decay is {decay}; it must lie in 0..1 (1 excluded), such as 0.999")
        self.decay = decay
        for name, value in network.named_parameters() if decay else ():
            self.register_buffer(_flat(name), value.detach().clone())
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def start(self, network: nn.Module) -> None:
        """Forget everything: the network's weights as they are."""
        self.steps.zero_()
        for name, average in self.weights().items():
            average.copy_(network.get_parameter(name))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present weights."""
        share = 1 - torch.clamp((1 + self.steps) / (10 + self.steps), max=self.decay)
        for name, average in self.weights().items():
            average.lerp_(network.get_parameter(name), share.to(average.dtype))
        self.steps += 1

    def weights(self) -> dict[str, Tensor]:
        """Averages by the names of the network's parameters."""
        return {name.replace(_DOT, "."): value for name, value in self.named_buffers() if name != "steps"}

    @torch.no_grad()
    def store_in(self, network: nn.Module) -> None:
        """Give the network the averages for weights."""
        for name, average in self.weights().items():
            network.get_parameter(name).copy_(average)

    def through(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """What the network makes of ``inputs`` with the averages for weights; gradients reach the inputs alone."""
        if not self.decay:
            return frozen(network, *inputs)
        found: Tensor = functional_call(network, self.weights(), inputs)
        return found


_DOT = "/"
"""Stands for the dot in a parameter's name, which a buffer's may not hold."""


def _flat(name: str) -> str:
    return name.replace(".", _DOT)
