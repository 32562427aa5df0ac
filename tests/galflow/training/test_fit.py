"""The loop against the same training done plainly, and the ways in which it must end."""

import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.errors import DataError, ModelError
from galflow.models.base import Player
from galflow.spec.run import TrainingSpec
from galflow.training.fit import fit
from galflow.training.learning_curve import Progress

Data = Callable[..., TrainingSet]


def spec(**options: Any) -> TrainingSpec:
    return TrainingSpec(**{"epochs": 2, "batch_size": 16, **options})


def build(kind: type, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return kind.tiny()


def test_equals_plain_adam_on_the_same_batches(toys: SimpleNamespace, make_data: Data) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Watched(toys.Denoiser):
        def loss(self, batch: Batch, player: str) -> Tensor:
            noise = 0.1 * torch.randn_like(batch.pixels)
            if self.training:
                seen.append((batch.pixels.clone(), noise))
            return (self.net(batch.pixels + noise - self.mean) - batch.pixels).square().mean()

    model = build(Watched)
    model.net[3].p = 0.0
    plain = build(toys.Denoiser)
    plain.net[3].p = 0.0
    data = make_data(120)
    result = fit(model, data, spec(augment=True, epochs=3), seed=4)

    optimiser = torch.optim.Adam(plain.net.parameters(), lr=1e-2, fused=False)
    losses = []
    plain.train()
    for pixels, noise in seen:
        optimiser.zero_grad()
        loss = (plain.net(pixels + noise - model.mean) - pixels).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    for name, value in plain.net.state_dict().items():
        if name in ("0.bias", "1.running_mean"):
            continue  # A bias before batch statistics has no true gradient: Adam scales its rounding noise up.
        torch.testing.assert_close(model.net.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    per_epoch = -(-data.count(Split.TRAIN) // 16)
    assert len(seen) == 3 * per_epoch
    expected = [sum(losses[i : i + per_epoch]) / per_epoch for i in range(0, len(losses), per_epoch)]
    assert [p.train_loss for p in result.curves] == pytest.approx(expected, rel=1e-4)
    assert result.curves[-1].train_loss < 0.7 * result.curves[0].train_loss


def test_rounds_phases_and_curves(toys: SimpleNamespace, make_data: Data) -> None:
    turns: list[str] = []

    class Watched(toys.Duel):
        def loss(self, batch: Batch, player: str) -> Tensor:
            if self.training:
                turns.append(player)
            return super().loss(batch, player)

    model, data = build(Watched), make_data(120)
    seen: list[Progress] = []
    result = fit(model, data, spec(), seed=0, progress=seen.append)
    batches = -(-data.count(Split.TRAIN) // 16)
    duel = ["critic", "critic", "generator"] * (batches // 3)
    assert turns == duel * 2 + ["encoder"] * batches * 2
    assert [(p.phase, p.epoch, p.player) for p in result.curves] == [
        (0, 1, "critic"),
        (0, 1, "generator"),
        (0, 2, "critic"),
        (0, 2, "generator"),
        (1, 1, "encoder"),
        (1, 2, "encoder"),
    ]
    assert all(p.validation_loss is not None and p.seconds > 0 for p in result.curves)
    assert result.kept_epochs == {0: 2, 1: 2}
    metrics = result.metrics()
    assert metrics["encoder_validation_loss"] == result.curves[-1].validation_loss
    assert metrics["critic_train_loss"] == result.curves[2].train_loss
    assert sum(p.seconds for p in result.curves if p.player != "generator") <= result.seconds
    ended = [p for p in seen if p.points]
    assert [(p.phase, p.epoch) for p in ended] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert tuple(itertools.chain(*(p.points for p in ended))) == result.curves
    assert [p.rounds for p in seen if p.phase == 0 and p.epoch == 1 and not p.points] == list(
        range(1, batches // 3 + 1)
    )
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not model.training


def test_a_players_effort_scales_its_phases_epochs(toys: SimpleNamespace, make_data: Data) -> None:
    class Quick(toys.Duel):
        @property
        def players(self) -> tuple[Player, ...]:
            return tuple(replace(p, effort=0.5) if p.name == "encoder" else p for p in super().players)

    seen: list[Progress] = []
    result = fit(build(Quick), make_data(80), spec(epochs=4), seed=0, progress=seen.append)
    assert result.kept_epochs == {0: 4, 1: 2}
    assert {(p.phase, p.epochs) for p in seen} == {(0, 4), (1, 2)}
    assert fit(build(Quick), make_data(80), spec(epochs=1), seed=0).kept_epochs == {0: 1, 1: 1}


def test_finish_gets_the_training_split_unturned(toys: SimpleNamespace, make_data: Data) -> None:
    model, data = build(toys.Denoiser), make_data(60)
    fit(model, data, spec(epochs=1), seed=0)
    stored = list(data.batches(Split.TRAIN, 16))
    assert model.finished[0] == sum(float(b.pixels.double().sum()) for b in stored)
    assert model.finished[1] == data.count(Split.TRAIN)


def test_validation_compares_between_epochs_and_disturbs_nothing(toys: SimpleNamespace, make_data: Data) -> None:
    result = fit(build(toys.Denoiser), make_data(60), spec(learning_rate=1e-30, epochs=3), seed=0)
    # Nothing is learnt but the running statistics, which do not change the drawn noise.
    assert len({p.diagnostics["drawn"] for p in result.curves}) == 1
    assert len({p.train_loss for p in result.curves}) == 3
    assert result.curves[0].diagnostics["endless"] is None

    class Quiet(toys.Denoiser):
        def diagnostics(self, batch: Batch) -> dict[str, float]:
            return {}

    class Greedy(toys.Denoiser):
        def diagnostics(self, batch: Batch) -> dict[str, float]:
            torch.rand(1000)
            (self.loss(batch, "net")).backward()
            return {"norm": float(self.net[0].weight.grad.norm())}

    quiet, greedy = build(Quiet), build(Greedy)
    fit(quiet, make_data(60), spec(), seed=0)
    fit(greedy, make_data(60), spec(), seed=0)
    assert all(torch.equal(v, greedy.state_dict()[n]) for n, v in quiet.state_dict().items())


def test_validation_loss_is_the_mean_over_objects(toys: SimpleNamespace, make_data: Data) -> None:
    model, data = build(toys.Gaussian), make_data(100)
    result = fit(model, data, spec(epochs=1, batch_size=7), seed=0)
    (whole,) = data.batches(Split.VALIDATION, 10_000)
    assert len(whole) % 7 != 0
    assert result.curves[0].validation_loss == pytest.approx(float(-model.log_prob(whole).detach().mean()), rel=1e-6)


def test_the_callers_random_numbers_are_left_alone(toys: SimpleNamespace, make_data: Data) -> None:
    model, data = build(toys.Denoiser), make_data(40)
    before = torch.get_rng_state()
    fit(model, data, spec(epochs=1), seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_the_seed_decides(toys: SimpleNamespace, make_data: Data) -> None:
    data = make_data(60)
    trained = []
    for seed in (1, 1, 2):
        torch.rand(3)
        model = build(toys.Denoiser)
        torch.manual_seed(99 + len(trained))
        fit(model, data, spec(), seed=seed)
        trained.append(model.net[0].weight)
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


@pytest.mark.parametrize(
    ("patience", "epochs", "run", "kept"), [(2, 10, 5, 3), (1, 10, 4, 3), (2, 2, 2, 2), (None, 6, 6, 6)]
)
def test_early_stopping_keeps_the_best_epoch(
    toys: SimpleNamespace, make_data: Data, patience: int | None, epochs: int, run: int, kept: int
) -> None:
    model, data = build(toys.Drifting), make_data(40)
    settings = spec(epochs=epochs, patience=patience, learning_rate=0.1, batch_size=64)
    result = fit(model, data, settings, seed=0)
    # One step of 0.1 an epoch: 0.1, 0.2, 0.3 (the nearest to 0.33), 0.4, ...
    losses = [p.validation_loss for p in result.curves]
    assert len(losses) == run
    assert result.kept_epochs == {0: kept}
    assert float(model.place.detach()) == pytest.approx(0.1 * kept, abs=1e-3)
    assert result.metrics()["net_validation_loss"] == losses[kept - 1]


def test_several_players_do_not_stop_early(toys: SimpleNamespace, make_data: Data) -> None:
    class Worse(toys.Duel):
        def loss(self, batch: Batch, player: str) -> Tensor:
            loss = super().loss(batch, player)
            self.looks = getattr(self, "looks", 0) + (not self.training)
            return loss if self.training else loss + self.looks

    result = fit(build(Worse), make_data(60), spec(epochs=4, patience=1), seed=0)
    assert [p.epoch for p in result.curves if p.player == "critic"] == [1, 2, 3, 4]
    assert [p.epoch for p in result.curves if p.player == "encoder"] == [1, 2]
    assert result.kept_epochs == {0: 4, 1: 1}


def test_without_validation_objects(toys: SimpleNamespace, make_data: Data, caplog: pytest.LogCaptureFixture) -> None:
    data = make_data(40, validation=1e-9)
    with caplog.at_level(logging.WARNING):
        result = fit(build(toys.Denoiser), data, spec(epochs=3, patience=1), seed=0)
    assert [p.validation_loss for p in result.curves] == [None] * 3
    assert "validation split is empty: phase 0 trains without early stopping" in caplog.text
    assert "net_validation_loss" not in result.metrics()


def test_no_training_objects(toys: SimpleNamespace, make_data: Data) -> None:
    data = make_data(3, validation=0.5, reference=0.5)
    text = (
        r"nothing to train Denoiser on: the splits hold train 0, validation \d, reference \d normal objects; give more"
    )
    with pytest.raises(DataError, match=text):
        fit(build(toys.Denoiser), data, spec(), seed=0)


@pytest.mark.parametrize("bad_step", [1, 7, 11])
def test_a_loss_that_is_not_finite_is_named(toys: SimpleNamespace, make_data: Data, bad_step: int) -> None:
    class Diverging(toys.Denoiser):
        steps = 0

        def loss(self, batch: Batch, player: str) -> Tensor:
            self.steps += self.training
            return super().loss(batch, player) * (torch.nan if self.steps >= bad_step else 1)

    model, data = build(Diverging), make_data(120)
    assert -(-data.count(Split.TRAIN) // 16) == 6
    text = (
        f"Diverging diverged: the loss of player 'net' is nan at step {(bad_step - 1) % 6 + 1} of epoch "
        f"{(bad_step - 1) // 6 + 1} of phase 0; expected a finite number. Lower training.learning_rate \\(now 0.01\\)"
    )
    with pytest.raises(ModelError, match=text):
        fit(model, data, spec(), seed=0)
    assert all(p.requires_grad for p in model.parameters())


def test_a_validation_loss_or_weight_that_is_not_finite_is_named(toys: SimpleNamespace, make_data: Data) -> None:
    class Overflowing(toys.Denoiser):
        def loss(self, batch: Batch, player: str) -> Tensor:
            return super().loss(batch, player) / float(self.training or 1e-38) ** 2

    with pytest.raises(ModelError, match=r"Overflowing gives a validation loss of inf for player 'net'.*white_sigma"):
        fit(build(Overflowing), make_data(60), spec(), seed=0)

    class Broken(toys.Denoiser):
        def finish(self, batches: object) -> None:
            self.finished[1] = torch.nan

    with pytest.raises(ModelError, match="1 of 2 numbers in 'finished' of Broken are not finite"):
        fit(build(Broken), make_data(60), spec(epochs=1), seed=0)


def test_only_training_is_augmented(toys: SimpleNamespace, make_data: Data) -> None:
    seen: dict[bool, set[bytes]] = {True: set(), False: set()}

    class Watched(toys.Denoiser):
        def loss(self, batch: Batch, player: str) -> Tensor:
            seen[self.training].update(image.numpy().tobytes() for image in batch.pixels)
            return super().loss(batch, player)

    data = make_data(60)
    stored = {
        split: {image.numpy().tobytes() for b in data.batches(split, 16) for image in b.pixels} for split in Split
    }
    fit(build(Watched), data, spec(epochs=1), seed=0)
    assert seen[False] == stored[Split.VALIDATION]
    assert len(seen[True] - stored[Split.TRAIN]) > 0.7 * len(stored[Split.TRAIN])
    seen[True].clear()
    fit(build(Watched), data, spec(epochs=1, augment=False), seed=0)
    assert seen[True] == stored[Split.TRAIN]


def test_bfloat16_rounds_what_networks_compute_and_not_what_they_learn(toys: SimpleNamespace, make_data: Data) -> None:
    seen: list[torch.dtype] = []

    class Watched(toys.Denoiser):
        def loss(self, batch: Batch, player: str) -> Tensor:
            seen.append(self.net(batch.pixels - self.mean).dtype)
            return super().loss(batch, player)

    def trained(kind: type, precision: str) -> Any:
        model = build(kind)
        result = fit(model, make_data(120), spec(epochs=3, precision=precision), seed=4)
        return model, result.curves

    (exact, exact_curves), (rounded, curves) = trained(toys.Denoiser, "float32"), trained(Watched, "bf16")
    steps = sum(dtype == torch.bfloat16 for dtype in seen)
    assert steps > 0
    assert 0 < len(seen) - steps < steps  # validation is computed in full precision
    for name, value in rounded.state_dict().items():
        if value.is_floating_point():
            assert value.dtype != torch.bfloat16, name
    assert not all(torch.equal(v, exact.state_dict()[n]) for n, v in rounded.state_dict().items())
    assert curves[-1].train_loss < curves[0].train_loss
    assert curves[-1].train_loss < 2 * exact_curves[-1].train_loss
