"""What the autoregressive models are told of the catalogue, and the average of their weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.models.pixelcnn import PixelCNN
from galflow.models.pixelcnn_pp import PixelCNNPP
from galflow.models.shared.autoregressive import Autoregressive

COLUMNS = ("magnitude", "half_light_radius_arcsec")
HEADS: dict[str, type[Autoregressive]] = {"softmax": PixelCNN, "logistic": PixelCNNPP}
VALUES = torch.tensor([[20.0, 0.5], [22.0, 0.7], [23.0, torch.nan], [19.0, 1.2]])


def conditioned(head: str, **options: Any) -> Autoregressive:
    """Untrained in double precision; what it says depends strongly on the conditions and the pixels before."""
    torch.manual_seed(0)
    model = HEADS[head](**{"width": 8, "layers": 2, "conditions": COLUMNS, **options}).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("head", "band_logits", "catalogue")) and parameter.ndim > 1:
                parameter.mul_(6)
    return model


def told(pixels: Tensor, values: Tensor) -> Batch:
    """A batch in which each object has these catalogue values."""
    return replace(Batch.of(pixels), conditions=values.expand(len(pixels), -1))


@pytest.mark.parametrize("head", list(HEADS))
def test_probabilities_given_the_catalogue_sum_to_one_and_depend_on_it(head: str) -> None:
    model = conditioned(head, channels=1, size=2, levels=3)
    model.initialise(told(torch.zeros(4, 1, 2, 2), VALUES))
    level = torch.cartesian_prod(*[torch.arange(3)] * 4)
    images = model.bins.centre(level, torch.float64).view(-1, 1, 2, 2)
    with torch.no_grad():
        found = [model.log_prob(told(images, values)).exp() for values in (VALUES[0], VALUES[1], VALUES[2])]
    for probability in found:
        assert float(probability.sum()) == pytest.approx(1.0, abs=1e-10)
    assert not torch.isclose(found[0], found[1], rtol=0.05).all()
    assert not torch.isclose(found[1], found[2], rtol=0.05).all()


@pytest.mark.parametrize("head", list(HEADS))
def test_cached_draws_are_those_of_whole_passes_for_the_same_catalogue_rows(head: str) -> None:
    model = conditioned(head, channels=2, size=7)
    data = told(torch.zeros(4, 2, 7, 7), VALUES)
    model.initialise(data)
    model.finish([data[:2], data[2:]])
    drawn = model.sample(6, torch.Generator().manual_seed(3))
    assert torch.equal(drawn, model.sample_naive(6, torch.Generator().manual_seed(3)))
    fixed = [model.sample_for(row.expand(5, -1), torch.Generator().manual_seed(1)) for row in VALUES[:2]]
    assert not torch.equal(fixed[0], fixed[1])
    assert torch.equal(model.complete(told(fixed[0], VALUES[0]), 3, torch.Generator().manual_seed(1)), fixed[0])


def test_draws_are_for_the_rows_of_the_training_catalogue() -> None:
    model = conditioned("logistic", channels=1, size=4)
    data = told(torch.zeros(4, 1, 4, 4), VALUES)
    model.initialise(data)
    model.finish([data])
    assert model.catalogue is not None
    contexts = model.catalogue.drawn(400, torch.Generator().manual_seed(0))
    rows, counts = contexts.unique(dim=0, return_counts=True)
    assert len(rows) == 4
    assert int(counts.min()) > 60
    torch.testing.assert_close(rows[:, :2].mean(0)[0], torch.zeros((), dtype=torch.float64), atol=1e-6, rtol=0)


def test_a_network_learns_brightness_from_the_catalogue() -> None:
    """Constant images whose value the catalogue states: draws for a value have it, after a hundred steps."""
    torch.manual_seed(0)
    model = PixelCNNPP(channels=1, size=4, width=8, layers=2, conditions=("level",), average=0.9, learning_rate=2e-2)
    value = torch.rand(64, 1)
    pixels = value[:, :, None, None] + 0.01 * torch.randn(64, 1, 4, 4)
    batch = replace(Batch.of(pixels), conditions=value)
    model.initialise(batch)
    optimiser = torch.optim.Adam(model.parameters(), lr=model.learning_rate)
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(batch, "network").backward()
        optimiser.step()
    model.eval()
    model.finish([batch])
    asked = torch.tensor([[0.1], [0.5], [0.9]]).repeat_interleave(40, 0)
    first = model.sample_for(asked, torch.Generator().manual_seed(2))[:, 0, 0, 0].view(3, 40).mean(1)
    torch.testing.assert_close(first, torch.tensor([0.1, 0.5, 0.9]), atol=0.1, rtol=0)


def test_training_ends_with_the_average_of_the_weights_on_its_way() -> None:
    torch.manual_seed(0)
    model = PixelCNNPP(channels=1, size=4, width=4, layers=1, average=0.5)
    batch = Batch.of(torch.rand(4, 1, 4, 4))
    model.initialise(batch)
    weight = model.stack.enter_up.weight
    first = weight.detach().clone()
    for step in range(3):
        with torch.no_grad():
            weight.fill_(float(step))
        model.loss(batch, "network")
    model.eval()
    model.loss(batch, "network")  # validation adds nothing to the average
    model.finish([batch])
    # Early averages forget faster: shares of the new weights are 9/10, 9/11 and 9/12.
    expected = ((first * 1 / 10 + 0.0) * 2 / 11 + 1.0 * 9 / 11) * 3 / 12 + 2.0 * 9 / 12
    torch.testing.assert_close(weight.detach(), expected)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(SpecError, match="conditions is the text 'magnitude'; give a list of catalogue columns"):
        PixelCNNPP(channels=1, size=4, conditions="magnitude")
    model = PixelCNNPP(channels=1, size=4, width=4, layers=1, conditions=("magnitude",))
    with pytest.raises(ModelError, match="PixelCNNPP is conditioned on magnitude, but the batch has no conditions"):
        model.log_prob(Batch.of(torch.zeros(1, 1, 4, 4)))
    with pytest.raises(ModelError, match=r"shape \(1, 2\) do not fit a network given 1 value\(s\)"):
        model.log_prob(told(torch.zeros(1, 1, 4, 4), VALUES[0]))
    with pytest.raises(ModelError, match="has no conditions to draw for; build it with conditions="):
        PixelCNNPP(channels=1, size=4, width=4, layers=1).sample_for(VALUES)
