"""One training over several processes: each rank takes its share of every batch, and all make the same step.

The gradients of the shares are summed, weighted by their objects or by their observed pixels
(GenerativeModel.loss_per_pixel), so that a step is that of the whole batch: what
DistributedDataParallel does, for models whose players have losses of their own. Every rank holds the whole model and
draws the same batches and symmetries, and inside a loss the random numbers of its share of the whole batch. Buffers
that a model moves while training (moving averages) are rank 0's after each epoch. This file starts no process and
knows no Dask.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from galflow.batch import Batch
from galflow.errors import ModelError, RankError
from galflow.training.draws import draws_of_the_whole_batch
from galflow.training.meeting import listening_at, meet, never
from galflow.training.randomness import derived_seed

_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Ranks:
    """Which process this is, of how many. Alone, everything here does nothing."""

    rank: int = 0
    world: int = 1
    stopped: Callable[[], bool] = never
    """Whether this rank is to leave: asked while it waits for another."""

    @property
    def is_main(self) -> bool:
        """Whether this rank writes checkpoints and tells of progress."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This rank's objects of a batch; none where there are fewer objects than ranks."""
        if self.world == 1:
            return batch
        return batch[self._share(len(batch))]

    def _share(self, objects: int) -> slice:
        return slice(objects * self.rank // self.world, objects * (self.rank + 1) // self.world)

    @contextlib.contextmanager
    def draws(self, batch: Batch, *place: int | str) -> Iterator[None]:
        """Inside, this rank's objects get the random numbers that they would get if one process trained.

        Afterwards all ranks' generators are alike. See galflow.training.draws for what is drawn otherwise.
        """
        if self.world == 1:
            yield
            return
        with draws_of_the_whole_batch(len(batch), self._share(len(batch)), derived_seed("rank", self.rank, *place)):
            yield

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by the sum over ranks, all in one message."""
        if self.world == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._add_up(flat)
        for parameter, summed in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = summed.view_as(parameter)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        if self.world > 1:
            value = value.clone()
            self._add_up(value)
        return value

    def align_buffers(self, model: nn.Module) -> None:
        """Give all ranks rank 0's buffers."""
        if self.world > 1:
            for buffer in model.buffers():
                _finish(dist.broadcast(buffer, src=0, async_op=True), self.stopped)

    def _add_up(self, value: Tensor) -> None:
        """In place, over all ranks."""
        _finish(dist.all_reduce(value, async_op=True), self.stopped)


SINGLE_PROCESS = Ranks()


def _finish(work: dist.Work | None, stopped: Callable[[], bool]) -> None:
    """Wait for a collective operation; RankError if another rank is gone, or the training is ended from outside.

    Over gloo nothing else can end the wait for a partner that is silent: its timeout is minutes.
    """
    if work is not None and dist.get_backend() != "gloo":
        work.wait()  # in NCCL's own order on the device, which is not waited for here
        return
    while work is not None:
        try:
            work.wait(timedelta(seconds=_LOOK_SECONDS))
            return
        except RuntimeError as error:
            if work.is_completed():
                raise RankError(f"host {socket.gethostname()} lost another rank of its training: {error}") from error
            if stopped():
                _ABANDONED.append(work)
                raise RankError("this rank was told to leave its training: another was lost") from None


_ABANDONED: list[object] = []
"""What still waits for a silent partner, in a thread of gloo. To destroy it would wait too; its timeout ends it."""


@contextlib.contextmanager
def joined_ranks(
    rank: int,
    world: int,
    address: str,
    *,
    device: torch.device,
    timeout_seconds: float,
    listen: str = "127.0.0.1",
    stopped: Callable[[], bool] = never,
) -> Iterator[Ranks]:
    """Meet the other ranks at ``address`` and part from them at the end.

    Args:
        rank: This process's number, from 0.
        world: How many there are.
        address: tcp://host:port of rank 0; or file://path, where all are on one machine.
        device: Where the model is: over NCCL on GPUs, gloo on CPUs.
        timeout_seconds: Longest that one waits for another, to meet and within a step.
        listen: The address of this host at which gloo or NCCL listens.
        stopped: Asked about once a second: whether this rank is to leave, because another was lost.

    ModelError if they do not all come in time; a rank that dies later raises RankError in the others' next step.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    # NCCL looks at its variable when it first sends something.
    with listening_at(listen):
        try:
            store = meet(rank, world, address, timeout_seconds, stopped)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=world, timeout=timedelta(seconds=timeout_seconds)
            )
        except (RuntimeError, dist.DistError) as error:
            raise ModelError(
                f"rank {rank} of {world} on host {socket.gethostname()} (listening at {listen}) did not meet the "
                f"others at {address}: {error}; check that the workers can reach each other's ports"
            ) from error
        group = dist.distributed_c10d._get_default_group()
        try:
            yield Ranks(rank, world, stopped)
        finally:
            if stopped():
                _ABANDONED.append(group)
            dist.destroy_process_group()
