"""Whether a WGAN's anomaly score is blind to missing pixels, and what refinement of the latents does to detection.

``python -m benchmarks.gan_scores --survey hubble --seconds 120`` trains one model (benchmarks.gan_quality) and prints
two tables about galaxies that it never saw, both of areas under the ROC curve:

- galaxies with pixels taken away against the same galaxies whole: 0.5 where what is missing decides nothing;
- galaxies with a planted anomaly against galaxies without, after 0, 10 and 40 steps of refinement. Anomalies are
  planted in images with their noise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from benchmarks.gan_quality import SKIES, VARIANTS, Sky, train
from benchmarks.tables import Figures
from galflow.batch import Batch
from galflow.models.shared.adversarial import Adversarial
from galflow.surveys.drawing.anomalies import KINDS, plant

GALAXIES = 200
"""Of either side of a comparison."""
PSF_FWHM_PIX = 3.5
STEPS = (0, 10, 40)
SECONDS = 120.0
PART = 100


def gaps(bands: int, size: int) -> dict[str, Tensor]:
    """Name -> (C, H, W) bool: what is taken away."""
    draw = torch.Generator().manual_seed(5)
    column = torch.arange(size).expand(bands, size, size)
    found = {f"band {b + 1}": (torch.arange(bands) == b).view(-1, 1, 1).expand_as(column) for b in range(bands)}
    found |= {"an edge third": column >= size - size // 3, "half": column.transpose(1, 2) < size // 2}
    for share in (0.05, 0.2):
        found[f"{share:.0%} of pixels"] = (torch.rand(size, size, generator=draw) < share).expand_as(column)
        found[f"{share:.0%} in each band"] = torch.rand(bands, size, size, generator=draw) < share
    return found


def area(normal: np.ndarray, others: np.ndarray) -> float:
    """Area under the ROC curve: how often one of ``others`` lies above one of ``normal``, ties by half."""
    ranks = rankdata(np.concatenate([normal, others]))[len(normal) :]
    return float((ranks.mean() - (len(others) + 1) / 2) / len(normal))


def scores(model: Adversarial, pixels: Tensor, observed: Tensor | None = None) -> dict[str, np.ndarray]:
    """Each score of images (n, C, H, W), completely observed unless told otherwise."""
    seen = torch.ones_like(pixels, dtype=torch.bool) if observed is None else observed
    batch = Batch(torch.where(seen, pixels, 0), seen)
    parts = [model.score(batch[i : i + PART]) for i in range(0, len(batch), PART)]
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in model.scores}


def gap_table(model: Adversarial, sky: Sky) -> Figures:
    """One row a gap."""
    pixels = sky.held_out[: 2 * GALAXIES]
    whole = scores(model, pixels)
    rows: dict[str, tuple[float | str, ...]] = {}
    for name, gap in gaps(*pixels.shape[1:3]).items():
        gappy = scores(model, pixels, (~gap).expand_as(pixels))
        rows[name] = tuple(round(area(whole[score], gappy[score]), 3) for score in whole)
    return Figures(f"Area of galaxies with gaps above the same ones whole, {sky.name}", tuple(whole), rows)


def planted(sky: Sky, rng: np.random.Generator) -> dict[str, Tensor]:
    """Kind -> held-out galaxies with that anomaly, stretched."""
    flux = sky.stretch.inverse(sky.held_out[:GALAXIES].numpy().astype(np.float64))
    sigma = np.asarray(sky.stretch.sky_sigma, dtype=float)
    found = {}
    for kind in KINDS:
        painted = [
            plant(kind, image, None, sky_sigma=sigma, psf_fwhm_pix=PSF_FWHM_PIX, rng=rng).astype(np.float64)
            for image in flux
        ]
        found[kind] = torch.from_numpy(sky.stretch.forward(np.stack(painted)).astype(np.float32))
    return found


def refinement_table(model: Adversarial, sky: Sky) -> Figures:
    """One row a kind, and their mean; one column for each number of steps."""
    sets = planted(sky, np.random.default_rng(3))
    normal = sky.held_out[-GALAXIES:]
    columns: dict[str, Mapping[str, float]] = {}
    kept = model.refine
    try:
        for steps in STEPS:
            model.refine = steps
            usual = scores(model, normal)["anomaly"]
            areas = {kind: area(usual, scores(model, images)["anomaly"]) for kind, images in sets.items()}
            columns[f"{steps} steps"] = areas | {"mean": float(np.mean(list(areas.values())))}
    finally:
        model.refine = kept
    rows: dict[str, tuple[float | str, ...]] = {
        kind: tuple(round(column[kind], 3) for column in columns.values()) for kind in (*KINDS, "mean")
    }
    return Figures(f"Area of galaxies with a planted anomaly above others, {sky.name}", tuple(columns), rows)


def run() -> Iterator[Figures]:
    """One model on each survey."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in SKIES:
            yield from measured(name, SECONDS, 1, VARIANTS["WGAN"][1])
    finally:
        torch.set_num_threads(before)


def measured(survey: str, seconds: float, seed: int, options: Mapping[str, object]) -> Iterator[Figures]:
    """Train, then both tables."""
    sky = SKIES[survey]()
    model, _ = train(sky, VARIANTS["WGAN"][0], options, seconds=seconds, seed=seed)
    yield gap_table(model, sky)
    yield refinement_table(model, sky)


def main() -> None:
    """One survey."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gan_scores", description=__doc__)
    parser.add_argument("--survey", choices=list(SKIES), default="hubble")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of processor time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--options", type=json.loads, default=VARIANTS["WGAN"][1], help="of the WGAN, as JSON")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for table in measured(asked.survey, asked.seconds, asked.seed, asked.options):
        print(table.text(), flush=True)


if __name__ == "__main__":
    main()
