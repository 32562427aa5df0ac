"""Synthetic galaxies and a small training loop shared by the model tests; the real loop is galflow.training.fit."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle
from operator import attrgetter

import pytest
import torch

from galflow.batch import Batch
from galflow.models.base import Conditional, GenerativeModel, all_models
from galflow.training.gpu_arithmetic import full_float32

DEVICE = torch.device(os.environ.get("GALFLOW_TEST_DEVICE", "cpu"))
"""Where models and batches of these tests are: ``GALFLOW_TEST_DEVICE=cuda`` for the contract tests on a GPU."""
SKY_SIGMA = 0.05
"""Noise of the stretched sky, as in real stretched cutouts."""

Train = Callable[..., None]
Blobs = Callable[..., Batch]


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """On a GPU as galflow scores there; on a CPU it changes nothing."""
    with full_float32(deterministic=True):
        yield


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where the models of ``trained`` and the batches of ``blobs`` are."""
    return DEVICE


def make_blobs(model: GenerativeModel, n: int, seed: int = 0) -> Batch:
    """Round Gaussian galaxies near the centre, with noise, and whatever else the model may ask of a batch."""
    draw = torch.Generator().manual_seed(seed)
    peak = 0.3 + 0.7 * torch.rand(n, 1, 1, 1, generator=draw)
    radius = model.size * (0.08 + 0.10 * torch.rand(n, 1, 1, 1, generator=draw))
    centre = (model.size - 1) / 2 + 0.3 * torch.randn(n, 2, 1, 1, generator=draw)
    axis = torch.arange(model.size, dtype=torch.float32)
    y, x = axis.view(1, 1, -1, 1), axis.view(1, 1, 1, -1)
    r2 = (y - centre[:, :1]) ** 2 + (x - centre[:, 1:]) ** 2
    colour = torch.linspace(1.0, 0.6, model.channels).view(1, -1, 1, 1)
    clean = peak * colour * torch.exp(-0.5 * r2 / radius**2)
    pixels = clean + SKY_SIGMA * torch.randn(clean.shape, generator=draw)
    kernel = torch.exp(-0.5 * torch.tensor([-1.0, 0.0, 1.0]) ** 2)
    psf = torch.outer(kernel, kernel) / kernel.sum() ** 2
    known = torch.cat([peak.log(), (radius / model.size).log(), centre / model.size], dim=1).flatten(1)
    conditions = None
    if isinstance(model, Conditional):
        conditions = known[:, torch.arange(len(model.conditions)) % known.shape[1]]
    return Batch(
        pixels=pixels,
        observed=torch.ones_like(pixels, dtype=torch.bool),
        ivar=torch.full_like(pixels, SKY_SIGMA**-2),
        psf=psf.expand(n, model.channels, 3, 3).clone(),
        conditions=conditions,
    ).to(DEVICE)


def train_model(model: GenerativeModel, data: Batch, rounds: int, batch_size: int = 32, seed: int = 0) -> None:
    """Per phase and per round, each player makes its Adam steps, each on the next batch of ``data``."""
    batches = [data[start : start + batch_size] for start in range(0, len(data), batch_size)]
    torch.manual_seed(seed)
    model.train()
    model.initialise(batches[0])
    supply = cycle(batches)
    phases = sorted({player.phase for player in model.players})
    for phase in phases:
        if phase != phases[0]:
            model.begin_phase(phase, batches)
        players = [player for player in model.players if player.phase == phase]
        optimisers = {
            player.name: torch.optim.Adam(owned(model, player.modules), lr=player.learning_rate, betas=player.betas)
            for player in players
        }
        for _ in range(rounds):
            for player in players:
                for _ in range(player.steps):
                    optimisers[player.name].zero_grad()
                    model.loss(next(supply), player.name).backward()
                    optimisers[player.name].step()
    model.finish(batches)
    model.eval()


def owned(model: GenerativeModel, modules: tuple[str, ...]) -> list[torch.nn.Parameter]:
    """The parameters that a player's module (or parameter) names reach."""
    found: list[torch.nn.Parameter] = []
    for name in modules:
        part = attrgetter(name)(model)
        found.extend([part] if isinstance(part, torch.nn.Parameter) else part.parameters())
    return found


@pytest.fixture(scope="session")
def blobs() -> Blobs:
    """``blobs(model, n, seed=0)``: a batch of n synthetic galaxies of the model's shape."""
    return make_blobs


@pytest.fixture(scope="session")
def train() -> Train:
    """``train(model, data, rounds, batch_size=32, seed=0)``: a stand-in for galflow.training.fit."""
    return train_model


@pytest.fixture(scope="session")
def parameters_of() -> Callable[[GenerativeModel, tuple[str, ...]], list[torch.nn.Parameter]]:
    """``parameters_of(model, player.modules)``: the parameters of a player."""
    return owned


@pytest.fixture(scope="session")
def trained() -> Callable[[str], GenerativeModel]:
    """``trained(name)``: a tiny model after a short training; a copy, so that no test can spoil another."""

    @cache
    def once(name: str) -> GenerativeModel:
        torch.manual_seed(11)
        model = all_models()[name].tiny().to(DEVICE)
        train_model(model, make_blobs(model, 96), rounds=50)
        return model

    return lambda name: copy.deepcopy(once(name))
