"""How well and how fast similar objects are found among a million: the index of galflow.labels.similarity.

10^6 made latents of 64 dimensions (clusters of unequal size, some dimensions short), added as tiles of 10,000 are;
recall of the nearest ten against comparing with all, for a hundred objects.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import Figures
from galflow.labels.similarity import empty_index

OBJECTS, DIMENSIONS, TILE, ASKED, NEAREST = 1_000_000, 64, 10_000, 100, 10


def tiles() -> Iterator[np.ndarray]:
    """(TILE, DIMENSIONS) float32 each, always the same."""
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(200, DIMENSIONS)) * 2
    scale = np.linspace(1.5, 0.1, DIMENSIONS)
    for _ in range(OBJECTS // TILE):
        cluster = np.minimum(draw.geometric(0.02, TILE) - 1, len(centres) - 1)
        yield ((centres[cluster] + draw.normal(size=(TILE, DIMENSIONS))) * scale).astype(np.float32)


def _memory() -> float:
    """Megabytes that the process holds now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) / 1024


def _sample(n: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    return np.concatenate([tile[draw.random(TILE) < n / OBJECTS] for tile in tiles()])


def _truth(asked: np.ndarray) -> np.ndarray:
    """(ASKED, NEAREST) squared distances of the nearest, a tile after another."""
    best = np.full((ASKED, NEAREST), np.inf)
    for tile in tiles():
        squares = (asked**2).sum(1)[:, None] + (tile**2).sum(1) - 2 * asked @ tile.T
        best = np.sort(np.concatenate([best, np.partition(squares, NEAREST, 1)[:, :NEAREST]], 1), 1)[:, :NEAREST]
    return best


def run() -> Iterator[Figures]:
    """One table."""
    before, began = _memory(), time.perf_counter()
    index: Any = empty_index(OBJECTS, DIMENSIONS, _sample)
    for tile in tiles():
        index.add(tile)
    built, after = time.perf_counter() - began, _memory()
    asked = next(tiles())[:ASKED]
    truth = _truth(asked)
    began = time.perf_counter()
    found = np.concatenate([index.search(asked[i : i + 1], NEAREST)[0] for i in range(ASKED)])
    search = (time.perf_counter() - began) / ASKED
    recall = float(np.mean(found <= truth[:, -1:] * 1.002 + 1e-3))  # half precision rounds a distance
    columns = ("recall at 10", "build s", "search ms", "memory MB")
    yield Figures(
        f"{OBJECTS:,} x {DIMENSIONS}, {index.nlist} cells of which {index.nprobe} are searched",
        columns, {"faiss, inverted file, half precision": (recall, built, 1000 * search, after - before)},
    )  # fmt: skip
