"""Step 4: torch.compile of training (``training.compiled``) and of scoring, beside the same without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.figures import Figure, Settings, Subject, galaxies, seconds_each, timed, training_round, wait
from galflow.batch import Batch
from galflow.models.base import Density, GenerativeModel
from galflow.training.gpu_arithmetic import full_float32

FULL = (
    Subject("vae.VAE", 3, 64, {}),
    Subject("pixelcnn_pp.PixelCNNPP", 3, 32, {}),
    Subject("maf.MAF", 3, 32, {}),
    Subject("glow.Glow", 3, 32, {}),
)
SMALL = (Subject("kmeans.KMeans", 1, 8, {"clusters": 2}),)
NEAR = 1e-2
"""Largest difference of a compiled score from the plain one, in standard deviations of the objects' scores."""


def measure(settings: Settings) -> Iterator[Figure]:
    """For each model: rates of training and of scoring, plain and compiled, and what compiling took.

    In the small sizes without the machine code, which takes most of the time.
    """
    compiler = torch.compile
    if settings.small:
        torch.compile = partial(compiler, backend="aot_eager")
    try:
        objects = settings.pick(256, 8)
        for subject in settings.pick(FULL, SMALL):
            yield from _training(settings, subject, objects)
            yield from _scoring(settings, subject, objects)
            torch._dynamo.reset()
    finally:
        torch.compile = compiler


def _training(settings: Settings, subject: Subject, objects: int) -> Iterator[Figure]:
    base = None
    for compiled in (False, True):
        model = subject.made(settings.device)
        step, steps = training_round(model, galaxies(model, objects, settings.device), compiled=compiled)
        first = _first(settings, step)
        rate = steps * objects / seconds_each(settings, step)
        base = base or rate
        name = f"{subject}: training{', compiled' * compiled}"
        yield Figure(name, rate, "objects/s", note=f"{rate / base:.2f} times plain; first step {first:.1f} s")


def _scoring(settings: Settings, subject: Subject, objects: int) -> Iterator[Figure]:
    model = subject.made(settings.device).eval()
    batch = galaxies(model, objects, settings.device)
    verb = _verb(model)
    found: dict[str, Tensor] = {}
    base = None
    for name, case in {"plain": verb, "compiled": torch.compile(verb)}.items():

        def score(case: Callable[[Batch], Tensor] = case, name: str = name) -> None:
            with torch.no_grad(), full_float32(deterministic=True):
                found[name] = case(batch)

        first = _first(settings, score)
        rate = objects / seconds_each(settings, score)
        base = base or rate
        note = f"{rate / base:.2f} times plain; first call {first:.1f} s"
        yield Figure(f"{subject}: scoring, {name}", rate, "objects/s", note=note)
    plain, compiled = (values.double() for values in found.values())
    gap = float((plain - compiled).abs().max() / plain.std())
    yield Figure(f"{subject}: largest difference of compiled scores", gap, "sigma", gap < NEAR)


def _verb(model: GenerativeModel) -> Callable[[Batch], Tensor]:
    """The log-likelihood of a Density, the main score of others."""
    if isinstance(model, Density):
        return model.log_prob
    main = next(iter(model.scores))
    return lambda batch: model.score(batch)[main]


def _first(settings: Settings, case: Callable[[], object]) -> float:
    """Seconds of the first call, compiling included."""
    with timed() as passed:
        case()
        wait(settings.device)
        return passed()
