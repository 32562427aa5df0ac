"""One training step as it is, and with ``training.compiled``; on a GPU also both in bfloat16 with channels last.

Steps of 64 galaxies in three bands of 32 x 32. How long compiling took is printed: it is paid once a training, and
again for a last batch of another size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.costs import CHANNELS, SIZE, galaxies
from benchmarks.timing import Table, interleaved, table
from galflow.models.base import build_model

MODELS = ("vae.VAE", "pixelcnn.PixelCNN", "pixelcnn_pp.PixelCNNPP", "realnvp.RealNVP", "glow.Glow", "maf.MAF")
OBJECTS = 64
PLAIN = "plain"


def run() -> Iterator[Table]:
    """One table a model."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kinds = {PLAIN: (False, False), "compiled": (False, True)}
    if device == "cuda":
        kinds |= {"bf16": (True, False), "bf16, compiled": (True, True)}
    for name in MODELS:
        torch._dynamo.reset()
        cases = {kind: _step(name, device, half=half, compiled=fast) for kind, (half, fast) in kinds.items()}
        for kind, case in cases.items():
            started = time.perf_counter()
            case()
            print(f"{name}, {kind}: first step {time.perf_counter() - started:.1f} s")
        title = f"training step of {name}, {OBJECTS} objects, {CHANNELS} bands, {SIZE} px, {device}"
        yield table(title, PLAIN, interleaved(cases))


def _step(name: str, device: str, *, half: bool, compiled: bool) -> Callable[[], None]:
    """A step without the optimiser, as galflow.training.players makes it."""
    torch.manual_seed(0)
    model = build_model(name, channels=CHANNELS, size=SIZE)
    batch = galaxies(model, OBJECTS)
    model.initialise(batch)
    model, batch = model.to(device).train(), batch.to(device)
    if half:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = torch.compile(model.loss) if compiled else model.loss
    player = model.players[0].name

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=half):
            value = loss(batch, player).float()
        value.backward()
        value.item()  # what a GPU still computes is waited for

    return step
