from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from galflow.batch import Batch
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.models.wgan import WGAN
from galflow.report.inputs import ReportInputs
from galflow.report.training_signs import training_signs
from galflow.spec.run import TrainingSpec
from galflow.training.fit import fit
from galflow.training.learning_curve import CurvePoint
from galflow.training.trained_model import TrainedModel


def points(losses: Sequence[float], player: str = "network", validation: Sequence[float] | None = None, **diagnostics):
    return [
        CurvePoint(
            phase=0, epoch=i + 1, player=player, train_loss=float(loss),
            validation_loss=None if validation is None else float(validation[i]), seconds=1.0,
            diagnostics={name: values[i] for name, values in diagnostics.items()},
        )
        for i, loss in enumerate(losses)
    ]  # fmt: skip


@pytest.fixture
def vae(finished_run: ReportInputs) -> TrainedModel:
    return finished_run.models["vae"]


def signs(model: TrainedModel, curves: Sequence[CurvePoint], **metrics: float) -> list[str]:
    card = model.card.model_copy(update={"curves": tuple(curves), "metrics": metrics})
    return training_signs(replace(model, card=card))


def test_a_sound_training_has_no_signs(vae):
    losses = np.geomspace(1.0, 0.2, 20)
    assert signs(vae, points(losses, validation=losses + 0.01, active_latents=[16.0] * 20, kl_nats=losses)) == []


def test_a_loss_that_did_not_fall_is_named(vae):
    (sign,) = signs(vae, points([1.0, 1.5, 2.0, 2.5]))
    assert sign == "the training loss of network did not fall: 1 in the first epoch, 2.5 as kept"


def test_a_loss_that_rose_again_is_named_unless_the_best_epoch_was_kept(vae):
    curve = points([2.0, 1.0, 0.5, 1.0, 1.8])
    (sign,) = signs(vae, curve)
    assert sign == "the training loss of network rose again, from 0.5 in epoch 3 to 1.8"
    assert signs(vae, curve, network_train_loss=0.5) == []


def test_overfitting_is_named_unless_the_best_epoch_was_kept(vae):
    curve = points([2.0, 1.5, 1.0, 0.5, 0.2], validation=[2.0, 1.6, 1.5, 1.7, 1.9])
    (sign,) = signs(vae, curve)
    assert "learns its training objects by heart: the validation loss was lowest in epoch 3 (1.5) and is 1.9" in sign
    assert signs(vae, curve, network_train_loss=1.0, network_validation_loss=1.5) == []


def test_a_game_is_judged_by_its_size_and_not_by_its_trend(vae):
    rising = np.linspace(0.5, 3.0, 40)
    assert signs(vae, points(rising, "critic") + points(-rising, "generator")) == []
    away = np.concatenate([np.ones(20), np.geomspace(1.0, 1e4, 20)])
    (sign,) = signs(vae, points(away, "critic") + points(-rising, "generator"))
    assert sign.startswith("the loss of critic runs away: its size went from 1 to ")


@pytest.mark.parametrize(
    ("diagnostics", "text"),
    [
        (
            {"critic_gap": np.geomspace(1.0, 1e3, 30)},
            "critic gap grows without bound (5.3 to 788): the players have no",
        ),
        ({"critic_gap": np.linspace(1.0, -0.5, 30)}, "the critic does not tell real from fake"),
        (
            {"gradient_norm": np.linspace(1.0, 6.0, 30)},
            "gradient norm is 5.48, where the penalty should hold it near 1",
        ),
        ({"active_latents": np.zeros(30)}, "no latent is in use (posterior collapse)"),
        ({"kl_nats": [None, *np.ones(29)]}, "kl nats was not finite in 1 of 30 epochs"),
    ],
)
def test_the_models_own_numbers_are_judged(vae, diagnostics, text):
    (sign,) = signs(vae, points(np.linspace(1.0, 0.5, 30), **diagnostics))
    assert text in sign


