"""A batch that does not fit in memory is taken in portions, with the same result; anything else is not swallowed."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.errors import ModelError
from galflow.models.autoencoder import Autoencoder
from galflow.training.oom_splitter import OomSplitter
from galflow.training.players import PhaseOptimisers

GALAXIES = Batch.of(torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(1)))


def fits(most: int, error: Callable[[str], Exception] = torch.OutOfMemoryError) -> Callable[[Batch], Tensor]:
    """Work that has memory for so many objects."""

    def work(batch: Batch) -> Tensor:
        if len(batch) > most:
            raise error("CUDA out of memory. Tried to allocate 20.00 GiB")
        return batch.pixels.sum((1, 2, 3))

    return work


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError,
        MemoryError,
        lambda _: RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried"),
    ],
)
def test_portions_are_halved_until_they_fit_and_stay_so(
    error: Callable[[str], Exception], caplog: pytest.LogCaptureFixture
) -> None:
    portions = OomSplitter("the work")
    undone: list[None] = []
    with caplog.at_level(logging.WARNING):
        found = portions.each(GALAXIES, fits(6, error), lambda: undone.append(None))
    assert [len(part) for part in found] == [5, 5, 5, 5]
    assert torch.equal(torch.cat(found), GALAXIES.pixels.sum((1, 2, 3)))
    assert len(undone) == 2, "20 and 10 were tried"
    assert caplog.messages == [
        "the work ran out of memory with 20 objects at once; going on with 10",
        "the work ran out of memory with 10 objects at once; going on with 5",
    ]
    portions.each(GALAXIES, fits(5, error), lambda: undone.append(None))
    assert len(undone) == 2, "what fits is remembered"
    assert portions.each(GALAXIES[:0], fits(5, error)) == []


def test_one_object_that_does_not_fit_is_said() -> None:
    message = r"the work ran out of memory with a single object of \(1, 8, 8\) pixels .*; choose smaller cutouts or a"
    with pytest.raises(ModelError, match=message):
        OomSplitter("the work").each(GALAXIES, fits(0))


def test_other_errors_are_no_lack_of_memory() -> None:
    portions = OomSplitter("the work")
    with pytest.raises(RuntimeError, match="shapes differ"):
        portions.each(GALAXIES, fits(1, lambda _: RuntimeError("shapes differ")))
    assert portions.objects is None


class Cramped(Autoencoder):
    """Has memory for the loss of seven objects, and only notices after it has given other gradients."""

    def loss(self, batch: Batch, player: str) -> Tensor:
        if len(batch) > 7:
            self.encoder.requires_grad_(True)
            for parameter in self.encoder.parameters():
                parameter.grad = torch.ones_like(parameter)
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().loss(batch, player)


def test_a_training_in_portions_is_the_same_training() -> None:
    batch = Batch(GALAXIES.pixels, torch.rand(GALAXIES.pixels.shape, generator=torch.Generator().manual_seed(2)) > 0.3)

    def trained(kind: type[Autoencoder]) -> dict[str, Tensor]:
        torch.manual_seed(3)
        model = kind(channels=1, size=8, width=8, latent=4)
        model.initialise(batch)
        team = PhaseOptimisers(model, [model.players[0]], 1e-3)
        for _ in range(5):
            team.step_round([batch], augment=False)
        return model.state_dict()

    expected = trained(Autoencoder)
    for name, value in trained(Cramped).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-5, msg=name)


REAL = """
import resource, torch
from galflow.models.base import Batch
from galflow.training.oom_splitter import OomSplitter
torch.set_num_threads(1)
batch = Batch.of(torch.ones(64, 1, 8, 8))
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 6 * 2**30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
portions = OomSplitter("a real allocation")
found = portions.each(batch, lambda part: torch.empty(len(part), 2**27)[:, :8].zero_().sum(1))
print(len(torch.cat(found)), portions.objects)
"""


def test_an_allocator_that_really_refuses_is_understood() -> None:
    """64 objects of 512 MiB each in 6 GiB of address space, of which a part is left free.

    An allocation that fails takes address space itself: torch looks up where it was asked for.
    """
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    total, objects = map(int, done.stdout.split())
    assert total == 64
    assert 1 <= objects <= 11
    assert "a real allocation ran out of memory with 64 objects at once; going on with 32" in done.stderr
