"""Typicality and the complexity correction: their formulas, and that every trained density gives them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from galflow.batch import Batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.errors import ModelError
from galflow.models.base import Density, all_models
from galflow.photometry import AsinhStretch
from galflow.spec.models import ModelSpec
from galflow.spec.run import CutoutSpec, TrainingSpec
from galflow.storage.products import Target
from galflow.storage.store import Store
from galflow.training.corrected_likelihood import (
    COMPLEXITY,
    CORRECTED,
    TYPICALITY,
    complexity_bits,
    complexity_corrected,
    eight_bit,
    scores_of,
    typicality,
)
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel


def test_complexity_orders_constant_smooth_and_noise() -> None:
    images = torch.zeros(3, 2, 32, 32, dtype=torch.uint8)
    images[1] = 3 * (torch.arange(32)[:, None] + torch.arange(32))
    images[2] = torch.randint(0, 256, (2, 32, 32), generator=torch.Generator().manual_seed(10))
    everywhere = torch.ones(images.shape, dtype=torch.bool)
    bits = complexity_bits(images, everywhere)
    assert bits[0] < bits[1] < bits[2]
    assert bits[1] < 0.1 * bits[2]  # the Paeth residual of a ramp is nearly constant
    assert bits[2] == pytest.approx(8 * 2 * 32 * 32, rel=0.02)
    np.testing.assert_array_equal(complexity_bits(images[[2, 0]], everywhere[:2]), bits[[2, 0]])


def test_complexity_matches_a_png_encoders_filter() -> None:
    image = (np.random.default_rng(11).normal(0, 2, (64, 64)).cumsum(0).cumsum(1) % 256).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "png", optimize=True)
    ours = complexity_bits(torch.from_numpy(image)[None, None], torch.ones(1, 1, 64, 64, dtype=torch.bool))[0] / 8
    assert ours == pytest.approx(len(sink.getvalue()), rel=0.15)


def test_eight_bit() -> None:
    values = torch.tensor([[[[-1.0, 0.0, 0.0039, 0.5, 0.9999, 7.0, math.nan]]]])
    assert eight_bit(values, 0.0, 1 / 256).ravel().tolist() == [0, 0, 0, 128, 255, 255, 0]


@pytest.mark.parametrize("bin_width", [None, 1 / 64, 1 / 1024])
def test_correction_is_serras_whatever_the_space_of_the_likelihood(bin_width: float | None) -> None:
    """Uniform noise over 256 bins has 8 bits a pixel, and no compressor saves one of them: S is about 0."""
    model = SimpleNamespace(bin_width=bin_width, pixel_bins=(0.0, 1 / 256))
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    observed = torch.ones_like(pixels, dtype=torch.bool)
    observed[1, :, :16] = False
    pixels = torch.where(observed, pixels, torch.nan)  # nothing of a missing pixel counts
    # Density 1 on [0, 1): no bits a dimension; as a mass in bins, log2 of their number.
    bits = np.full(2, 0.0 if bin_width is None else -math.log2(bin_width))
    found = complexity_corrected(model, pixels, observed, bits)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, 0.0, atol=0.2)
    surprising = complexity_corrected(model, pixels, observed, bits + np.array([0.0, 3.0]))  # type: ignore[arg-type]
    np.testing.assert_allclose(surprising - found, [0.0, 3.0])


def test_typicality_marks_the_suspiciously_probable_too() -> None:
    found = typicality(np.array([1.0, 3.0, 5.0, math.nan]), np.array([2.5, 3.5]))
    np.testing.assert_allclose(found, [2.0, 0.0, 2.0, math.nan])
    with pytest.raises(ModelError, match="got none"):
        typicality(np.array([1.0]), np.array([]))


def test_every_density_has_both_and_nothing_else_has_one() -> None:
    for name, model in all_models().items():
        corrected = [score for score in scores_of(model) if score in CORRECTED]
        assert corrected == (list(CORRECTED) if issubclass(model, Density) else []), name
        assert next(iter(scores_of(model))) == next(iter(model.scores)), "the main score stays the model's own"
        if issubclass(model, Density):
            low, width = model.tiny().pixel_bins
            assert low < 0 < width


def test_a_trained_density_gives_both_calibrated_on_held_out_objects(
    toys: SimpleNamespace, store: Store, write_set: Callable[..., CutoutSet]
) -> None:
    stretch = AsinhStretch(3.0, 100.0, (1.0, 1.0))
    cutouts = write_set("a", 90)
    receipt = train_model(
        Target(store, "models/toy/f", "f", {}),
        Recipe(
            ModelSpec(name="toy", model="galflow_toys.Gaussian"),
            TrainingSpec(epochs=1, reference_fraction=0.4),
            CutoutSpec(),
            stretch,
            0,
        ),
        [cutouts],
    )
    model = TrainedModel.load(store, receipt.product)
    assert set(model.card.scores) == {"bits_per_dim", *CORRECTED}
    data = TrainingSet([cutouts], stretch, validation=0.1, reference=0.4)
    (batch,) = data.batches(Split.REFERENCE, 1000)
    found = model.evaluate(batch)
    for name, values in found.items():
        np.testing.assert_allclose(np.sort(values), model.reference[name], rtol=1e-6, atol=1e-9, err_msg=name)
    assert set(found) == set(model.reference) == {"bits_per_dim", "loglike", "bpd", *CORRECTED}
    np.testing.assert_allclose(found[TYPICALITY], np.abs(found["bpd"] - found["bpd"].mean()), rtol=1e-6)
    # An image of one colour has nothing to compress: all its bits are surprise. Noise of the same likelihood has less.
    flat = Batch.of(torch.full((1, 2, 8, 8), 0.5))
    noisy = Batch.of(torch.where(torch.rand(1, 2, 8, 8) < 0.5, 0.1, 0.9))
    surprise = {name: model.evaluate(b) for name, b in (("flat", flat), ("noisy", noisy))}
    shortened = {name: v["bpd"] - v[COMPLEXITY] for name, v in surprise.items()}
    assert shortened["flat"] < shortened["noisy"]
