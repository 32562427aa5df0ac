"""What FFJORD's inference costs: evaluations with and without regularisation, and seconds for a thousand images.

Evaluations: the same network, trained for the same processor time by the same loop, once as Grathwohl+18 have it and
once with the regularisers of Finlay+20; then both solved for held-out objects at the same tolerance. Seconds: a
thousand galaxies of 32 x 32 pixels scored by FFJORD's variants and by Glow, in turns, all trained first, since a
trained ODE takes more steps than an untrained one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.density_training import each_in_its_process, train
from benchmarks.digits import SIZE, dequantised, digits
from benchmarks.synthetic_galaxies import make_galaxies
from benchmarks.tables import Figures
from benchmarks.targets2d import targets
from benchmarks.timing import Table, interleaved, table
from galflow.batch import Batch
from galflow.models.base import Density, build_model
from galflow.models.ffjord import FFJORD
from galflow.models.shared.continuous import ContinuousFlow

SECONDS = 100.0
"""Processor time of one thread, for each training of the first table."""
TOLERANCE = 1e-5
"""Relative and absolute, of the solves that are counted."""
NONE = {"kinetic": 0.0, "jacobian": 0.0}
REGULARISED = {"kinetic": 0.1, "jacobian": 0.1}
"""With more the likelihood falls by more than 0.02 nats per dimension, and the evaluations hardly."""
RATE = 5e-3
POINTS, IMAGES_A_STEP = 512, 128
MEASURED = 1000
"""Held-out objects whose evaluations are counted."""

SCORED = 1000
SIDE = 32
GALAXIES = 1500
TIMED: dict[str, str] = {
    "Glow": "glow.Glow",
    "FFJORD latent": "ffjord_latent.FFJORDLatent",
    "FFJORD multi-scale": "ffjord_multiscale.FFJORDMultiscale",
}
TIMED_TRAINING = 30.0
"""Seconds of processor time for each model that is timed."""
REPEATS = 3
CHUNK = 250


@dataclass(frozen=True)
class Economy:
    """One training of FFJORD."""

    nats: float
    """Held-out negative log-likelihood in nats per dimension."""
    nfe_mean: float
    """Evaluations that an object needs."""
    nfe_max: float
    """And the slowest of ``MEASURED``, for which a batch of them would wait."""
    steps: int


@dataclass(frozen=True)
class Data:
    """Where objects come from, as batches."""

    channels: int
    size: int
    draw: Callable[[], Batch]
    """A training batch, another each time."""
    validation: Batch
    held_out: Batch


def plane() -> Data:
    """The ring of eight Gaussians, as images of one pixel in two bands."""
    ring, generator = targets()[0], torch.Generator().manual_seed(2)

    def points(n: int, generator: torch.Generator) -> Batch:
        return Batch.of(ring.sample(n, generator)[:, :, None, None])

    seeded = (torch.Generator().manual_seed(seed) for seed in (3, 4))
    validation, held_out = (points(n, g) for n, g in zip((1000, 10_000), seeded, strict=True))
    return Data(2, 1, lambda: points(POINTS, generator), validation, held_out)


def images() -> Data:
    """scikit-learn's digits, as benchmarks.digits dequantises and splits them."""
    split, generator = digits(), torch.Generator().manual_seed(2)

    def batch(levels: Tensor, generator: torch.Generator, draws: int = 1) -> Batch:
        return Batch.of(dequantised(levels, generator, draws).view(-1, 1, SIZE, SIZE))

    def draw() -> Batch:
        rows = torch.randint(len(split.training), (IMAGES_A_STEP,), generator=generator)
        return batch(split.training[rows], generator)

    fixed = torch.Generator().manual_seed(3)
    return Data(1, SIZE, draw, batch(split.validation, fixed, 2), batch(split.held_out, fixed, 3))


DATA: Mapping[str, Callable[[], Data]] = {"ring": plane, "digits": images}


def economy(job: tuple[str, bool], seconds: float = SECONDS, options: Mapping[str, Any] | None = None) -> Economy:
    """Train FFJORD on that data, with or without regularisers, and count."""
    name, regularised = job
    data = DATA[name]()
    torch.manual_seed(1)
    weights = REGULARISED if regularised else NONE
    model = build_model(
        "ffjord.FFJORD", channels=data.channels, size=data.size, tolerance=TOLERANCE, **weights, **(options or {})
    )
    assert isinstance(model, FFJORD)
    model.initialise(data.draw())
    trained = train(
        model,
        lambda: model.loss(data.draw(), "flow"),
        lambda: -float(log_prob(model, data.validation).mean()),
        seconds=seconds,
        rate=RATE,
    )
    said = model.diagnostics(data.held_out[:MEASURED])
    nats = -float(log_prob(model, data.held_out).mean()) / model.dimensions
    return Economy(nats, said["nfe_mean"], said["nfe_max"], trained.steps)


