"""Whether an adversarial model draws galaxies: their flux, size, shape, peak and colours beside those of real ones.

``python -m benchmarks.gan_quality --survey synthetic --seconds 300 --seed 1 --options '{"critic_steps": 5}'`` trains
one variant for so many seconds of processor time and prints Kolmogorov-Smirnov distances between its draws and
galaxies that it never saw. What ``sample`` returns, noise included, is held against noisy images, all through the same
measurement. Where the truth is known (synthetic), draws without noise are held against it too. The floor is the
distance of two halves of the held-out galaxies from each other: smaller ones say nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import ks_2samp

from benchmarks.emulator import shuffled_rows
from benchmarks.hubble_galaxies import hubble_galaxies
from benchmarks.morphology import measure
from benchmarks.synthetic_galaxies import make_galaxies
from benchmarks.tables import Figures
from galflow.batch import Batch
from galflow.models.base import build_model
from galflow.models.shared.adversarial import Adversarial
from galflow.photometry import AsinhStretch
from galflow.training.players import PhaseOptimisers

SIZE = 32
TRAINING, HELD_OUT = 6000, 2000
BATCH_OBJECTS = 32
DRAWS = 2000
APERTURE_PIX, CORE_PIX = 6.0, 2.0
ENCODER_SHARE = 0.25
"""Of the seconds, where a training goes on to the encoder."""
SECONDS = 600.0
SEEDS = (1, 2)
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "WGAN": ("wgan.WGAN", {"width": 16, "penalty_share": 0.5, "learning_rate": 5e-4}),
}
"""The demo's options first."""


@dataclass(frozen=True, eq=False)
class Sky:
    """Galaxies to learn from and others to be judged by, stretched."""

    name: str
    training: Batch
    held_out: torch.Tensor
    """(n, C, H, W) noisy."""
    truth: torch.Tensor | None
    """The same without noise, where that is known."""
    stretch: AsinhStretch


def synthetic_sky() -> Sky:
    """Galaxies of the synthetic survey in its three bands."""
    galaxies, others = make_galaxies(TRAINING, 1, SIZE), make_galaxies(HELD_OUT, 2, SIZE)
    held_out = others.batch(()).pixels
    return Sky("synthetic", Batch.of(galaxies.batch(()).pixels), held_out, others.stretched_truth(), others.stretch)


def hubble_sky() -> Sky:
    """The demo's tile: every fifth galaxy is held out."""
    field = hubble_galaxies(SIZE)
    batch = Batch(field.batch.pixels, field.batch.observed)
    return Sky("hubble", batch[~field.held_out], batch.pixels[field.held_out], None, field.stretch)


SKIES = {"synthetic": synthetic_sky, "hubble": hubble_sky}


def train(
    sky: Sky, model: str, options: Mapping[str, Any], *, seconds: float, seed: int, encode: bool = True
) -> tuple[Adversarial, dict[str, int]]:
    """A trained model and the rounds of each phase, by the players and the augmentation of galflow.training.

    ``seconds`` are of processor time of this process; without ``encode`` the critic and the generator get them all.
    """
    torch.manual_seed(seed)
    channels = sky.training.pixels.shape[1]
    built = build_model(model, channels=channels, size=SIZE, **options)
    assert isinstance(built, Adversarial), model
    built.initialise(sky.training[:1000])
    built.train()
    rounds = {}
    shares = {0: 1 - ENCODER_SHARE, 1: ENCODER_SHARE} if encode else {0: 1.0}
    for phase, share in shares.items():
        team = PhaseOptimisers(built, [player for player in built.players if player.phase == phase], None)
        supply = shuffled_rows(len(sky.training), 10**9, BATCH_OBJECTS, seed + phase)
        began, done = time.process_time(), 0
        while not done or time.process_time() - began < share * seconds:
            team.step_round([sky.training[next(supply)] for _ in range(team.steps_per_round)], augment=True)
            done += 1
        team.release()
        rounds[f"rounds of phase {phase}"] = done
    built.eval()
    built.finish(sky.training[i : i + 500] for i in range(0, min(len(sky.training), 2000), 500))
    return built, rounds


