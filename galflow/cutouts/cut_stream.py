"""From rows to the store: chunks are cut and compressed by several threads and written in order.

Each thread holds one chunk, so that memory does not grow with the tile's objects.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from galflow.cutouts.cutting import TileCutter
from galflow.cutouts.flags import Flag
from galflow.cutouts.likeness import likeness
from galflow.cutouts.plant import Planting
from galflow.cutouts.set_writing import CutoutWriter, Pixels, quantise
from galflow.spec.run import CutoutSpec

_MOST_THREADS = 4
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """``function`` of each item, in their order, with no more than ``ahead`` results made before they are taken."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _threads() -> int:
    """As many as this process may have processors, within reason: each holds a chunk."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_THREADS, allowed)


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Cut, and compressed if it is full."""

    flags: np.ndarray
    likeness: dict[str, np.ndarray]
    pixels: Pixels | None
    encoded: dict[str, bytes] | None


class CutoutStream:
    """Cuts the objects of a tile and hands them to the writer of its set."""

    def __init__(
        self, cutter: TileCutter, writer: CutoutWriter, spec: CutoutSpec, sky_sigma: np.ndarray, *, ready_made: bool
    ) -> None:
        """``sky_sigma``: (band,), NaN where unknown. ``ready_made``: the objects are images of their own."""
        self._cutter, self._writer, self._spec = cutter, writer, spec
        self._sky_sigma, self._ready_made = sky_sigma, ready_made
        self._flags: list[np.ndarray] = []
        self._likeness: list[dict[str, np.ndarray]] = []

    @property
    def flags(self) -> np.ndarray:
        """(N,) of the objects that were written."""
        return np.concatenate([np.zeros(0, np.int64), *self._flags])

    @property
    def likeness(self) -> dict[str, np.ndarray]:
        """By what copies of an image are found, of all objects; empty where they are no ready-made images."""
        names = self._likeness[0] if self._likeness else ()
        return {name: np.concatenate([of[name] for of in self._likeness]) for name in names}

    def write_all(self, count: int) -> None:
        """Cut and write the rows 0 ... count - 1."""
        threads = min(
            _MOST_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _MOST_THREADS
        )
        with ThreadPoolExecutor(threads, thread_name_prefix="galflow-cut") as pool:
            for chunk in in_order(pool, self._chunk, self._slices(count), threads):
                self._note(chunk.flags, chunk.likeness)
                if chunk.encoded is not None:
                    self._writer.add_chunk(chunk.encoded)
                elif chunk.pixels is not None:
                    self._writer.add(chunk.pixels)

    def write_copies(self, planting: Planting) -> None:
        """Cut the originals again, paint them and write them; their flags tell of what was painted, too."""
        for rows in self._slices(len(planting.chosen)):
            originals, flags = self._cutter.cut(planting.chosen[rows])
            pixels = planting.paint(originals)
            flags |= self._cutter.defect_flags(pixels) | int(Flag.PLANTED)
            self._note(flags, self._likeness_of(pixels, flags))
            self._writer.add(self._rounded(pixels))

    def _slices(self, count: int) -> Iterator[slice]:
        step = self._writer.per_chunk
        # An empty set still says how alike its images are.
        return (slice(start, min(start + step, count)) for start in range(0, max(count, 1), step))

    def _chunk(self, rows: slice) -> _Chunk:
        pixels, flags = self._cutter.cut(rows)
        alike, pixels = self._likeness_of(pixels, flags), self._rounded(pixels)
        if len(pixels) == self._writer.per_chunk:
            return _Chunk(flags, alike, None, self._writer.encode(pixels))
        return _Chunk(flags, alike, pixels, None)

    def _note(self, flags: np.ndarray, alike: dict[str, np.ndarray]) -> None:
        self._flags.append(flags)
        self._likeness.append(alike)

    def _likeness_of(self, pixels: Pixels, flags: np.ndarray) -> dict[str, np.ndarray]:
        return likeness(pixels, flags) if self._ready_made else {}

    def _rounded(self, pixels: Pixels) -> Pixels:
        if self._spec.pixels != "quantised":
            return pixels
        return Pixels(quantise(pixels.flux, self._sky_sigma, self._spec.quantum_sigma), pixels.ivar, pixels.mask)
