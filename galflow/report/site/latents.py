"""Where a model's latents put the gallery's objects: a map of their principal components, and each one's neighbours.

Latents are written by whoever draws a sheet, an array a sheet, and read back here: all of a gallery's fit into memory.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from galflow.labels.directions import LatentDirections
from galflow.report.plots import BLUE, STYLE
from galflow.storage.store import Store

LATENTS_FOLDER = "encoded"
"""Below a report's folder."""
NEIGHBOURS = 12
_BLOCK = 512


def latents_name(index: int) -> str:
    """Of the latents of a sheet's objects, below the report's folder."""
    return f"{LATENTS_FOLDER}/{index:05d}.npy"


def latents_file(latents: npt.NDArray[np.float32]) -> bytes:
    """(N, D) as a file of numpy's; NaN where an object has none."""
    sink = io.BytesIO()
    np.save(sink, latents.astype(np.float32))
    return sink.getvalue()


@dataclass(frozen=True, eq=False)
class LatentMap:
    """Of the gallery's objects in the order of rank."""

    model: str
    axes: npt.NDArray[np.float64]
    """(N, COMPONENTS or fewer) principal components of the standardised latents; NaN of objects without any."""
    shares: npt.NDArray[np.float64]
    """Of the variance, of each component."""
    near: npt.NDArray[np.int64]
    """(N, NEIGHBOURS or fewer) places of the nearest objects, the nearest first; -1 of objects without latents."""

    def content(self) -> dict[str, Any]:
        """As the scripts read it."""
        known = [all(map(math.isfinite, place)) for place in self.axes.tolist()]
        return {
            "model": self.model,
            "shares": self.shares.round(4).tolist(),
            "axes": [[None if not k else round(float(v), 4) for v, k in zip(axis, known, strict=True)]
                     for axis in self.axes.T],
            "near": [row.tolist() if k else [] for row, k in zip(self.near, known, strict=True)],
        }  # fmt: skip

    def figure(self) -> Figure:
        """The first two components."""
        with matplotlib.rc_context(STYLE):
            figure = Figure(figsize=(6, 5), layout="constrained")
            axes = figure.add_subplot()
            axes.scatter(
                self.axes[:, 0], self.axes[:, 1], s=6, c=BLUE, linewidths=0, alpha=0.6, rasterized=len(self.axes) > 2000
            )
            axes.set_xlabel(f"component 1 of {self.model} ({self.shares[0]:.0%} of the variance)")
            axes.set_ylabel(f"component 2 ({self.shares[1]:.0%})")
            return figure


def latent_map(store: Store, folder: str, model: str, sheets: Mapping[int, int]) -> LatentMap | None:
    """From the files of these sheets (index -> objects) below the report's folder; None where no two have latents.

    A sheet whose file is not there has objects without latents.
    """
    parts: list[npt.NDArray[np.float32] | int] = []
    for index, objects in sorted(sheets.items()):
        key = f"{folder}/{latents_name(index)}"
        parts.append(np.load(io.BytesIO(store.get(key))) if store.exists(key) else objects)
    width = max((part.shape[1] for part in parts if not isinstance(part, int)), default=0)
    latents = np.concatenate([_wide(part, width) for part in parts]) if parts else np.zeros((0, 0))
    known = np.flatnonzero(np.isfinite(latents).all(axis=1)) if width else np.zeros(0, np.int64)
    if len(known) < 3 or width < 2:
        return None
    directions = LatentDirections.of(latents[known])
    values, axes = directions.standardised(latents[known]), directions.places(latents[known])
    near = np.full((len(latents), min(NEIGHBOURS, len(known) - 1)), -1, np.int64)
    near[known] = known[_nearest(values, near.shape[1])]
    placed = np.full((len(latents), axes.shape[1]), np.nan)
    placed[known] = axes
    return LatentMap(model, placed, directions.shares, near)


def _wide(part: npt.NDArray[np.float32] | int, width: int) -> npt.NDArray[np.float32]:
    if isinstance(part, int) or part.shape[1] != width:
        return np.full((part if isinstance(part, int) else len(part), width), np.nan, np.float32)
    return part


def _nearest(values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """(N, count) the nearest others by Euclidean distance, a block of objects at a time."""
    squares = (values**2).sum(axis=1)
    found = np.zeros((len(values), count), np.int64)
    for start in range(0, len(values), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(values)))
        apart = squares[block, None] + squares[None] - 2 * values[block] @ values.T
        apart[np.arange(len(apart)), np.arange(block.start, block.stop)] = np.inf
        close = np.argpartition(apart, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(apart, close, axis=1), axis=1, kind="stable")
        found[block] = np.take_along_axis(close, order, axis=1)
    return found
