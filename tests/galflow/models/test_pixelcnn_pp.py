"""PixelCNN++'s own: where its two heads start, what sets them apart, and what is refused."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.models.pixelcnn_pp import PixelCNNPP

Head = Literal["logistic_mixture", "gaussian"]
HEADS: list[Head] = ["logistic_mixture", "gaussian"]


@pytest.mark.parametrize("head", HEADS)
def test_it_starts_near_the_data(head: Head) -> None:
    pixels = 0.05 * torch.randn(16, 2, 8, 8, generator=torch.Generator().manual_seed(6))
    torch.manual_seed(0)
    model = PixelCNNPP(channels=2, size=8, width=8, layers=2, head=head)
    before = float(model.loss(Batch.of(pixels), "network").detach())
    nothing = Batch(torch.full_like(pixels, math.nan), torch.zeros_like(pixels, dtype=torch.bool))
    model.initialise(nothing)
    assert model.loss(nothing, "network") == 0
    assert float(model.loss(Batch.of(pixels), "network").detach()) == before
    model.initialise(Batch.of(pixels))
    assert float(model.loss(Batch.of(pixels), "network").detach()) < before - 0.3


def peaks(masses: Tensor) -> Tensor:
    """(B,) how many bins are more probable than both their neighbours."""
    return ((masses[:, 1:-1] > masses[:, :-2]) & (masses[:, 1:-1] > masses[:, 2:])).sum(1)


def test_the_gaussian_head_has_one_peak_and_the_mixture_as_many_as_it_has_components() -> None:
    batch = Batch.of(torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)))
    found = []
    for head in HEADS:
        torch.manual_seed(0)
        model = PixelCNNPP(channels=1, size=8, width=8, layers=2, mixtures=3, head=head)
        with torch.no_grad():  # narrow components
            first = 1 + 1 if head == "gaussian" else 3 + 3
            model.get_parameter("head.3.bias")[first:] -= 1.5
        found.append(peaks(model.pixel_distribution(batch, 4, 4)[1]))
    assert (found[0] == 3).all()
    assert (found[1] == 1).all()


def test_mixtures_plays_no_part_in_the_gaussian_head() -> None:
    shapes = [
        [p.shape for p in PixelCNNPP(channels=2, size=8, mixtures=k, head="gaussian").parameters()] for k in (1, 7)
    ]
    assert shapes[0] == shapes[1]


def test_impossible_options_are_refused() -> None:
    with pytest.raises(SpecError, match="width, layers and mixtures of at least 1; got 24, 5, 0"):
        PixelCNNPP(channels=1, size=8, mixtures=0)
    with pytest.raises(SpecError, match="head 'softmax' is unknown; choose one of logistic_mixture, gaussian"):
        PixelCNNPP(channels=1, size=8, head="softmax")  # type: ignore[arg-type]
