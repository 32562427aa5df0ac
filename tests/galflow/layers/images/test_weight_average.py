"""The average of a network's weights against the formula, and what it leaves alone."""

import pytest
import torch
from torch import nn

from galflow.errors import SpecError
from galflow.layers.images.weight_average import WeightAverage


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def test_it_is_an_exponential_average_that_forgets_its_first_weights_faster() -> None:
    made = network()
    average = WeightAverage(made, 0.5)
    expected = float(made[0].weight[0, 0].detach())
    for n in range(40):
        with torch.no_grad():
            made[0].weight.fill_(float(n))
        average.update(made)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
        assert float(average.weights()["0.weight"][0, 0]) == pytest.approx(expected, rel=1e-5)
    assert float(average.weights()["0.weight"][0, 0]) == pytest.approx(38.0, abs=1e-3)  # decay / (1 - decay) behind


def test_through_the_averages_and_gradients_to_the_inputs_alone() -> None:
    made, first = network(), network()
    average = WeightAverage(made, 0.999)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3.0)
    inputs = torch.randn(4, 2, requires_grad=True)
    found = average.through(made, inputs)
    torch.testing.assert_close(found, first(inputs))
    found.sum().backward()
    assert inputs.grad is not None
    assert all(parameter.grad is None for parameter in made.parameters())
    average.store_in(made)
    torch.testing.assert_close(made(inputs), first(inputs))
    average.start(network())
    assert float(average.steps) == 0


def test_without_memory_the_network_is_its_own_average() -> None:
    made = network()
    average = WeightAverage(made, 0.0)
    assert list(dict(average.named_buffers())) == ["steps"]
    with torch.no_grad():
        made[0].bias.add_(1.0)
    average.update(made)
    average.store_in(made)
    inputs = torch.randn(4, 2)
    torch.testing.assert_close(average.through(made, inputs), made(inputs))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_beyond_its_range_is_refused(decay: float) -> None:
    with pytest.raises(SpecError, match=r"the average's decay is .*; it must lie in 0\.\.1"):
        WeightAverage(network(), decay)
