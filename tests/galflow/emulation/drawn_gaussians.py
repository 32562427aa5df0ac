"""A WGAN that has learnt round Gaussians, and stored as a trained model: what it draws is known."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from galflow.models.base import GenerativeModel
from galflow.models.wgan import WGAN
from galflow.photometry import AsinhStretch
from galflow.spec.store import StoreSpec
from galflow.storage.store import Store
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel
from tests.galflow.emulation.stored_emulator import SIGMA

SIZE = 32
COLOUR = 1.5
"""Flux in r over that in g."""
STRETCH = AsinhStretch(3.0, 1000.0, SIGMA)


class DrawnGaussians(WGAN):
    """Draws of one Gaussian each, 2,000 to 200,000 nJy in g, 1.2 to 3 pixels wide, a bit off the middle, with noise."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        flux, width, y, x = torch.rand(4, n, generator=generator)
        total = 2000 * torch.exp(math.log(100) * flux)[:, None, None]
        sigma = (1.2 + 1.8 * width)[:, None, None]
        axis = torch.arange(SIZE, dtype=torch.float32) - (SIZE - 1) / 2
        away = (axis[:, None] - y[:, None, None] + 0.5) ** 2 + (axis - x[:, None, None] + 0.5) ** 2
        one = total * torch.exp(-away / (2 * sigma**2)) / (2 * math.pi * sigma**2)
        light = torch.stack([one, COLOUR * one], 1)
        noise = torch.tensor(SIGMA)[:, None, None] * torch.randn(light.shape, generator=generator)
        return STRETCH.forward((light + noise).double(), torch).float()


GAN_ARGUMENTS = {"channels": 2, "size": SIZE, "latent": 4, "width": 8}


def store_untrained(folder: Path, kind: type[GenerativeModel], arguments: dict[str, int]) -> str:
    """The URI of a stored model that has learnt nothing."""
    torch.manual_seed(0)
    module = kind(**arguments)
    card = ModelCard(
        name="gan", model=f"{kind.__module__}.{kind.__name__}", model_version=kind.version, source=kind.source,
        arguments=arguments,
        cutouts={"size": SIZE}, bands=("g", "r"), unit="nJy", stretch=StretchCard.of(STRETCH), bin_width=None,
        training={}, curves=(), metrics={}, scores=dict(kind.scores), main_score=next(iter(kind.scores)), abilities={},
        fingerprint="fedcba9876543210", code_version="0",
    )  # fmt: skip
    key = f"models/{kind.__name__}/fedcba9876543210"
    TrainedModel(card, module.eval(), {}).save(Store.of(StoreSpec(root=str(folder))), key)
    return f"file://{folder}/{key}"
