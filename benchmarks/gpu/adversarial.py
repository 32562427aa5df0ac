"""Step 7: WGAN-GP, optimiser steps a second: five of the critic, with its gradient penalty, to one of the generator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks.gpu.figures import Figure, Settings, Subject, galaxies, seconds_each, training_round
from galflow.training.gpu_arithmetic import full_float32

FULL = Subject("wgan.WGAN", 3, 64, {"critic_steps": 5})
SMALL = Subject("wgan.WGAN", 1, 8, {"width": 4, "latent": 4, "critic_steps": 5})


def measure(settings: Settings) -> Iterator[Figure]:
    """For full float32, TF32 and bfloat16 with channels last, on batches of two sizes."""
    subject = settings.pick(FULL, SMALL)
    for objects in settings.pick((64, 512), (4,)):
        for kind in ("float32", "float32, TF32", "bf16, channels last"):
            half = kind.startswith("bf16")
            model = subject.made(settings.device, channels_last=half)
            batch = galaxies(model, objects, settings.device)
            step, steps = training_round(model, batch, precision="bf16" if half else "float32")
            with full_float32() if kind == "float32" else contextlib.nullcontext():
                rate = steps / seconds_each(settings, step)
            note = f"{rate * objects:,.0f} objects/s"
            yield Figure(f"{subject}: training, {kind}, batches of {objects}", rate, "steps/s", note=note)
