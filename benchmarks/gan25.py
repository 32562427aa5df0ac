"""WGAN-GP on a grid of 25 Gaussians, the toy of Gulrajani+17: how many modes it finds, and how well.

The model is galflow's own, given the plane as images of two bands and one pixel, and trained by its own players and
losses. Samples within ``NEAR_SIGMA`` standard deviations of a mode's centre are of high quality, and a mode is found
when it holds at least a twentieth of its fair share of all samples that way: samples strewn evenly over the plane give
each mode a thirtieth.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.tables import Figures
from galflow.batch import Batch
from galflow.models.wgan import WGAN

SPACING, SIGMA = 2 / 2.828, 0.05 / 2.828
"""Distance between neighbouring modes and their standard deviation, as in the code of Gulrajani+17."""
NEAR_SIGMA = 4.0
FAIR_SHARE = 0.05
SAMPLES = 10_000
BATCH = 256
ROUNDS = 4000
LATENT, WIDTH = 2, 32
"""Networks of three layers with 4 x 32 units; the paper has 512, which a single core trains 16 times slower."""
GRADIENT_PENALTY, LEARNING_RATE = 0.1, 2e-3
"""The penalty of the paper's toys; twenty times its learning rate at first, for less than a tenth of its steps."""


@dataclass(frozen=True)
class Found:
    """What a sample holds of the grid."""

    rounds: int
    """Generator steps so far, of five critic steps each."""
    seconds: float
    modes: int
    """Of 25."""
    rarest: float
    """High-quality samples of the rarest mode over its fair share of all samples."""
    high_quality: float
    """Share of the samples near any mode."""
    spread: float
    """Their standard deviation about their mode's centre over the true one, which ``NEAR_SIGMA`` cuts to 0.9998."""


def run() -> Iterator[Figures]:
    """One training on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = list(train())
    finally:
        torch.set_num_threads(before)
    yield as_figures(found)


def as_figures(found: Sequence[Found]) -> Figures:
    """The same training at several moments."""
    title = f"WGAN-GP on 25 Gaussians, {4 * WIDTH} units a layer, batches of {BATCH}, one thread"
    rows: dict[str, tuple[float | str, ...]] = {
        f"{one.rounds} rounds": (f"{one.modes}/25", one.rarest, one.high_quality, one.spread, f"{one.seconds:.0f}")
        for one in found
    }
    return Figures(title, ("modes", "rarest", "high quality", "spread", "seconds"), rows)


def grid() -> Tensor:
    """(25, 2) centres of the modes."""
    steps = SPACING * torch.arange(-2.0, 3.0)
    return torch.cartesian_prod(steps, steps)


def draw(n: int, generator: torch.Generator) -> Tensor:
    """(n, 2, 1, 1) points of the grid, each mode alike."""
    centres = grid()[torch.randint(25, (n,), generator=generator)]
    return (centres + SIGMA * torch.randn(n, 2, generator=generator))[:, :, None, None]


def make_model(seed: int) -> WGAN:
    """The benchmark's WGAN, untrained."""
    torch.manual_seed(seed)
    return WGAN(
        channels=2, size=1, latent=LATENT, width=WIDTH, spherical=False, critic_steps=5, average=0.0,
        gradient_penalty=GRADIENT_PENALTY, learning_rate=LEARNING_RATE,
    )  # fmt: skip


def train(rounds: int = ROUNDS, every: int = 500, seed: int = 0) -> Iterator[Found]:
    """The first phase of the model's training on fresh points; what its samples hold, ``every`` so many rounds.

    The learning rate falls linearly to zero: a fast one finds the modes, and only a slow one gives them their true
    width.
    """
    model, supply = make_model(seed), torch.Generator().manual_seed(seed + 1)
    model.initialise(Batch.of(draw(BATCH, supply)))
    players = [player for player in model.players if player.phase == 0]
    optimisers = {
        player.name: torch.optim.Adam(
            [parameter for name in player.modules for parameter in model.get_submodule(name).parameters()],
            lr=player.learning_rate,
            betas=player.betas,
            fused=True,
        )
        for player in players
    }
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, lambda done: 1 - done / rounds) for o in optimisers.values()]
    started = time.perf_counter()
    for done in range(1, rounds + 1):
        for player in players:
            for _ in range(player.steps):
                optimisers[player.name].zero_grad()
                model.loss(Batch.of(draw(BATCH, supply)), player.name).backward()
                optimisers[player.name].step()
        for schedule in schedules:
            schedule.step()
        if done % every == 0 or done == rounds:
            samples = model.sample(SAMPLES, torch.Generator().manual_seed(seed + 2))
            yield judge(samples, done, time.perf_counter() - started)


def judge(samples: Tensor, rounds: int = 0, seconds: float = 0.0) -> Found:
    """What ``samples`` (n, 2, 1, 1) hold of the grid."""
    distance, mode = torch.cdist(samples.flatten(1), grid()).min(dim=1)
    near = distance < NEAR_SIGMA * SIGMA
    shares = torch.bincount(mode[near], minlength=25) * 25 / len(samples)
    spread = distance[near].square().mean().div(2).sqrt() / SIGMA if near.any() else torch.zeros(())
    return Found(
        rounds=rounds,
        seconds=seconds,
        modes=int((shares >= FAIR_SHARE).sum()),
        rarest=float(shares.min()),
        high_quality=float(near.float().mean()),
        spread=float(spread),
    )
