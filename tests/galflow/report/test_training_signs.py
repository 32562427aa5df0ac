from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from galflow.report.inputs import ReportInputs
from galflow.report.training_signs import training_signs
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
