"""PixelCNN's own: where its softmax starts, and what it refuses; the rest is in test_autoregressive.py."""

from __future__ import annotations

import math

import pytest
import torch

from galflow.batch import Batch
from galflow.errors import SpecError
from galflow.models.pixelcnn import PixelCNN


def test_it_starts_at_the_frequencies_of_the_levels() -> None:
    """Each band's own, of observed pixels alone: within a tenth of a bit of the entropy of their histogram."""
    generator = torch.Generator().manual_seed(6)
    pixels = torch.rand(32, 2, 8, 8, generator=generator) < torch.tensor([0.2, 0.7]).view(1, 2, 1, 1)
    pixels = 0.3 + 0.5 * pixels.float()
    observed = torch.rand(pixels.shape, generator=generator) > 0.3
    batch = Batch(torch.where(observed, pixels, torch.tensor(math.nan)), observed)
    torch.manual_seed(0)
    model = PixelCNN(channels=2, size=8, width=8, layers=2, levels=16)
    assert model.loss(batch, "network") > 3
    model.initialise(batch)
    entropy = 0.0
    for band in range(2):
        share = float((pixels[:, band][observed[:, band]] > 0.5).float().mean())
        entropy -= (share * math.log2(share) + (1 - share) * math.log2(1 - share)) / 2
    assert float(model.loss(batch, "network").detach()) == pytest.approx(entropy, abs=0.1)


def test_a_batch_without_pixels_starts_it_at_equal_shares() -> None:
    torch.manual_seed(0)
    model = PixelCNN(channels=1, size=4, width=8, layers=1, levels=4)
    nothing = Batch(torch.full((2, 1, 4, 4), math.nan), torch.zeros(2, 1, 4, 4, dtype=torch.bool))
    model.initialise(nothing)
    assert model.loss(nothing, "network") == 0
    torch.testing.assert_close(model.band_logits.last[0].get_parameter("bias").softmax(0), torch.full((4,), 0.25))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(SpecError, match="width and layers of at least 1; got 24, 0"):
        PixelCNN(channels=1, size=8, layers=0)
