"""Step 6: PixelCNN++ likelihoods, objects a second."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu.figures import Figure, Settings, Subject, galaxies, seconds_each
from galflow.batch import Batch
from galflow.models.base import Density
from galflow.training.gpu_arithmetic import full_float32

FULL = Subject("pixelcnn_pp.PixelCNNPP", 3, 32, {})
SMALL = Subject("pixelcnn_pp.PixelCNNPP", 1, 8, {"width": 8, "layers": 2})


def measure(settings: Settings) -> Iterator[Figure]:
    """Full float32 as galflow scores, TF32 and bfloat16, for several sizes of batch."""
    subject = settings.pick(FULL, SMALL)
    model = subject.made(settings.device).eval()
    if not isinstance(model, Density):
        raise TypeError(f"{subject} has no likelihood")
    for objects in settings.pick((128, 512, 2048), (4,)):
        batch = galaxies(model, objects, settings.device)
        for kind in ("float32", "float32, TF32", "bf16"):
            rate = objects / seconds_each(settings, _scoring(model, batch, kind, settings.device))
            yield Figure(f"{subject}: log-likelihoods, {kind}, batches of {objects}", rate, "objects/s")


def _scoring(model: Density, batch: Batch, kind: str, device: str) -> Callable[[], None]:
    def score() -> None:
        exact = full_float32(deterministic=True) if kind == "float32" else contextlib.nullcontext()
        with torch.no_grad(), exact, torch.autocast(device, torch.bfloat16, enabled=kind == "bf16"):
            model.log_prob(batch)

    return score
