"""Concentration, asymmetry, Gini and M20 against statmorph, closed forms and the scatter of noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.measured_galaxies import Galaxy, draw, noisy, own_pixels, read_golden
from galflow.measurements.nonparametric import STATISTICS, ShapeFlag, Statistics, measure_statistics

SIZE = 48


def measured(images: np.ndarray, sigma: np.ndarray | float, seen: np.ndarray | None = None, **more: int) -> Statistics:
    level = np.broadcast_to(np.asarray(sigma, float), len(images))
    own = np.stack([own_pixels(image, s) for image, s in zip(images, level, strict=True)])
    ivar = np.ones_like(images) / level[:, None, None] ** 2 * (1.0 if seen is None else seen)
    return measure_statistics(torch.from_numpy(images), torch.from_numpy(ivar), torch.from_numpy(own), **more)


def test_they_agree_with_statmorph() -> None:
    """Golden numbers: benchmarks/measured_galaxies.py says how they were made."""
    golden = read_golden()
    rows = [row for row in golden["galaxies"] if row["statmorph"]["flag"] < 2]
    assert len(rows) > 30
    seen = [noisy(draw(row["galaxy"]), golden["snr"], row["noise_seed"]) for row in rows]
    found = measured(np.stack([i for i, _ in seen]), np.array([s for _, s in seen]), draws=0)
    assert not found.flags.any()
    theirs = np.array([[row["statmorph"][name] for name in STATISTICS] for row in rows])
    off = np.abs(found.values.numpy() - theirs)
    # statmorph takes too much noise off the asymmetry: its turned picture is smoothed by interpolation, its sky is not.
    for name, middle, most in (
        ("petrosian_radius", 0.1, 1.5), ("concentration", 0.03, 0.15), ("asymmetry", 0.03, 0.1),
        ("gini", 0.005, 0.03), ("m20", 0.01, 0.1),
    ):  # fmt: skip
        i = STATISTICS.index(name)
        assert np.median(off[:, i]) < middle, name
        assert off[:, i].max() < most, name
        if name != "asymmetry":
            assert np.corrcoef(found.values.numpy()[:, i], theirs[:, i])[0, 1] > 0.98, name


def test_a_symmetric_galaxy_has_no_asymmetry_and_a_clump_gives_it_some() -> None:
    smooth = [Galaxy(1.0, 3.0, 0.7, 20, dx, dy) for dx, dy in ((0.0, 0.0), (0.31, -0.17), (0.5, 0.5))]
    clumpy = [Galaxy(1.0, 3.0, 0.7, 20, 0.1, 0.2, ((4.0, 1.0),))]
    images = np.stack([draw(galaxy, SIZE) for galaxy in smooth + clumpy])
    asymmetry = measured(images, 1e-5, draws=0).values[:, STATISTICS.index("asymmetry")].numpy()
    assert np.abs(asymmetry[:3]).max() < 0.01
    assert 0.05 < asymmetry[3] < 0.15  # twice 6 % of the light, less what the turned clump meets


def test_noise_is_taken_off_the_asymmetry() -> None:
    clean = draw(Galaxy(1.0, 3.0, 0.8, 20, 0.2, 0.1), SIZE)
    seen = [noisy(clean, 60, seed) for seed in range(60)]
    found = measured(np.stack([image for image, _ in seen]), seen[0][1], draws=0)
    asymmetry = found.values[:, STATISTICS.index("asymmetry")].numpy()
    assert abs(asymmetry.mean()) < 0.02
    assert asymmetry.std() < 0.1


def test_errors_are_about_the_scatter_of_other_noise() -> None:
    clean = draw(Galaxy(1.5, 3.0, 0.7, 20, 0.2, 0.1), SIZE)
    seen = [noisy(clean, 150, seed) for seed in range(100)]
    found = measured(np.stack([image for image, _ in seen]), seen[0][1])
    scatter = found.values.std(0)
    for i, name in enumerate(STATISTICS):
        assert 0.6 < float(found.errors[:, i].square().mean().sqrt() / scatter[i]) < 1.7, name


def test_the_same_seed_gives_the_same_errors_and_another_seed_others() -> None:
    image, sigma = noisy(draw(Galaxy(1.5, 3.0, 0.7, 20, 0.2, 0.1), SIZE), 150, 0)
    one, same, other = (measured(image[None], sigma, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.errors, same.errors)
    assert torch.equal(one.values, other.values)
    assert not torch.equal(one.errors, other.errors)


def test_concentration_follows_the_index() -> None:
    """Of profiles without a PSF to speak of: 5 log10(r80 / r20) is 2.1 for a Gaussian, 2.7 for an exponential disc."""
    images = np.stack([draw(Galaxy(n, 5.0, 1.0, 0, 0, 0), 64) for n in (0.5, 1.0)])
    found = measured(images, 1e-6, draws=0).values[:, STATISTICS.index("concentration")]
    assert found.tolist() == pytest.approx([2.1, 2.6], abs=0.1)


def test_what_cannot_be_measured_is_flagged_and_has_no_numbers() -> None:
    faint, sigma = noisy(draw(Galaxy(1.0, 3.0, 1.0, 0, 0, 0), SIZE), 1, 0)
    wide = draw(Galaxy(1.0, 16.0, 1.0, 0, 0, 0), SIZE)
    images = np.stack([faint, wide / wide.max()])
    found = measured(images, np.array([sigma, 0.01]))
    assert found.flags.tolist() == [ShapeFlag.NOT_DETECTED, ShapeFlag.BEYOND_CUTOUT]
    assert found.values.isnan().all()
    assert found.errors.isnan().all()


def test_values_of_missing_pixels_do_not_matter() -> None:
    image, sigma = noisy(draw(Galaxy(1.0, 3.0, 0.7, 20, 0, 0), SIZE), 150, 0)
    seen = np.ones((1, SIZE, SIZE), bool)
    seen[0, 30:33, 10:20] = False
    own = own_pixels(image, sigma)[None]
    ivar = torch.from_numpy(seen / sigma**2)
    one, other = (
        measure_statistics(torch.from_numpy(np.where(seen, image, value)), ivar, torch.from_numpy(own), draws=2)
        for value in (0.0, np.nan)
    )
    assert torch.equal(one.values, other.values)
    whole = measured(image[None], sigma, draws=0).values
    assert float((one.values - whole).abs()[0, 1:].max()) < 0.1
