"""What to do when a batch does not fit in memory: work on half of it at a time, then on a quarter, and so on.

Nothing else about the work changes: scores do not depend on how objects are batched, and a training step sums the
gradients of its portions. What fits is remembered, so memory runs out once and not in every batch. This file frees
nothing itself but what a GPU's allocator keeps, and cannot help a process that the kernel kills.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from galflow.batch import Batch
from galflow.errors import ModelError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class OomSplitter:
    """How many objects of a batch ``name`` takes at a time: all of them, until memory has run out."""

    def __init__(self, name: str) -> None:
        self.objects: int | None = None
        """At the most; None: as many as there are."""
        self._name = name

    def each(
        self, batch: Batch, work: Callable[[Batch], Result], undo: Callable[[], None] | None = None
    ) -> list[Result]:
        """``work`` of consecutive portions that are ``batch`` together.

        If memory runs out, what was done of the batch is undone by ``undo`` and begun again in smaller portions.
        ModelError if a single object does not fit.
        """
        while True:
            size = min(self.objects or len(batch), len(batch))
            try:
                return [work(batch[start : start + size]) for start in range(0, len(batch), max(size, 1))]
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
                if size <= 1:
                    raise ModelError(
                        f"{self._name} ran out of memory with a single object of {tuple(batch.pixels.shape[1:])} "
                        f"pixels ({error}); choose smaller cutouts or a smaller model, or a worker with more memory"
                    ) from error
                self.objects = (size + 1) // 2
                logger.warning(
                    "%s ran out of memory with %d objects at once; going on with %d", self._name, size, self.objects
                )
            # Outside the handler: the error's traceback would keep alive what did not fit.
            if undo is not None:
                undo()
            if batch.pixels.is_cuda:
                torch.cuda.empty_cache()


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether that is what an error says: a GPU's is a kind of its own, a CPU's a RuntimeError with a known text."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)
