"""Small cutout sets on a temporary store, and toy models that show what the loop does to them."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.cutouts.stream import TrainingSet
from galflow.models.base import Density, GenerativeModel, Player
from galflow.photometry import AsinhStretch
from galflow.spec.run import CutoutSpec
from galflow.storage.store import Store

SIZE, BANDS = 8, ("g", "r")


class Denoiser(GenerativeModel):
    """One player with everything a resume must restore: noise, dropout, running statistics, a first batch."""

    source: ClassVar[str] = "toy"
    scores: ClassVar[Mapping[str, str]] = {"misfit": "mean squared residual", "peak": "brightest pixel"}

    def __init__(self, *, channels: int, size: int, width: int = 4) -> None:
        super().__init__(channels=channels, size=size)
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.Dropout2d(0.2),
            nn.Conv2d(width, channels, 3, padding=1),
        )
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("finished", torch.zeros(2, dtype=torch.float64))
        self.to(memory_format=torch.channels_last)

    @property
    def players(self) -> tuple[Player, ...]:
        return (Player("net", ("net",), learning_rate=1e-2),)

    def initialise(self, batch: Batch) -> None:
        self.mean = batch.pixels.mean() + 0.01 * torch.randn(())

    def finish(self, batches: Iterable[Batch]) -> None:
        self.finished[0] = sum(float(b.pixels.double().sum()) for b in batches)
        self.finished[1] = sum(len(b) for b in batches)

    def loss(self, batch: Batch, player: str) -> Tensor:
        noisy = batch.pixels + 0.1 * torch.randn_like(batch.pixels)
        return (self.net(noisy - self.mean) - batch.pixels).square().mean()

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        return {"drawn": float(torch.rand(())), "endless": math.inf}

    def score(self, batch: Batch) -> dict[str, Tensor]:
        residual = self.net(batch.pixels - self.mean) - batch.pixels
        return {"misfit": residual.square().mean((1, 2, 3)), "peak": batch.pixels.amax((1, 2, 3))}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(n, self.channels, self.size, self.size, generator=generator)

    @classmethod
    def tiny(cls) -> Self:
        return cls(channels=2, size=8)


class Duel(Denoiser):
    """Critic twice, generator once, with a gradient penalty; then an encoder in a second phase."""

    def __init__(self, *, channels: int, size: int) -> None:
        super().__init__(channels=channels, size=size)
        pixels = channels * size * size
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.GELU(), nn.Linear(8, 1))
        self.generator = nn.Linear(4, pixels)
        self.encoder = nn.Linear(pixels, 4)

    @property
    def players(self) -> tuple[Player, ...]:
        betas = (0.5, 0.9)
        return (
            Player("critic", ("critic",), steps=2, betas=betas),
            Player("generator", ("generator",), betas=betas),
            Player("encoder", ("encoder",), phase=1),
        )

    def generate(self, latents: Tensor) -> Tensor:
        return self.generator(latents).unflatten(1, (self.channels, self.size, self.size))

    def loss(self, batch: Batch, player: str) -> Tensor:
        real = batch.pixels
        if player == "encoder":
            return (self.generate(self.encoder(real.flatten(1))) - real).square().mean()
        fake = self.generate(torch.randn(len(real), 4))
        if player == "generator":
            return -self.critic(fake).mean()
        with torch.enable_grad():
            mixed = (real + torch.rand(len(real), 1, 1, 1) * (fake.detach() - real)).requires_grad_()
            (slope,) = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)
            penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        return self.critic(fake).mean() - self.critic(real).mean() + 10 * penalty


class Gaussian(Denoiser, Density):
    """A density: independent pixels around a mean image."""

    scores: ClassVar[Mapping[str, str]] = {"bits_per_dim": "bits per observed dimension"}
    asked = 0

    def __init__(self, *, channels: int, size: int) -> None:
        super().__init__(channels=channels, size=size)
        self.image = nn.Parameter(torch.zeros(channels, size, size))
        del self.net

    @property
    def players(self) -> tuple[Player, ...]:
        return (Player("image", ("image",), learning_rate=1e-2),)

    def log_prob(self, batch: Batch) -> Tensor:
        self.asked += 1
        each = -0.5 * (batch.pixels - self.image).square() - 0.5 * math.log(2 * math.pi)
        return torch.where(batch.observed, each, 0.0).sum((1, 2, 3))

    def loss(self, batch: Batch, player: str) -> Tensor:
        return -self.log_prob(batch).mean()

    def score(self, batch: Batch) -> dict[str, Tensor]:
        return Density.score(self, batch)


class Refining(Denoiser):
    """A score that takes a gradient, as the inversion of a generator does."""

    scores: ClassVar[Mapping[str, str]] = {"slope": "squared gradient of half the squared pixels"}

    def score(self, batch: Batch) -> dict[str, Tensor]:
        with torch.enable_grad():
            pixels = batch.pixels.clone().requires_grad_()
            (slope,) = torch.autograd.grad(0.5 * pixels.square().sum(), pixels)
        return {"slope": slope.square().sum((1, 2, 3))}


class Drifting(Denoiser):
    """``place`` grows by the learning rate each step; the validation loss is least at 0.33."""

    def __init__(self, *, channels: int, size: int) -> None:
        super().__init__(channels=channels, size=size)
        self.net = nn.Linear(1, 1)
        with torch.no_grad():
            self.net.weight.zero_()
        self.place = self.net.weight

    def loss(self, batch: Batch, player: str) -> Tensor:
        return -self.place.sum() if self.training else (self.place - 0.33).square().sum()


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The toy models; also found as plug-ins "galflow_toys.Denoiser" and so on."""
    module = types.ModuleType("galflow_toys")
    classes: dict[str, Any] = {c.__name__: c for c in (Denoiser, Drifting, Duel, Gaussian, Refining)}
    vars(module).update(classes)
    monkeypatch.setitem(sys.modules, "galflow_toys", module)
    return SimpleNamespace(**classes)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def write_set(store: Store) -> Callable[..., CutoutSet]:
    """``write_set(tile, n, seed=0, bands=BANDS)``: n galaxies in noise, some pixels missing, 16 objects a chunk."""

    def write(tile: str, n: int, seed: int = 0, bands: tuple[str, ...] = BANDS) -> CutoutSet:
        rng = np.random.default_rng(seed)
        axis = np.arange(SIZE) - (SIZE - 1) / 2
        blob = np.exp(-0.5 * (axis[:, None] ** 2 + 2 * (axis[None, :] - 1) ** 2) / 4)
        flux = rng.uniform(5, 50, (n, len(bands), 1, 1)) * blob + rng.normal(size=(n, len(bands), SIZE, SIZE))
        missing = rng.random(flux.shape) < 0.05
        data = CutoutData(
            flux=np.where(missing, np.nan, flux).astype(np.float32),
            ivar=np.where(missing, 0, 1).astype(np.float32),
            mask=np.zeros(flux.shape, np.uint16),
            rows=pa.table(
                {
                    "object_id": pa.array(rng.integers(1, 2**62, n), pa.int64()),
                    "ra": np.zeros(n),
                    "dec": np.zeros(n),
                    "flags": np.zeros(n, np.uint32),
                }
            ),
            attributes={
                "survey": "toy",
                "tile": tile,
                "bands": list(bands),
                "unit": "nJy",
                "sky_sigma": [1.0] * len(bands),
            },
        )
        spec = CutoutSpec(size=SIZE, chunk_megabytes=16 * len(bands) * SIZE**2 * 4 / 2**20)
        product = f"cutouts/toy/1/{tile}/0.zarr"
        write_cutout_set(store, product, data, spec)
        return CutoutSet(store, product)

    return write


@pytest.fixture
def stretch() -> AsinhStretch:
    return AsinhStretch(3.0, 100.0, (1.0, 1.0))


@pytest.fixture
def make_data(write_set: Callable[..., CutoutSet], stretch: AsinhStretch) -> Callable[..., TrainingSet]:
    """``make_data(n, **options)``: a training set of n objects in two sets."""

    def make(n: int, validation: float = 0.2, reference: float = 0.1, **options: float) -> TrainingSet:
        sets = [write_set("a", n // 2, seed=1), write_set("b", n - n // 2, seed=2)]
        return TrainingSet(sets, stretch, validation=validation, reference=reference, **options)

    return make
