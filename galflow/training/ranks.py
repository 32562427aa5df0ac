"""One training over several processes: each rank takes its share of every batch, and all make the same step.

The gradients of the shares are summed, weighted by their objects or by their observed pixels
(GenerativeModel.loss_per_pixel), so that a step is that of the whole batch: what
DistributedDataParallel does, for models whose players have losses of their own. Every rank holds the whole model and
draws the same batches and symmetries; random numbers inside a loss differ from rank to rank. Buffers that a model moves
while training (moving averages) are rank 0's after each epoch. This file starts no process and knows no Dask.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from galflow.errors import ModelError
from galflow.models.base import Batch
from galflow.training.randomness import derived_seed

_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True)
class Ranks:
    """Which process this is, of how many. Alone, everything here does nothing."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank writes checkpoints and tells of progress."""
        return self.rank == 0

    def share(self, batch: Batch) -> Batch:
        """This rank's objects of a batch; none where there are fewer objects than ranks."""
        if self.world == 1:
            return batch
        bounds = [len(batch) * rank // self.world for rank in (self.rank, self.rank + 1)]
        return batch[slice(*bounds)]

    @contextlib.contextmanager
    def own_randomness(self, *place: int | str) -> Iterator[None]:
        """Random numbers of this rank's own inside; afterwards all ranks' generators are again alike."""
        if self.world == 1:
            yield
            return
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(derived_seed("rank", self.rank, *place))
            yield

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by the sum over ranks, all in one message."""
        if self.world == 1:
            return
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        for parameter, summed in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = summed.view_as(parameter)

    def total(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    def align_buffers(self, model: nn.Module) -> None:
        """Give all ranks rank 0's buffers."""
        if self.world > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)


ALONE = Ranks()


@contextlib.contextmanager
def _at_loopback() -> Iterator[None]:
    """Gloo and NCCL listen at the interface that these name; by default at whatever the machine's name stands for."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    before = dict(os.environ)
    if loopback is not None:
        for variable in _INTERFACES:
            os.environ.setdefault(variable, loopback)
    try:
        yield
    finally:
        for variable in _INTERFACES:
            if variable not in before:
                os.environ.pop(variable, None)


@contextlib.contextmanager
def joined_ranks(
    rank: int, world: int, address: str, *, device: torch.device, timeout_seconds: float
) -> Iterator[Ranks]:
    """Meet the other ranks at ``address`` and part from them at the end.

    tcp://host:port of rank 0; or file://path, where all are on one machine: then they listen at its loopback alone.
    Over NCCL on GPUs, gloo on CPUs. ModelError if they do not all come in time; a rank that dies later raises
    RuntimeError in the others' next step.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        with _at_loopback() if address.startswith("file://") else contextlib.nullcontext():
            dist.init_process_group(
                backend, init_method=address, rank=rank, world_size=world, timeout=timedelta(seconds=timeout_seconds)
            )
    except (RuntimeError, dist.DistError) as error:
        raise ModelError(
            f"rank {rank} of {world} did not meet the others at {address} within {timeout_seconds:g} s: {error}; "
            "check that the workers can reach each other's ports"
        ) from error
    try:
        yield Ranks(rank, world)
    finally:
        dist.destroy_process_group()
