"""What the benchmark of draws measures with, on images whose flux, size and colours are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import gan_quality
from benchmarks.synthetic_galaxies import Galaxies, make_galaxies
from galflow.batch import Batch
from galflow.models.gan import GAN


@pytest.fixture(scope="module")
def galaxies() -> Galaxies:
    return make_galaxies(120, 3, 32)


@pytest.fixture(scope="module")
def sky(galaxies: Galaxies) -> gan_quality.Sky:
    batch = Batch.of(galaxies.batch(()).pixels)
    return gan_quality.Sky("few", batch[:60], batch.pixels[60:], galaxies.stretched_truth()[60:], galaxies.stretch)


def test_quantities_follow_brightness_and_colour(galaxies: Galaxies) -> None:
    """Doubling the first band alone moves the first colour, and by ln 2 where the galaxy is bright."""
    bluer = galaxies.clean * np.array([2.0, 1.0, 1.0])[:, None, None]
    before, after = (
        gan_quality.quantities(torch.from_numpy(galaxies.stretch.forward(images)), galaxies.stretch)
        for images in (galaxies.clean, bluer)
    )
    assert list(before) == ["flux", "half-light radius", "ellipticity", "peak", "colour 1", "colour 2"]
    for name in ("flux", "half-light radius", "ellipticity", "peak", "colour 2"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5, atol=1e-6)
    bright = galaxies.snr > 200
    assert bright.sum() > 10
    np.testing.assert_allclose((after["colour 1"] - before["colour 1"])[bright], np.log(2), atol=0.05)


def test_distances_are_none_to_itself_and_one_to_what_lies_apart(sky: gan_quality.Sky) -> None:
    true = gan_quality.quantities(sky.held_out, sky.stretch)
    assert set(gan_quality.distances(true, true).values()) == {0.0}
    apart = gan_quality.distances({name: values + 1e9 for name, values in true.items()}, true)
    assert set(apart.values()) == {1.0}
    assert all(0 < value < 0.5 for value in gan_quality.floor(true).values())


def test_a_variant_is_trained_for_its_time_and_judged(sky: gan_quality.Sky) -> None:
    options = {"width": 4, "latent": 4}
    model, rounds = gan_quality.train(sky, "gan.GAN", options, seconds=1.0, seed=0)
    assert isinstance(model, GAN)
    assert all(done > 0 for done in rounds.values())
    found = gan_quality.judge(model, sky)
    assert list(found) == ["noisy draws", "floor, noisy", "noise-free draws", "floor, noise-free"]
    table = gan_quality.as_figures("title", found)
    assert table.columns[-1] == "mean"
    assert table.rows["noisy draws"][-1] > table.rows["floor, noisy"][-1]
