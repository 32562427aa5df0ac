"""Batches of stored cutouts in shuffled order for training. Reading overlaps computing.

What a batch holds is made in galflow.cutouts.batches; this file decides which objects come when.
"""

from __future__ import annotations

import copy
import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from galflow.batch import Batch
from galflow.cutouts.batches import PIXELS_ALONE, BatchFields, ObjectReader, join_batches
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import common_white
from galflow.cutouts.splits import Split, split_rows
from galflow.errors import DataError
from galflow.photometry import AsinhStretch, LinearStretch, Stretch
from galflow.spec.stretch import StretchSpec

Item = TypeVar("Item")
Made = TypeVar("Made")
_STEPS_OF_8_BITS = 255
"""The noise of a picture in which none is measurable is taken to be one step of 8 bits."""


def stretch_for(sets: Sequence[CutoutSet], spec: StretchSpec) -> Stretch:
    """The stretch of a run: sky sigma per band as declared, or the median over the sets that observed the band.

    Linear up to the white of pictures that were stretched for display already, unless ``spec`` says otherwise.
    """
    if not sets:
        raise DataError("there are no cutouts to measure the sky's sigma on; ingest gave no object at all")
    bands = list(sets[0].attributes["bands"])
    white = common_white(sets)
    own_white = white if spec.kind_for(white is not None) == "linear" and not spec.white_is_given else None
    sigmas = np.array([[s if s else np.nan for s in c.attributes["sky_sigma"]] for c in sets], dtype=np.float64)
    values = []
    for i, band in enumerate(bands):
        measured = sigmas[:, i][np.isfinite(sigmas[:, i])]
        declared = (spec.sky_sigma or {}).get(band)
        if declared is None and not len(measured):
            if own_white is None:
                raise DataError(
                    f"no tile observed band {band!r}, so its sky sigma is unknown; declare stretch.sky_sigma"
                )
            declared = own_white[i] / _STEPS_OF_8_BITS
        values.append(float(declared if declared is not None else np.median(measured)))
    if own_white is not None:
        return LinearStretch(own_white, tuple(values))
    if spec.kind_for(white is not None) == "linear":
        return LinearStretch(tuple(spec.white_sigma * value for value in values), tuple(values))
    return AsinhStretch(spec.softening_sigma, spec.white_sigma, tuple(values))


def prefetch(items: Iterable[Item], depth: int = 2) -> Iterator[Item]:
    """The same items, made by a thread up to ``depth`` ahead; its error is raised here, in place."""
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put((item, None)):
                    return
        except BaseException as caught:  # noqa: BLE001 - handed to the consumer, who raises it
            error = caught
        put((None, error if error is not None else StopIteration()))

    thread = threading.Thread(target=produce, daemon=True, name="galflow-prefetch")
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


def ahead(items: Iterable[Item], work: Callable[[Item], Made], threads: int) -> Iterator[Made]:
    """What ``work`` makes of each item, in their order, by so many threads that are up to two items each ahead."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads, "galflow-ahead") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True, eq=False)
class _Piece:
    """A chunk of one cutout set and the wanted rows within it."""

    reader: ObjectReader
    rows: slice
    wanted: np.ndarray
    """Row numbers relative to the chunk's first."""


