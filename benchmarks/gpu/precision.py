"""Step 3: training in float32, in bfloat16 and in bfloat16 with channels last, and how far scores move by it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from benchmarks.gpu.figures import Figure, Settings, Subject, galaxies, seconds_each, training_round
from galflow.training.gpu_arithmetic import full_float32

FULL = (
    Subject("vae.VAE", 3, 64, {}),
    Subject("pixelcnn_pp.PixelCNNPP", 3, 32, {}),
    Subject("glow.Glow", 3, 32, {}),
    Subject("realnvp.RealNVP", 3, 32, {}),
)
SMALL = (Subject("vae.VAE", 3, 8, {}),)
LARGEST_SHIFT = 1.0
"""Of a main score in bfloat16, in standard deviations of the objects' scores: beyond it something is broken."""


def measure(settings: Settings) -> Iterator[Figure]:
    """Rates of training for each model and kind of arithmetic, then the shift of its scores."""
    objects = settings.pick(256, 8)
    for subject in settings.pick(FULL, SMALL):
        base = None
        for kind in ("float32", "float32, TF32", "bf16", "bf16, channels last"):
            model = subject.made(settings.device, channels_last="channels last" in kind)
            batch = galaxies(model, objects, settings.device)
            step, steps = training_round(model, batch, precision="bf16" if kind.startswith("bf16") else "float32")
            with full_float32() if kind == "float32" else contextlib.nullcontext():
                rate = steps * objects / seconds_each(settings, step)
            base = base or rate
            yield Figure(f"{subject}: training, {kind}", rate, "objects/s", note=f"{rate / base:.2f} times float32")
        yield _shift(settings, subject, objects)


def _shift(settings: Settings, subject: Subject, objects: int) -> Figure:
    model = subject.made(settings.device).eval()
    batch = galaxies(model, objects, settings.device)
    main = next(iter(model.scores))
    with torch.no_grad(), full_float32(deterministic=True):
        exact = model.score(batch)[main].double()
    with torch.no_grad(), torch.autocast(settings.device, torch.bfloat16):
        rounded = model.score(batch)[main].double()
    shift = float((rounded - exact).abs().max() / exact.std())
    return Figure(f"{subject}: largest shift of {main} in bf16", shift, "sigma", shift < LARGEST_SHIFT)
