"""Sampling a PixelCNN++: cached activations (``sample``) beside a pass of the whole network a pixel (``sample_naive``).

Both draw with the same random numbers in double precision, in which no draw hangs on the order of a sum: the pixels are
compared one by one. The naive sampler costs the same at every pixel; of large images it draws the first rows alone and
its time is multiplied. Every pixel of the finished images is then drawn once more from one pass of the whole network
over them (``replayed``), which for a causal network is what the naive sampler would have seen. A third row times passes
in single precision, which a naive sampler that promises nothing would take.

``python -m benchmarks.sampling 64`` lets the naive sampler draw every row of 64 x 64 pixels: over an hour on one core.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.timing import Row, Table, Timing
from galflow.models.pixelcnn_pp import PixelCNNPP
from galflow.models.shared.autoregressive import Autoregressive

IMAGES = 16
WIDTH, LAYERS = 32, 5
NAIVE_ROWS = {32: 32, 64: 2}
"""Side -> rows that the naive sampler draws."""
LEAST_RATIO = {32: 60.0, 64: 183.0}
"""Side -> how many times faster than the naive sampler the cached one is to be (Ramachandran+17 report up to 183)."""
CACHED_REPEATS, PASSES = 3, 5
SEED = 5


def run() -> Iterator[Table]:
    """One table a size, with one torch thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for size, rows in NAIVE_ROWS.items():
            yield measure(network(size), rows)
    finally:
        torch.set_num_threads(before)


def network(size: int) -> PixelCNNPP:
    """Untrained, with a head that listens to the pixels before: what a draw costs does not depend on the weights."""
    torch.manual_seed(0)
    model = PixelCNNPP(channels=1, size=size, width=WIDTH, layers=LAYERS)
    with torch.no_grad():
        list(model.head.parameters())[-2].mul_(20)
    return model


def measure(model: Autoregressive, naive_rows: int, images: int = IMAGES) -> Table:
    """Both samplers beside each other; refuses to report a ratio of samplers that draw different pixels."""
    size = model.size
    cached, drawn = timed(lambda: model.sample(images, seeded()), CACHED_REPEATS)
    naive, expected = timed(lambda: model.sample_naive(images, seeded(), naive_rows), 1)
    if not (torch.equal(drawn[:, :, :naive_rows], expected) and torch.equal(drawn, replayed(model, drawn))):
        raise RuntimeError(f"cached and naive sampling of {size} x {size} pixels drew different pixels")
    observed = torch.ones_like(drawn, dtype=torch.bool)
    with torch.no_grad():
        single, _ = timed(lambda: model.outputs(drawn, observed), PASSES)
    cases = {
        "cached": cached,
        "naive": times(naive, size / naive_rows),
        "passes in float32": times(single, size**2),
    }
    rows = [Row(n, t, t.wall_ms / cached.wall_ms, t.cpu_ms / cached.cpu_ms) for n, t in cases.items()]
    share = "" if naive_rows == size else f"; naive: {naive_rows} rows, times {size / naive_rows:g}"
    title = (
        f"sampling {images} images of {size} x {size}, {type(model).__name__} of width {model.stack.width} and "
        f"{len(model.stack.dilations)} layers, {torch.get_num_threads()} thread(s), identical pixels{share}"
    )
    return Table(title, "cached", tuple(rows))


def ratio(found: Table, name: str = "naive") -> float:
    """How many times the cached sampler's wall time a case takes."""
    return next(row.ratio for row in found.rows if row.name == name)


def seeded() -> torch.Generator:
    """The same random numbers for every sampler."""
    return torch.Generator().manual_seed(SEED)


def timed(case: Callable[[], Tensor], repeats: int) -> tuple[Timing, Tensor]:
    """The times of ``repeats`` runs and the last one's result."""
    wall, cpu = [], []
    for _ in range(repeats):
        started, started_cpu = time.perf_counter(), time.process_time()
        result = case()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - started_cpu)
    return Timing(tuple(wall), tuple(cpu)), result


def times(timing: Timing, factor: float) -> Timing:
    """The time of ``factor`` such runs."""
    return Timing(tuple(factor * s for s in timing.wall_s), tuple(factor * s for s in timing.cpu_s))


@torch.no_grad()
def replayed(model: Autoregressive, pixels: Tensor) -> Tensor:
    """(n, C, H, W) what one pass of the whole network over finished images draws with the samplers' random numbers.

    Equal to ``pixels`` if, and only if, each pixel is what the naive sampler draws after those before it.
    """
    double = copy.deepcopy(model).double()
    values = model.bins.centre(model.bins.level(pixels), torch.float64)
    distribution = double.distribution(double.outputs(values, torch.ones_like(values, dtype=torch.bool)))
    generator, n, size = seeded(), len(pixels), model.size
    rows = [torch.rand((size, n, distribution.uniforms), generator=generator, dtype=torch.float64) for _ in range(size)]
    uniform = torch.stack(rows).permute(2, 3, 0, 1).to(pixels.device)  # from (y, x, image, number)
    return model.bins.centre(distribution.draw(uniform), pixels.dtype)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for side in map(int, sys.argv[1:]):
        print(measure(network(side), side).text(), flush=True)
