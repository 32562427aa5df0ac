"""The VQ-VAE-2 on the synthetic survey: how much of its codebooks is in use, and whether it draws galaxies.

``python -m benchmarks.vqvae2`` trains on galaxies of benchmarks.synthetic_galaxies and prints what is measured on
others that the training never saw; ``--picture FILE.png`` draws images, reconstructions and samples.

Samples are compared twice. Decoded draws, which are free of noise, with GalSim's noise-free images: that is the truth,
and what is asked. And what ``sample`` returns, noise included, with noisy images, both through the same measurement:
that is what somebody who cannot switch off the noise of a sky would see. No noise is added or taken off on one side.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import ks_2samp
from torch import Tensor

from benchmarks.morphology import measure
from benchmarks.synthetic_galaxies import Galaxies, make_galaxies
from benchmarks.tables import Finding, Findings
from galflow.batch import Batch
from galflow.layers.images.quantiser import code_counts, perplexity
from galflow.models.vqvae2 import VQVAE2
from galflow.training.players import PhaseOptimisers

SIZE = 32
BANDS = ("r", "i")
TRAINING, HELD_OUT = 10_000, 2000
BATCH_OBJECTS = 64
STEPS = {0: 800, 1: 1400}
"""Optimiser steps of each phase: the autoencoder, the priors."""
SCHEDULE = ((0.6, 1.0), (0.25, 0.3), (0.15, 0.1))
"""Shares of a phase's steps, and the learning rate in each relative to the player's own."""
LARGEST_KS = 0.15


def train(batch: Batch, *, seed: int = 0, steps: dict[int, int] | None = None, **options: Any) -> VQVAE2:
    """A VQVAE2 trained on ``batch`` as galflow.training does, mirrored and turned, but with falling learning rates."""
    torch.manual_seed(seed)
    _, channels, size, _ = batch.pixels.shape
    model = VQVAE2(channels=channels, size=size, **options)
    model.initialise(batch[:500])
    model.train()
    for player in model.players:
        for share, slower in SCHEDULE:
            team = PhaseOptimisers(model, [player], player.learning_rate * slower)
            for _ in range(round(share * (steps or STEPS)[player.phase])):
                team.step_round([batch[torch.randint(len(batch), (BATCH_OBJECTS,))]], augment=True)
            team.release()
    model.eval()
    model.finish(_parts(batch))
    return model


def _parts(batch: Batch) -> list[Batch]:
    return [batch[i : i + 500] for i in range(0, len(batch), 500)]


@torch.no_grad()
def judge(model: VQVAE2, held_out: Galaxies, seed: int = 11) -> tuple[Finding, ...]:
    """Everything asked of the model, on galaxies that it never saw and as many draws."""
    parts = _parts(held_out.batch(()))
    levels = [model.quantise(part) for part in parts]
    findings = []
    for name, size in (("top", model.levels.top.codes), ("bottom", model.levels.bottom.codes)):
        codes = torch.cat([getattr(level, name).codes for level in levels])
        used = float(perplexity(code_counts(codes, size)))
        findings.append(Finding(f"perplexity of the {name} codebook, of {size}", used, low=size / 2))
    scores = [model.score(part) for part in parts]
    for name in ("code_nll", "description"):
        value = float(torch.cat([score[name] for score in scores]).mean())
        findings.append(Finding(f"held-out {name.replace('_', ' ')}, bits", value))
    fitted = _flux(torch.cat([model.reconstruct(part) for part in parts]), held_out)
    before, after = (_squares(images, held_out) for images in (held_out.noisy, fitted))
    findings.append(Finding("PSNR gain of the reconstruction, mean, dB", float((10 * np.log10(before / after)).mean())))
    clean, noisy = draws(model, len(held_out), seed)
    for title, made, true, high in (
        ("noise-free draws to the truth", clean, held_out.clean, LARGEST_KS),
        ("samples to noisy images", noisy, held_out.noisy, LARGEST_KS),
        ("noise-free reconstructions to the truth", fitted, held_out.clean, None),
    ):
        pixels = _flux(made, held_out) if isinstance(made, Tensor) else made
        findings += [Finding(f"KS of {title}, {name}", value, high=high) for name, value in ks(pixels, true).items()]
    return tuple(findings)


@torch.no_grad()
def draws(model: VQVAE2, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """(n, C, H, W) decoded draws of the codes, and the same draws as ``sample`` gives them, with noise."""
    codes = model.draw_codes(n, torch.Generator().manual_seed(seed))
    return model.decode(*codes), model.sample(n, torch.Generator().manual_seed(seed))


def _flux(stretched: Tensor, galaxies: Galaxies) -> np.ndarray:
    return galaxies.stretch.inverse(stretched.numpy().astype(np.float64))


def _squares(images: np.ndarray, galaxies: Galaxies) -> np.ndarray:
    """(n,) mean squared distance from the noise-free images, in sky variances."""
    return (((images - galaxies.clean) / galaxies.sky_sigma[:, None, None]) ** 2).mean((1, 2, 3))


def ks(made: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Kolmogorov-Smirnov distance of each measured quantity in the last band, images (n, band, y, x) in nJy."""
    found, expected = measure(made[:, -1]), measure(true[:, -1])
    return {
        name.replace("_", " "): float(ks_2samp(values, getattr(expected, name)).statistic)
        for name, values in vars(found).items()
    }


@torch.no_grad()
def draw_picture(model: VQVAE2, held_out: Galaxies, path: Path, columns: int = 12) -> None:
    """Rows: images, reconstructions, truth, samples, decoded draws; the last band, all in one scale."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    some = held_out.take(slice(0, columns))
    batch = some.batch(())
    clean, noisy = draws(model, columns, 3)
    rows = {
        "image": batch.pixels,
        "reconstruction": model.reconstruct(batch),
        "truth": some.stretched_truth(),
        "sample": noisy,
        "without noise": clean,
    }
    figure, axes = plt.subplots(len(rows), columns, figsize=(columns, len(rows) + 0.2))
    for (name, images), line in zip(rows.items(), axes, strict=True):
        for image, axis in zip(images, line, strict=True):
            axis.imshow(image[-1].numpy(), vmin=-0.1, vmax=0.7, cmap="gray", origin="lower")
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=8)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def run(picture: Path | None = None) -> Iterator[Findings]:
    """One training and its judgement."""
    galaxies, held_out = make_galaxies(TRAINING, 1, SIZE, bands=BANDS), make_galaxies(HELD_OUT, 2, SIZE, bands=BANDS)
    began = time.perf_counter()
    model = train(galaxies.batch(()))
    seconds = time.perf_counter() - began
    if picture is not None:
        draw_picture(model, held_out, picture)
    title = f"VQ-VAE-2 on {TRAINING} galaxies of the synthetic survey, judged on {HELD_OUT} others"
    yield Findings(title, (*judge(model, held_out), Finding("seconds of training", seconds)))


def main() -> None:
    """Train, judge and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vqvae2", description=__doc__)
    parser.add_argument("--picture", type=Path, help="also draw images, reconstructions and samples into this file")
    for table in run(parser.parse_args().picture):
        print(table.text())


if __name__ == "__main__":
    main()