HEALTHY = {"near_duplicates": [0.02] * 30, "coverage": [0.9] * 30, "density": [0.95] * 30}


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, None),
        ({"near_duplicates": np.linspace(1.0, 0.0, 30)}, None),
        ({"coverage": np.linspace(0.0, 0.6, 30), "density": [0.3] * 30}, None),
        ({"near_duplicates": np.linspace(0.0, 0.9, 30)}, "mode collapse: 81% of the samples are near-copies of ano"),
        ({"coverage": [0.1] * 30, "density": [1.4] * 30}, "mode collapse: the samples crowd around a few kinds of obj"),
        ({"coverage": [0.1] * 30, "density": [0.1] * 30}, "only 10% of the held-out objects have a sample near them"),
        ({"discriminator_accuracy": [0.995] * 30}, "the discriminator saturates: it tells 100% of real and fake"),
        ({"discriminator_accuracy": [0.85] * 30}, None),
        ({"generator_gradient": np.geomspace(0.1, 1e3, 30)}, "generator gradient grows without bound (0.924 to 728)"),
        ({"generator_gradient": np.geomspace(1.0, 0.1, 30)}, None),
    ],
)
def test_the_known_failures_of_adversarial_training_are_told_apart(vae, changed, text):
    found = signs(vae, points(np.linspace(1.0, 0.5, 30), **(HEALTHY | changed)))
    assert len(found) == (text is not None)
    assert text is None or text in found[0]


def test_collapse_is_judged_by_the_late_epochs_of_the_players_own_phase(vae):
    first = points(np.ones(20), "critic", **{name: values[:20] for name, values in HEALTHY.items()})
    later = [
        p.model_copy(update={"phase": 1, "player": "encoder", "train_loss": 1.0 / p.epoch, "diagnostics": collapsed})
        for p in first
        for collapsed in [{"near_duplicates": 1.0, "coverage": 0.0, "density": 0.0}]
    ]
    game = first + [p.model_copy(update={"player": "generator"}) for p in first]
    assert signs(vae, game + later) == []


class RoundGalaxies(TrainingSet):
    """Gaussian blobs of all brightnesses and sizes on a noisy sky, in memory."""

    def __init__(self) -> None:
        draw = torch.Generator().manual_seed(0)
        axis = (torch.arange(8.0) - 3.5).square()
        peak, width = (
            low + high * torch.rand(1536 + 64, 1, 1, 1, generator=draw) for low, high in ((0.3, 0.7), (0.7, 0.8))
        )
        clean = peak * torch.exp(-(axis[:, None] + axis) / (2 * width.square()))
        both = clean + 0.05 * torch.randn(clean.shape, generator=draw)
        self.splits = {Split.TRAIN: both[64:], Split.VALIDATION: both[:64], Split.REFERENCE: both[:0]}

    def count(self, split: Split) -> int:
        return len(self.splits[split])

    def batches(self, split: Split, batch_size: int, shuffle_seed: int | None = None) -> Iterator[Batch]:
        size = 64 if split is Split.VALIDATION else batch_size
        return (Batch.of(part) for part in self.splits[split].split(size))


@pytest.mark.full
@pytest.mark.parametrize("collapsed", [False, True])
def test_a_collapsed_training_is_reported_and_a_healthy_one_is_not(vae, collapsed):
    """The same training twice, once with a generator that is blind to its latents."""
    torch.manual_seed(0)
    model = WGAN(channels=1, size=8, latent=8, width=8, critic_steps=5, learning_rate=3e-3)
    if collapsed:
        model.domain = lambda latents: 0 * latents  # type: ignore[method-assign]
    trained = fit(model, RoundGalaxies(), TrainingSpec(epochs=16, batch_size=32), seed=1)
    found = [sign for sign in signs(vae, trained.curves, **trained.metrics()) if "sample" in sign or "collapse" in sign]
    assert found == (["mode collapse: 100% of the samples are near-copies of another sample"] if collapsed else [])


def test_a_few_epochs_are_not_judged(vae):
    assert signs(vae, points([1.0, 2.0, 3.0], active_latents=[0.0] * 3)) == []


def test_a_score_with_one_value_for_most_objects_has_collapsed(vae):
    reference = dict(vae.reference) | {"kl": np.array([0.0] * 7 + [1.0, 2.0, 3.0])}
    (sign,) = signs(replace(vae, reference=reference), points([2.0, 1.5, 1.2, 1.0]))
    assert sign == "70% of the held-out objects have the same kl: the score has collapsed"


def test_a_reconstruction_no_better_than_blank_sky_is_named(vae):
    quiet = replace(vae, card=vae.card.model_copy(update={"curves": ()}))
    assert training_signs(quiet, 0.4) == []
    (sign,) = training_signs(quiet, 1.3)
    assert "leave 1.3 times the objects' own power" in sign
