"""A cutout set as models score it: chunk after chunk, each read once, stretched for every way of seeing, ahead of use.

For a GPU several threads read side by side, and pixels are stretched on the GPU itself: one thread of a CPU would be
slower than the models. On a CPU one thread reads, which leaves the cores to the models.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np

from galflow.batch import Batch
from galflow.cutouts.batches import PIXELS_ALONE, BatchFields, ObjectReader
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.stream import ahead
from galflow.photometry import Stretch

_READERS_FOR_GPU = 6


@dataclass(frozen=True)
class View:
    """How a model sees objects; models that see them alike share a batch."""

    stretch: Stretch
    contents: BatchFields


def chunks_in_views(
    cutouts: CutoutSet, views: Collection[View], wanted: np.ndarray, device: str
) -> Iterator[tuple[np.ndarray, dict[View, Batch]]]:
    """Row numbers and their objects in each view on ``device``, a chunk at a time; of ``wanted`` rows, (N,) bool."""
    reader = ObjectReader.of(cutouts, PIXELS_ALONE.joined(view.contents for view in views))

    def seen(chunk: slice) -> tuple[np.ndarray, dict[View, Batch]]:
        inside = np.flatnonzero(wanted[chunk])
        objects = reader.read(chunk, inside if len(inside) < chunk.stop - chunk.start else slice(None))
        return inside + chunk.start, {view: objects.batch(view.stretch, view.contents, device) for view in views}

    filled = (chunk for chunk in cutouts.chunks() if wanted[chunk].any())
    # Whole chunks ahead, not batches: else nobody reads while a model works through the last of a chunk.
    return ahead(filled, seen, 1 if device == "cpu" else _READERS_FOR_GPU)