class TrainingSet:
    """The normal objects of many cutout sets, in shuffled batches.

    What fits ``memory_bytes`` is read once and kept; a larger set is read in groups of chunks, in a new order each
    epoch, and shuffled within the group. The order depends on the seed alone.
    """

    def __init__(
        self,
        sets: Sequence[CutoutSet],
        stretch: Stretch,
        *,
        validation: float,
        reference: float,
        memory_bytes: float = 2e9,
        contents: BatchFields = PIXELS_ALONE,
    ) -> None:
        self.stretch = stretch
        self._contents = contents
        self._memory = memory_bytes
        sets = [cutouts for cutouts in sets if len(cutouts)]
        readers = [ObjectReader.of(cutouts, contents) for cutouts in sets]
        self._pieces = {split: _pieces(readers, split, validation, reference) for split in Split}
        self._kept: dict[Split, Batch] = {}
        self._object_bytes = _object_bytes(readers[0]) if readers else 1
        self._left_out = np.zeros(0, np.int64)

    def count(self, split: Split) -> int:
        """Objects of a split."""
        return self._stored(split) - (len(self._left_out) if split is Split.TRAIN else 0)

    def _stored(self, split: Split) -> int:
        return sum(len(p.wanted) for p in self._pieces[split])

    def without(self, numbers: np.ndarray) -> TrainingSet:
        """The same sets without some objects of the whole training split, numbered in stored order; pixels are shared.

        Instead of those that this one is without.
        """
        other = copy.copy(self)
        other._left_out = np.unique(np.asarray(numbers, dtype=np.int64))
        return other

    def places(self, split: Split) -> list[tuple[CutoutSet, np.ndarray]]:
        """Where all objects of the split are stored, in stored order: sets, and row numbers in them."""
        return [(piece.reader.cutouts, piece.rows.start + piece.wanted) for piece in self._pieces[split]]

    def batches(self, split: Split, batch_size: int, shuffle_seed: int | None = None) -> Iterator[Batch]:
        """One pass over a split; in stored order without a seed. The last batch may be smaller."""
        rng = None if shuffle_seed is None else np.random.default_rng(shuffle_seed)
        for group, rows in self._groups(split, rng):
            order = rows if rng is None else rows[rng.permutation(len(rows))]
            for start in range(0, len(order), batch_size):
                yield group[torch.from_numpy(order[start : start + batch_size])]

    def _groups(self, split: Split, rng: np.random.Generator | None) -> Iterator[tuple[Batch, np.ndarray]]:
        """Objects that are in memory together, and the rows of them that take part."""
        pieces = self._pieces[split]
        left_out = self._left_out if split is Split.TRAIN else self._left_out[:0]
        if self._stored(split) * self._object_bytes <= self._memory:
            if split not in self._kept and pieces:
                self._kept[split] = self._load(pieces)
            if pieces:
                yield self._kept[split], np.delete(np.arange(self._stored(split)), left_out)
            return
        pieces = _without(pieces, left_out)
        order = range(len(pieces)) if rng is None else rng.permutation(len(pieces))
        for group in prefetch(self._load(group) for group in self._grouped([pieces[i] for i in order])):
            yield group, np.arange(len(group))

    def _grouped(self, pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
        group: list[_Piece] = []
        # The group in use, the one being read and one waiting are in memory together.
        limit = max(1, int(self._memory / 3 / self._object_bytes))
        for piece in pieces:
            if group and sum(len(p.wanted) for p in group) + len(piece.wanted) > limit:
                yield group
                group = []
            group.append(piece)
        if group:
            yield group

    def _load(self, pieces: Sequence[_Piece]) -> Batch:
        return join_batches([p.reader.read(p.rows, p.wanted).batch(self.stretch, self._contents) for p in pieces])


def _without(pieces: Sequence[_Piece], numbers: np.ndarray) -> list[_Piece]:
    """The pieces without these objects, numbered over all of them."""
    last = np.cumsum([len(piece.wanted) for piece in pieces])[:-1]
    keep = np.ones(sum(len(piece.wanted) for piece in pieces), bool)
    keep[numbers] = False
    return [replace(p, wanted=p.wanted[k]) for p, k in zip(pieces, np.split(keep, last), strict=True) if k.any()]


def _object_bytes(reader: ObjectReader) -> int:
    """Bytes of one object in a batch: pixels and inverse variance in float32, observed in a byte."""
    pixels = math.prod(reader.cutouts.pixel_shape) * (9 if reader.contents.ivar else 5)
    return pixels + 4 * ((0 if reader.psf is None else reader.psf.size) + len(reader.columns))


def _pieces(readers: Sequence[ObjectReader], split: Split, validation: float, reference: float) -> list[_Piece]:
    pieces = []
    for reader in readers:
        rows = split_rows(reader.cutouts, split, validation, reference)
        for chunk in reader.cutouts.chunks():
            wanted = rows[(rows >= chunk.start) & (rows < chunk.stop)] - chunk.start
            if len(wanted):
                pieces.append(_Piece(reader, chunk, wanted))
    return pieces
