"""Whether PixelCNN++ draws galaxies: flux, half-light radius and ellipticity of draws beside those of galaxies unseen.

``python -m benchmarks.pixel_draws --seconds 300 --variant catalogue --seed 1 --page docs/models/pixel_draws.png``
trains one variant on the synthetic survey for so many seconds of processor time of one thread, prints
Kolmogorov-Smirnov distances, and writes a page of draws beside real galaxies. Draws are bin centres with their noise
and are held against noisy images through the same measurement. The galaxies that judge are none of those by which the
variants were chosen (``CHOSEN_BY``).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.emulator import shuffled_rows
from benchmarks.gan_quality import distances, floor, quantities
from benchmarks.synthetic_galaxies import SURVEY, Galaxies, make_galaxies
from benchmarks.tables import Figures
from galflow.models.base import build_model
from galflow.models.shared.autoregressive import Autoregressive
from galflow.report.emulation import png
from galflow.report.pictures import Display
from galflow.training.players import PhaseOptimisers

SIZE = 32
TRAINING, JUDGES, DRAWS = 6000, 2000, 1000
CHOSEN_BY, JUDGED_BY = 2, 3
"""Seeds of held-out galaxies: of those that variants were chosen by, and of those that the table is about."""
BATCH_OBJECTS = 16
RATE, RISING_STEPS = 4e-3, 50
"""Adam's step size: it rises for so many steps, then falls to 0 along a cosine of the time."""
SECONDS, SEED = 400.0, 1
LEAST_LIGHT = 0.01
"""A draw fainter than this share of the real galaxies counts as empty sky."""
ASKED = ("flux", "half-light radius", "ellipticity")
CATALOGUE = ("magnitude", "half_light_radius_arcsec")
VARIANTS: dict[str, dict[str, Any]] = {
    "pixels": {},
    "averaged": {"average": 0.998},
    "catalogue": {"average": 0.998, "conditions": CATALOGUE},
}
"""The options of each, beside the defaults: pixels alone, the same with averaged weights, and told the catalogue."""
COLUMNS = 12


@dataclass(frozen=True, eq=False)
class Trained:
    """A model and what it took."""

    model: Autoregressive
    steps: int
    seconds: float


def train(galaxies: Galaxies, options: dict[str, Any], *, seconds: float, seed: int) -> Trained:
    """PixelCNN++ trained for so many seconds of processor time, by the players and augmentation of galflow.training."""
    torch.manual_seed(seed)
    channels, size = galaxies.noisy.shape[1:3]
    model = build_model("pixelcnn_pp.PixelCNNPP", channels=channels, size=size, **options)
    assert isinstance(model, Autoregressive)
    batch = galaxies.batch(model.conditions)
    model.initialise(batch[:1000])
    model.train()
    team = PhaseOptimisers(model, model.players, None)
    steps, began = 0, time.process_time()
    for rows in shuffled_rows(len(batch), 10**9, BATCH_OBJECTS, seed):
        used = (time.process_time() - began) / seconds
        if steps and used >= 1:
            break
        for optimiser in team.optimisers:
            rate = RATE * min(1.0, steps / RISING_STEPS) * 0.5 * (1 + math.cos(math.pi * min(used, 1.0)))
            optimiser.param_groups[0]["lr"] = rate + 1e-7
        team.step_round([batch[rows]], augment=True)
        steps += 1
    team.release()
    model.eval()
    model.finish(batch[i : i + 1000] for i in range(0, len(batch), 1000))
    return Trained(model, steps, time.process_time() - began)


def judge(model: Autoregressive, unseen: Galaxies, draws: int = DRAWS) -> dict[str, dict[str, float]]:
    """The distances of draws and their floor, and how many draws are empty sky."""
    true = quantities(unseen.batch(()).pixels, unseen.stretch)
    made = quantities(model.sample(draws, torch.Generator().manual_seed(11)), unseen.stretch)
    empty = float((made["flux"] < np.quantile(true["flux"], LEAST_LIGHT)).mean())
    return {"draws": distances(made, true) | {"empty": empty}, "floor": floor(true) | {"empty": LEAST_LIGHT}}


def page(model: Autoregressive, unseen: Galaxies, rows: int = 4) -> bytes:
    """PNG: real galaxies in one row and draws for the same catalogue rows (or any draws) in the next, and so on."""
    some = unseen.take(slice(rows * COLUMNS))
    batch, draw = some.batch(model.conditions), torch.Generator().manual_seed(5)
    given = batch.conditions
    made = model.sample(len(some), draw) if given is None else model.sample_for(given, draw)
    figure = Figure(figsize=(0.8 * COLUMNS + 0.5, 1.6 * rows))
    axes = figure.subplots(2 * rows, COLUMNS, squeeze=False)
    display = Display(SURVEY.bands, tuple(float(s) for s in some.sky_sigma), "nJy", 3.0, 300.0)
    for number, line in enumerate(axes):
        pixels = made if number % 2 else batch.pixels
        first = number // 2 * COLUMNS
        for axis, flux in zip(line, _flux(pixels[first : first + COLUMNS], some), strict=True):
            axis.imshow(display.picture(flux), origin="lower", interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel("drawn" if number % 2 else "real", fontsize=8)
    figure.subplots_adjust(left=0.04, right=1, bottom=0, top=1, wspace=0.04, hspace=0.04)
    return png(figure, dots_per_inch=100)


def _flux(pixels: Tensor, galaxies: Galaxies) -> np.ndarray:
    return np.asarray(galaxies.stretch.inverse(pixels.double(), torch).numpy())


def measured(variant: str, *, seconds: float, seed: int) -> tuple[Figures, Trained]:
    """Train one variant, judge it on galaxies that nobody chose by."""
    trained = train(make_galaxies(TRAINING, 1, SIZE), VARIANTS[variant], seconds=seconds, seed=seed)
    found = judge(trained.model, make_galaxies(JUDGES, JUDGED_BY, SIZE))
    names = tuple(found["draws"])
    rows: dict[str, tuple[float | str, ...]] = {
        kind: tuple(round(row[name], 3) for name in names) for kind, row in found.items()
    }
    title = (
        f"KS of {DRAWS} draws of PixelCNN++ ({variant}: {VARIANTS[variant]}) to unseen galaxies of synthetic, "
        f"{SIZE} px, {trained.steps} steps of {BATCH_OBJECTS} in {trained.seconds:.0f} processor s, seed {seed}"
    )
    return Figures(title, names, rows), trained


def run() -> Iterator[Figures]:
    """Every variant."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for variant in VARIANTS:
            yield measured(variant, seconds=SECONDS, seed=SEED)[0]
    finally:
        torch.set_num_threads(before)


def main() -> None:
    """One variant, and its page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pixel_draws", description=__doc__)
    parser.add_argument("--variant", choices=list(VARIANTS), default="catalogue")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of processor time")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--page", type=Path, metavar="FILE", help="where to write draws beside real galaxies, as PNG")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table, trained = measured(asked.variant, seconds=asked.seconds, seed=asked.seed)
    print(table.text(), flush=True)
    if asked.page is not None:
        asked.page.write_bytes(page(trained.model, make_galaxies(JUDGES, JUDGED_BY, SIZE)))


if __name__ == "__main__":
    main()
