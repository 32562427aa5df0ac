"""What each model costs: parameters, one training step, scoring and drawing, of galaxies in three bands of 32 x 32.

Default options, untrained, one torch thread: what a pass costs does not depend on the weights, but for the continuous
flows, whose solver takes more steps as they learn. The reference of the ratios is the VAE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch

from benchmarks.timing import Table, interleaved, table
from galflow.batch import Batch
from galflow.models.base import BringsWeights, Conditional, GenerativeModel, all_models, build_model

CHANNELS, SIZE = 3, 32
TRAINED, SCORED, DRAWN = 32, 128, 4
"""Objects in a training step, in a call of ``score`` and in a call of ``sample``."""
REFERENCE = "vae.VAE"


def run() -> Iterator[Table]:
    """One table a verb, a row a model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        models = {
            name: build_model(name, channels=CHANNELS, size=SIZE)
            for name, model in all_models().items()
            if not issubclass(model, BringsWeights)  # what that costs is its network's affair
        }
        for name, model in models.items():
            print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters")
            model.initialise(galaxies(model, SCORED))
            model.eval()
        yield _timed(
            f"score {SCORED} objects",
            {name: partial(model.score, galaxies(model, SCORED)) for name, model in models.items()},
        )
        yield _timed(f"one round of training on batches of {TRAINED}", {n: _round(m) for n, m in models.items()})
        yield _timed(
            f"draw {DRAWN} objects",
            {name: partial(_draw, model) for name, model in models.items()},
        )
    finally:
        torch.set_num_threads(before)


def _timed(title: str, cases: Mapping[str, Callable[[], object]]) -> Table:
    return table(f"{title}, {CHANNELS} bands, {SIZE} px, one thread", REFERENCE, interleaved(cases))


def _round(model: GenerativeModel) -> Callable[[], None]:
    batch = galaxies(model, TRAINED)
    first = min(player.phase for player in model.players)

    def step() -> None:
        model.train()
        for player in model.players:
            for _ in range(player.steps if player.phase == first else 0):
                model.zero_grad(set_to_none=True)
                model.loss(batch, player.name).backward()
        model.eval()

    return step


def _draw(model: GenerativeModel) -> None:
    model.sample(DRAWN, torch.Generator().manual_seed(1))


def galaxies(model: GenerativeModel, n: int) -> Batch:
    """Round blobs in noise, with whatever the model may ask for."""
    draw = torch.Generator().manual_seed(n)
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    blob = torch.exp(-(axis[:, None] ** 2 + axis**2) / 18)
    pixels = blob * torch.rand(n, CHANNELS, 1, 1, generator=draw)
    pixels = pixels + 0.05 * torch.randn(pixels.shape, generator=draw)
    psf = torch.zeros(n, CHANNELS, 9, 9)
    psf[..., 3:6, 3:6] = 1 / 9
    conditions = torch.rand(n, len(model.conditions), generator=draw) if isinstance(model, Conditional) else None
    return Batch(pixels, torch.ones_like(pixels, dtype=torch.bool), torch.full_like(pixels, 400.0), psf, conditions)
