"""Which batches a round is given."""

from collections.abc import Callable

import pytest
import torch

from galflow.batch import Batch
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.spec.run import TrainingSpec
from galflow.training.batch_schedule import BatchSchedule


def objects(batches: list[Batch]) -> list[bytes]:
    return [image.numpy().tobytes() for batch in batches for image in batch.pixels]


def supply(data: TrainingSet, batch_size: int, seed: int = 0) -> BatchSchedule:
    return BatchSchedule(data, TrainingSpec(batch_size=batch_size), seed, torch.device("cpu"))


@pytest.mark.parametrize("memory_bytes", [2e9, 40_000])
def test_an_epoch_shows_every_object_once(make_data: Callable[..., TrainingSet], memory_bytes: float) -> None:
    data = make_data(100, memory_bytes=memory_bytes)
    stored = objects(list(data.batches(Split.TRAIN, 8)))
    given = supply(data, 8)
    epochs = [objects([b for r in given.rounds(0, epoch, 0, 1) for b in r]) for epoch in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(stored)
    assert epochs[0] != epochs[1]
    assert epochs[0] == objects([b for r in given.rounds(0, 0, 0, 1) for b in r])
    assert epochs[0] != objects([b for r in given.rounds(1, 0, 0, 1) for b in r])
    assert epochs[0] != objects([b for r in supply(data, 8, seed=1).rounds(0, 0, 0, 1) for b in r])
    assert objects(list(given)) == stored
    assert objects(list(given)) == stored


@pytest.mark.parametrize("memory_bytes", [2e9, 40_000])
def test_skipped_rounds_leave_the_others_as_they_are(
    make_data: Callable[..., TrainingSet], memory_bytes: float
) -> None:
    given = supply(make_data(100, memory_bytes=memory_bytes), 5)
    whole = [objects(r) for r in given.rounds(0, 3, 0, 2)]
    assert len(whole) >= 5
    for skip in range(len(whole) + 1):
        assert [objects(r) for r in given.rounds(0, 3, skip, 2)] == whole[skip:]


def test_an_incomplete_last_round_is_dropped(make_data: Callable[..., TrainingSet]) -> None:
    data = make_data(100)
    batches = -(-data.count(Split.TRAIN) // 8)
    rounds = list(supply(data, 8).rounds(0, 0, 0, 4))
    assert batches % 4 != 0
    assert [len(r) for r in rounds] == [4] * (batches // 4)
    shown = objects([b for r in rounds for b in r])
    assert len(set(shown)) == len(shown)


def test_a_split_too_small_for_a_round_is_shuffled_again(make_data: Callable[..., TrainingSet]) -> None:
    data = make_data(40)
    count = data.count(Split.TRAIN)
    assert 16 < count <= 32
    (only,) = supply(data, 16).rounds(0, 0, 0, 5)
    assert [len(b) for b in only] == [16, count - 16, 16, count - 16, 16]
    passes = [objects(only[0:2]), objects(only[2:4])]
    assert passes[0] != passes[1]
    assert sorted(passes[0]) == sorted(passes[1])
    assert list(supply(data, 16).rounds(0, 0, 1, 5)) == []