def quantities(stretched: torch.Tensor, stretch: AsinhStretch) -> dict[str, np.ndarray]:
    """Name -> (n,) numbers of images (n, C, H, W); of the last band but for colours.

    Colours are differences of asinh magnitudes (Lupton+99) of neighbouring bands in an aperture, softened at its own
    noise, so that a faint band gives a number too.
    """
    flux = stretch.inverse(stretched.numpy().astype(np.float64))
    size = flux.shape[-1]
    radius = np.hypot(*(np.mgrid[:size, :size] - size // 2))
    inside = radius <= APERTURE_PIX
    sigma = np.asarray(stretch.sky_sigma, dtype=float) * np.sqrt(inside.sum())
    levels = np.arcsinh(flux[:, :, inside].sum(2) / sigma)
    with np.errstate(invalid="ignore", divide="ignore"):
        shape = measure(flux[:, -1])
    found = {
        "flux": flux[:, -1][:, inside].sum(1),
        "half-light radius": shape.half_light_radius,
        "ellipticity": shape.ellipticity,
        "peak": flux[:, -1][:, radius <= CORE_PIX].max(1),
    }
    found |= {f"colour {i + 1}": levels[:, i] - levels[:, i + 1] for i in range(levels.shape[1] - 1)}
    # An image without light at its centre has no shape: it counts as smaller and rounder than all.
    return {name: np.where(np.isfinite(values), values, -np.inf) for name, values in found.items()}


def distances(made: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Kolmogorov-Smirnov distance of each quantity."""
    return {name: float(ks_2samp(made[name], true[name]).statistic) for name in true}


def judge(model: Adversarial, sky: Sky) -> dict[str, dict[str, float]]:
    """The distances of noisy draws, of draws without noise where the truth is known, and the floors of both."""
    draw = torch.Generator().manual_seed(11)
    numbers = torch.randn(DRAWS, model.latent, generator=draw)
    with torch.no_grad():
        made = {"noisy": (model.sample(DRAWS, draw), sky.held_out)}
        if sky.truth is not None:
            made["noise-free"] = (torch.cat([model.decode(part) for part in numbers.split(250)]), sky.truth)
    found = {}
    for name, (images, real) in made.items():
        true = quantities(real, sky.stretch)
        found[f"{name} draws"] = distances(quantities(images, sky.stretch), true)
        found[f"floor, {name}"] = floor(true)
    return found


def floor(true: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The distances between the galaxies of even and of odd number."""
    return distances(*({name: values[first::2] for name, values in true.items()} for first in (0, 1)))


def as_figures(title: str, rows: Mapping[str, Mapping[str, float]]) -> Figures:
    """One row for each set of distances, with their mean."""
    names = tuple(next(iter(rows.values())))
    lines: dict[str, tuple[float | str, ...]] = {}
    for name, row in rows.items():
        lines[name] = (*(round(row[n], 3) for n in names), round(float(np.mean(list(row.values()))), 3))
    return Figures(title, (*names, "mean"), lines)


def measured(
    sky: Sky, model: str, options: Mapping[str, Any], *, seconds: float, seed: int, encode: bool = True
) -> Figures:
    """Train one variant, judge it."""
    trained, rounds = train(sky, model, options, seconds=seconds, seed=seed, encode=encode)
    done = ", ".join(f"{count} {name}" for name, count in rounds.items())
    title = f"KS of draws of {model} {dict(options)} on {sky.name}, seed {seed}, {seconds:.0f} processor s ({done})"
    return as_figures(title, judge(trained, sky))


def run() -> Iterator[Figures]:
    """Every variant on both surveys, with both seeds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for make in SKIES.values():
            sky = make()
            for model, options in VARIANTS.values():
                for seed in SEEDS:
                    yield measured(sky, model, options, seconds=SECONDS, seed=seed)
    finally:
        torch.set_num_threads(before)


def main() -> None:
    """One variant."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gan_quality", description=__doc__)
    parser.add_argument("--survey", choices=list(SKIES), default="synthetic")
    parser.add_argument("--model", default="wgan.WGAN")
    parser.add_argument("--options", type=json.loads, default=VARIANTS["WGAN"][1], help="of the model, as JSON")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of processor time")
    parser.add_argument("--seed", type=int, default=SEEDS[0])
    parser.add_argument("--no-encoder", action="store_true", help="give all seconds to critic and generator")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sky = SKIES[asked.survey]()
    table = measured(
        sky, asked.model, asked.options, seconds=asked.seconds, seed=asked.seed, encode=not asked.no_encoder
    )
    print(table.text())


if __name__ == "__main__":
    main()
