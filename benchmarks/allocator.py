"""One training step of a PixelCNN as Dask starts its workers, and as tasks/cluster.py does.

Dask sets MALLOC_TRIM_THRESHOLD_=65536 in its workers, so that freed memory goes back to the system at once; torch asks
for the same memory again in the next step. tasks/cluster.py sets that threshold and MALLOC_MMAP_THRESHOLD_ to 1 GiB.
glibc reads both when a process starts, so each repeat is a process of its own; what it prints is one step's time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.timing import REPEATS, Table, Timing, table
from galflow.batch import Batch
from galflow.models.base import build_model

SETTINGS: dict[str, dict[str, str]] = {
    "galflow's workers": {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)},
    "Dask's default": {"MALLOC_TRIM_THRESHOLD_": "65536"},
    "glibc's default": {},
}
WIDTH, BATCH_OBJECTS, BANDS, SIZE = 16, 16, 3, 32
_WARM_UP, _STEPS = 3, 10


def run() -> Iterator[Table]:
    """One table: the same step under each setting, in turns."""
    wall: dict[str, list[float]] = {name: [] for name in SETTINGS}
    cpu: dict[str, list[float]] = {name: [] for name in SETTINGS}
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    for _ in range(REPEATS):
        for name, setting in SETTINGS.items():
            answer = subprocess.run(
                [sys.executable, "-m", "benchmarks.allocator"],
                env=plain | setting,
                cwd=Path(__file__).parents[1],
                check=True,
                capture_output=True,
            )
            seconds, seconds_cpu = (float(word) for word in answer.stdout.split())
            wall[name].append(seconds)
            cpu[name].append(seconds_cpu)
    timings = {name: Timing(tuple(wall[name]), tuple(cpu[name])) for name in SETTINGS}
    title = f"training step, PixelCNN of width {WIDTH}, batch {BATCH_OBJECTS} of {BANDS} x {SIZE} x {SIZE}, one thread"
    yield table(title, "galflow's workers", timings)


def one_step() -> tuple[float, float]:
    """Mean wall-clock and processor seconds of a training step in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model("pixelcnn_pp.PixelCNNPP", channels=BANDS, size=SIZE, width=WIDTH)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    batch = Batch.of(0.1 * torch.randn(BATCH_OBJECTS, BANDS, SIZE, SIZE))
    player = model.players[0].name
    started = started_cpu = 0.0
    for step in range(_WARM_UP + _STEPS):
        if step == _WARM_UP:
            started, started_cpu = time.perf_counter(), time.process_time()
        optimiser.zero_grad()
        model.loss(batch, player).backward()
        optimiser.step()
    return (time.perf_counter() - started) / _STEPS, (time.process_time() - started_cpu) / _STEPS


if __name__ == "__main__":
    print(*one_step())
