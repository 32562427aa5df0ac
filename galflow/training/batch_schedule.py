"""Which batch a training uses when: the seed and the place in the training alone decide, so that it can be repeated.

This file keeps no state; skipped batches are drawn and dropped, which costs next to nothing beside training on them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet, prefetch
from galflow.spec.run import TrainingSpec
from galflow.training.randomness import derived_seed


@dataclass(frozen=True)
class BatchSchedule:
    """The training set's batches on the device, in an order that the seed and the place in the training decide."""

    training_set: TrainingSet
    spec: TrainingSpec
    seed: int
    device: torch.device

    def __iter__(self) -> Generator[Batch]:
        """The training split in stored order, as often as asked: what ``GenerativeModel.finish`` is given."""
        return self.batches(Split.TRAIN)

    def batches(self, split: Split, *order: int | str, skip: int = 0) -> Generator[Batch]:
        """One pass, shuffled by ``order`` if there is any, without its first ``skip`` batches."""
        shuffle = derived_seed(self.seed, "shuffle", *order) if order else None
        stored = self.training_set.batches(split, self.spec.batch_size, shuffle)
        moved = (batch.to(self.device) for batch in islice(stored, skip, None))
        # On a GPU, gathering and copying the next batches overlaps with computing; a CPU has nothing to overlap.
        yield from prefetch(moved) if self.device.type == "cuda" else moved

    def whole(self) -> Generator[Batch]:
        """The training split in stored order, with the objects that are left out."""
        return self.without(torch.zeros(0, dtype=torch.int64)).batches(Split.TRAIN)

    def without(self, numbers: Tensor) -> BatchSchedule:
        """The same without these objects of the whole training split."""
        return replace(self, training_set=self.training_set.without(numbers.numpy()))

    def first(self) -> Batch:
        """A batch of training objects from all over the split."""
        with contextlib.closing(self.batches(Split.TRAIN, "first")) as stream:
            return next(stream)

    def rounds(self, phase: int, epoch: int, skip: int, per_round: int) -> Generator[list[Batch]]:
        """The epoch's complete rounds after the first ``skip``; a split too small for one is gone through again."""
        with contextlib.closing(self.batches(Split.TRAIN, phase, epoch, 0, skip=skip * per_round)) as stream:
            while len(batches := list(islice(stream, per_round))) == per_round:
                yield batches
                skip += 1
        again = 0
        while skip == 0 and len(batches) < per_round:
            again += 1
            with contextlib.closing(self.batches(Split.TRAIN, phase, epoch, again)) as stream:
                batches.extend(islice(stream, per_round - len(batches)))
        if skip == 0:
            yield batches
