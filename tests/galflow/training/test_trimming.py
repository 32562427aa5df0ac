"""What a model is trained without: the exact share with the highest scores, of which nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from galflow.batch import Batch
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.spec.run import TrainingSpec
from galflow.storage.store import Store
from galflow.training.checkpoint import Checkpoint
from galflow.training.fit import fit
from galflow.training.learning_curve import Progress
from galflow.training.ranks import Ranks
from galflow.training.trimming import highest, main_scores

Data = Callable[..., TrainingSet]
SPEC = TrainingSpec(epochs=2, batch_size=16, trim=0.1)


def untrained(kind: type, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return kind.tiny()


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def require_equal(found: Any, expected: Any) -> None:
    for name, value in weights(expected).items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=0, atol=0, equal_nan=True, msg=name)


def pixels(data: TrainingSet, order: int | None = None) -> torch.Tensor:
    return torch.cat([batch.pixels for batch in data.batches(Split.TRAIN, 7, order)])


@pytest.mark.parametrize("memory_bytes", [2e9, 60_000])
def test_a_training_set_without_some_objects(make_data: Data, memory_bytes: float) -> None:
    data = make_data(120, memory_bytes=memory_bytes)
    everyone, left_out = pixels(data), np.array([0, 5, 6, 40, len(pixels(data)) - 1])
    fewer = data.without(left_out)
    expected = torch.from_numpy(np.delete(everyone.numpy(), left_out, axis=0))
    assert torch.equal(pixels(fewer), expected)
    assert fewer.count(Split.TRAIN) == len(expected)
    assert data.count(Split.TRAIN) == len(everyone)
    assert fewer.count(Split.REFERENCE) == data.count(Split.REFERENCE)
    shuffled = pixels(fewer, 3)
    assert not torch.equal(shuffled, expected)
    assert torch.equal(shuffled.sum((1, 2, 3)).sort().values, expected.sum((1, 2, 3)).sort().values)
    assert torch.equal(pixels(fewer.without(np.zeros(0, int))), everyone)


def test_the_share_is_exact_and_of_equals_the_last_go() -> None:
    scores = torch.tensor([3.0, 1.0, torch.inf, 3.0, 3.0, 0.0, 2.0, 2.0, 2.0, 2.0], dtype=torch.float64)
    assert highest(scores, 0.3).tolist() == [2, 3, 4]
    assert highest(scores, 0.29).tolist() == [2, 4]
    assert highest(scores, 0.0).tolist() == []


@pytest.mark.parametrize("kind", ["Denoiser", "Duel"])
def test_what_a_first_training_scores_highest_leaves_no_trace(
    toys: SimpleNamespace, make_data: Data, kind: str
) -> None:
    toy, data = getattr(toys, kind), make_data(120)
    first, trimmed, fresh = untrained(toy), untrained(toy), untrained(toy)
    fit(first, data, SPEC.model_copy(update={"trim": 0.0}), seed=3)
    objects = data.count(Split.TRAIN)
    scores = main_scores(first, data.batches(Split.TRAIN, 16), objects)
    result = fit(trimmed, data, SPEC, seed=3)
    assert len(result.left_out) == objects // 10
    assert sorted(scores.argsort()[-(objects // 10) :].tolist()) == result.left_out.tolist()
    assert result.left_out_scores.tolist() == scores[result.left_out].tolist()
    expected = fit(fresh, data.without(result.left_out), SPEC.model_copy(update={"trim": 0.0}), seed=3)
    require_equal(trimmed, fresh)
    assert [p.train_loss for p in result.curves] == [p.train_loss for p in expected.curves]
    assert len(expected.left_out) == 0
    assert any(not torch.equal(value, trimmed.state_dict()[name]) for name, value in weights(first).items())


def test_a_score_that_a_model_cannot_give_is_left_out_first(toys: SimpleNamespace, make_data: Data) -> None:
    class Failing(toys.Denoiser):
        def score(self, batch: Batch) -> dict[str, torch.Tensor]:
            found = super().score(batch)["misfit"]
            return {"misfit": torch.where(torch.arange(len(found)) == 3, torch.nan, found)}

    data = make_data(60)
    scores = main_scores(untrained(Failing).eval(), data.batches(Split.TRAIN, 16), data.count(Split.TRAIN))
    assert scores.isinf().nonzero().flatten().tolist() == list(range(3, len(scores), 16))


def test_ranks_take_turns_and_agree(toys: SimpleNamespace, make_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = make_data(120), untrained(toys.Denoiser).eval()
    objects = data.count(Split.TRAIN)
    expected = main_scores(model, data.batches(Split.TRAIN, 16), objects)
    shares: list[torch.Tensor] = []

    def keep(ranks: Ranks, value: torch.Tensor) -> torch.Tensor:
        shares.append(value)
        return value

    monkeypatch.setattr(Ranks, "total", keep)
    for rank in range(3):
        main_scores(model, data.batches(Split.TRAIN, 16), objects, Ranks(rank, 3))
    assert torch.equal(shares[0] + shares[1] + shares[2], expected)
    assert all((share == 0).sum() > objects // 2 for share in shares)


class Killed(Exception):
    pass


@pytest.mark.parametrize("memory_bytes", [2e9, 60_000])
def test_resumed_at_any_step_equals_undisturbed(
    toys: SimpleNamespace, make_data: Data, store: Store, memory_bytes: float
) -> None:
    data, spec = make_data(60, memory_bytes=memory_bytes), SPEC.model_copy(update={"trim_rounds": 2})
    calls = 0

    def kill_at(number: int | None) -> Callable[[Progress], None]:
        nonlocal calls
        calls = 0

        def count(progress: Progress) -> None:
            nonlocal calls
            calls += 1
            if calls == number:
                raise Killed

        return count

    def checkpoint() -> Checkpoint:
        return Checkpoint(store, "models/m/f1", "f1", every_seconds=0.0)

    undisturbed = untrained(toys.Duel)
    expected = fit(undisturbed, data, spec, seed=3, progress=kill_at(None))
    every = calls
    assert every > 15
    for at in range(1, every + 1):
        with pytest.raises(Killed):
            fit(untrained(toys.Duel), data, spec, seed=3, checkpoint=checkpoint(), progress=kill_at(at))
        model = untrained(toys.Duel)
        result = fit(model, data, spec, seed=3, checkpoint=checkpoint(), progress=kill_at(None))
        assert calls == every - at
        require_equal(model, undisturbed)
        assert result.left_out.tolist() == expected.left_out.tolist()
        assert result.left_out_scores.tolist() == expected.left_out_scores.tolist()
        checkpoint().delete()