def log_prob(model: Density, batch: Batch) -> Tensor:
    """(N,) nats, in chunks."""
    with torch.no_grad():
        parts = [model.log_prob(batch[start : start + CHUNK]) for start in range(0, len(batch), CHUNK)]
    return torch.cat(parts)


def economies(seconds: float = SECONDS, workers: int | None = None) -> dict[str, tuple[Economy, Economy]]:
    """Data -> without and with regularisers; each in a process of its own."""
    jobs = [(name, regularised) for name in DATA for regularised in (False, True)]
    found = list(each_in_its_process(economy, jobs, workers or os.cpu_count() or 1, seconds=seconds))
    return {name: (found[2 * i], found[2 * i + 1]) for i, name in enumerate(DATA)}


def as_figures(found: Mapping[str, tuple[Economy, Economy]], seconds: float = SECONDS) -> Figures:
    """The first table."""
    rows: dict[str, tuple[float | str, ...]] = {}
    for name, pair in found.items():
        for label, one in zip(("unregularised", "regularised"), pair, strict=True):
            ratio = one.nfe_mean / pair[0].nfe_mean
            rows[f"{name}, {label}"] = (one.nats, one.nfe_mean, one.nfe_max, ratio, str(one.steps))
    return Figures(
        f"FFJORD, {seconds:.0f} s of training each, solved at a tolerance of {TOLERANCE}",
        ("nats/dim", "NFE mean", "NFE max", "NFE ratio", "steps"),
        rows,
    )


def trained_on_galaxies(name: str, batch: Batch, seconds: float = TIMED_TRAINING) -> Density:
    """A model of its default options after a short training."""
    torch.manual_seed(1)
    model = build_model(name, channels=batch.pixels.shape[1], size=SIDE)
    if not isinstance(model, Density):
        raise TypeError(f"{name} has no exact density")
    draw = torch.Generator().manual_seed(2)
    model.initialise(batch[:256])

    def loss() -> Tensor:
        return model.loss(batch[torch.randint(len(batch), (64,), generator=draw)], model.players[0].name)

    train(model, loss, lambda: -float(log_prob(model, batch[:CHUNK]).mean()), seconds=seconds, rate=1e-3)
    return model


def throughput(bands: int, seconds: float = TIMED_TRAINING) -> tuple[Table, dict[str, str]]:
    """Seconds for ``SCORED`` galaxies in so many bands, and each model's bits per dimension and evaluations."""
    names = ("g", "r", "i")[-bands:]
    training = make_galaxies(GALAXIES, seed=1, size=SIDE, bands=names).batch(())
    scored = make_galaxies(SCORED, seed=2, size=SIDE, bands=names).batch(())
    models = {label: trained_on_galaxies(name, training, seconds) for label, name in TIMED.items()}
    cases = {label: partial(score_all, model, scored) for label, model in models.items()}
    timings = interleaved(cases, repeats=REPEATS)
    words = {}
    for label, model in models.items():
        bits = -float(log_prob(model, scored).mean()) / (bands * SIDE**2 * math.log(2))
        words[label] = f"{bits:.3f} bits per dimension"
        if isinstance(model, ContinuousFlow):
            words[label] += f", NFE {model.diagnostics(scored[:CHUNK])['nfe_mean']:.0f}"
    return table(f"score {SCORED} galaxies, {bands} band(s), {SIDE} px, one thread", "Glow", timings), words


def score_all(model: Density, batch: Batch) -> None:
    """As scoring does: in batches."""
    for start in range(0, len(batch), CHUNK):
        model.score(batch[start : start + CHUNK])


def run() -> Iterator[Figures | Table]:
    """Evaluations, then seconds with one band and with three."""
    yield as_figures(economies())
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for bands in (1, 3):
            timed, words = throughput(bands)
            print("; ".join(f"{label}: {text}" for label, text in words.items()))
            yield timed
    finally:
        torch.set_num_threads(before)
