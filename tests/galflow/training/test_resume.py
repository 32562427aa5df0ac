"""A training that is cut off and taken up again ends as if nothing had happened, bit by bit."""

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from galflow.cutouts.stream import TrainingSet
from galflow.errors import ModelError
from galflow.spec.run import TrainingSpec
from galflow.storage.store import Store
from galflow.training.checkpoint import Checkpoint
from galflow.training.fit import fit
from galflow.training.learning_curve import FitResult, Progress

Data = Callable[..., TrainingSet]
SPEC = TrainingSpec(epochs=3, batch_size=16, patience=1)


class Killed(Exception):
    pass


class Killer:
    """Raises at the given call."""

    def __init__(self, at: int | None) -> None:
        self.at, self.calls = at, 0

    def __call__(self, progress: Progress) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise Killed


def build(kind: type) -> Any:
    torch.manual_seed(0)
    return kind.tiny()


def checkpoint(store: Store, fingerprint: str = "f1", every_seconds: float = 0.0) -> Checkpoint:
    return Checkpoint(store, "models/m/f1", fingerprint, every_seconds=every_seconds)


def plain_curves(result: FitResult) -> list[dict[str, Any]]:
    return [point.model_dump(exclude={"seconds"}) for point in result.curves]


def require_equal(model: Any, result: FitResult, expected_model: Any, expected: FitResult) -> None:
    for name, value in expected_model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert plain_curves(result) == plain_curves(expected)
    assert result.kept_epochs == expected.kept_epochs


@pytest.mark.parametrize(
    ("kind", "memory_bytes", "step"), [("Denoiser", 2e9, 2), ("Duel", 2e9, 3), ("Duel", 60_000, 7)]
)
def test_resumed_equals_undisturbed(
    toys: SimpleNamespace, make_data: Data, store: Store, kind: str, memory_bytes: float, step: int
) -> None:
    toy, data = getattr(toys, kind), make_data(120, memory_bytes=memory_bytes)
    undisturbed, counter = build(toy), Killer(None)
    expected = fit(undisturbed, data, SPEC, seed=3, progress=counter)
    assert counter.calls > 12
    for at in range(1, counter.calls + 1, step):
        with pytest.raises(Killed):
            fit(build(toy), data, SPEC, seed=3, checkpoint=checkpoint(store), progress=Killer(at))
        torch.rand(at)
        model, rest = build(toy), Killer(None)
        result = fit(model, data, SPEC, seed=3, checkpoint=checkpoint(store), progress=rest)
        assert rest.calls == counter.calls - at
        require_equal(model, result, undisturbed, expected)
        checkpoint(store).delete()


def test_the_best_epoch_is_remembered(toys: SimpleNamespace, make_data: Data, store: Store) -> None:
    data, settings = make_data(40), TrainingSpec(epochs=10, batch_size=64, patience=2, learning_rate=0.1)
    undisturbed = build(toys.Drifting)
    expected = fit(undisturbed, data, settings, seed=3)
    assert expected.kept_epochs == {0: 3}
    for at in range(1, 11):
        with pytest.raises(Killed):
            fit(build(toys.Drifting), data, settings, seed=3, checkpoint=checkpoint(store), progress=Killer(at))
        model = build(toys.Drifting)
        result = fit(model, data, settings, seed=3, checkpoint=checkpoint(store))
        require_equal(model, result, undisturbed, expected)
        checkpoint(store).delete()


def test_killed_again_and_again(toys: SimpleNamespace, make_data: Data, store: Store) -> None:
    data, undisturbed = make_data(120), build(toys.Duel)
    expected = fit(undisturbed, data, SPEC, seed=3)
    deaths, result = 0, None
    while result is None:
        model = build(toys.Duel)
        try:
            result = fit(model, data, SPEC, seed=3, checkpoint=checkpoint(store), progress=Killer(3))
        except Killed:
            deaths += 1
    assert deaths > 4
    require_equal(model, result, undisturbed, expected)
    assert result.seconds > max(p.seconds for p in result.curves)


def test_when_checkpoints_are_written_changes_nothing(toys: SimpleNamespace, make_data: Data, store: Store) -> None:
    data, rarely, often = make_data(60), build(toys.Denoiser), build(toys.Denoiser)
    expected = fit(rarely, data, SPEC, seed=3, checkpoint=checkpoint(store, every_seconds=1e9))
    assert store.list("models") == []
    result = fit(often, data, SPEC, seed=3, checkpoint=checkpoint(store))
    assert store.list("models") == ["models/m/f1/checkpoint.pt"]
    require_equal(often, result, rarely, expected)


def test_a_finished_training_only_finishes_again(toys: SimpleNamespace, make_data: Data, store: Store) -> None:
    data, first, second = make_data(60), build(toys.Denoiser), build(toys.Denoiser)
    expected = fit(first, data, SPEC, seed=3, checkpoint=checkpoint(store))
    again = Killer(1)
    result = fit(second, data, SPEC, seed=3, checkpoint=checkpoint(store), progress=again)
    assert again.calls == 0
    require_equal(second, result, first, expected)


def test_an_unfit_checkpoint_is_set_aside(
    toys: SimpleNamespace, make_data: Data, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    data, undisturbed = make_data(60), build(toys.Denoiser)
    expected = fit(undisturbed, data, SPEC, seed=3)
    # As after a change to the model's layers without a new version.
    with pytest.raises(Killed):
        fit(build(toys.Duel), data, SPEC, seed=3, checkpoint=checkpoint(store), progress=Killer(2))
    model = build(toys.Denoiser)
    with caplog.at_level(logging.WARNING):
        result = fit(model, data, SPEC, seed=3, checkpoint=checkpoint(store, every_seconds=1e9))
    assert "the checkpoint does not fit Denoiser: training starts afresh" in caplog.text
    require_equal(model, result, undisturbed, expected)


def test_a_diverged_state_is_not_kept(toys: SimpleNamespace, make_data: Data, store: Store) -> None:
    class Diverging(toys.Denoiser):
        steps = 0

        def loss(self, batch: Any, player: str) -> torch.Tensor:
            self.steps += 1
            return super().loss(batch, player) * (torch.nan if self.steps == 2 else 1)

    with pytest.raises(ModelError, match="is nan at step 2 of epoch 1"):
        fit(build(Diverging), make_data(120), SPEC, seed=3, checkpoint=checkpoint(store))
    kept = checkpoint(store).load()
    assert kept is not None
    assert kept["training"]["place"] == [0, 0, 1]
    assert all(value.isfinite().all() for value in kept["model"].values())
