"""Fits against GalSim's truth: no bias at high S/N, errors that hold, missing pixels that do not matter, flags."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.measured_galaxies import Galaxy, draw, noisy, psf_image
from galflow.measurements.sersic_fit import FitFlag, SersicFits, fit_fluxes, fit_sersic
from galflow.measurements.sersic_parameters import PARAMETERS

SIZE = 40
PSF = torch.from_numpy(psf_image())
ROUND_ANGLE = PARAMETERS.index("theta")


def truth(galaxy: Galaxy) -> np.ndarray:
    middle = (SIZE - 1) / 2
    major = galaxy.r50 / math.sqrt(galaxy.q)
    return np.array([1, middle + galaxy.dx, middle + galaxy.dy, major, galaxy.n, galaxy.q, galaxy.theta, 0])


def fitted(images: np.ndarray, sigma: np.ndarray | float, seen: np.ndarray | None = None) -> SersicFits:
    ivar = np.ones_like(images) * np.reshape(np.asarray(sigma, float) ** -2, (-1, 1, 1))
    ivar = ivar if seen is None else ivar * seen
    return fit_sersic(torch.from_numpy(images), torch.from_numpy(ivar), PSF)


def angles_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray((a - b + 90) % 180 - 90)


@pytest.fixture(scope="module")
def grid() -> tuple[list[Galaxy], np.ndarray]:
    rng = np.random.default_rng(2)
    galaxies = [
        Galaxy(n, r50, q, float(rng.uniform(0, 180)), *map(float, rng.uniform(-0.5, 0.5, 2)))
        for n in (0.5, 1.0, 2.5, 4.0, 6.0)
        for r50 in (1.5, 4.0)
        for q in (0.3, 0.6, 0.95)
    ]
    return galaxies, np.stack([draw(galaxy, SIZE) for galaxy in galaxies])


def test_without_noise_the_truth_comes_back(grid: tuple[list[Galaxy], np.ndarray]) -> None:
    galaxies, images = grid
    found = fitted(images, np.sqrt((images**2).sum((1, 2))) / 1000)
    assert not found.flags.any()
    wanted, values = np.stack([truth(g) for g in galaxies]), found.values.numpy()
    off = np.abs(values / np.where(wanted == 0, 1, wanted) - 1)
    for name, limit in {"flux": 0.01, "r50": 0.02, "n": 0.05, "q": 0.01}.items():
        assert off[:, PARAMETERS.index(name)].max() < limit, name
    np.testing.assert_allclose(values[:, 1:3], wanted[:, 1:3], atol=0.01)
    assert np.abs(angles_apart(values[:, ROUND_ANGLE], wanted[:, ROUND_ANGLE])).max() < 1
    # The medians are ten times better than the worst case.
    assert np.median(off[:, 0]) < 1e-3
    assert np.median(off[:, PARAMETERS.index("n")]) < 3e-3


def test_errors_are_the_scatter_of_fits_to_other_noise() -> None:
    galaxy = Galaxy(1.5, 3.0, 0.6, 50.0, 0.2, -0.3)
    clean = draw(galaxy, SIZE)
    seen = [noisy(clean, 150, seed) for seed in range(300)]
    found = fitted(np.stack([image for image, _ in seen]), seen[0][1])
    assert not found.flags.any()
    off = found.values.numpy() - truth(galaxy)
    off[:, ROUND_ANGLE] = angles_apart(found.values.numpy()[:, ROUND_ANGLE], np.full(300, galaxy.theta))
    pulls = off / found.errors.numpy()
    width = dict(zip(PARAMETERS, pulls.std(axis=0), strict=True))
    assert all(0.8 < w < 1.25 for w in width.values()), width
    assert np.abs(pulls.mean(axis=0)).max() < 0.3
    assert 0.97 < float(found.chi2.mean()) < 1.03
    assert float(found.snr.mean()) == pytest.approx(150, rel=0.05)


def test_missing_pixels_do_not_bias_and_their_values_do_not_matter(grid: tuple[list[Galaxy], np.ndarray]) -> None:
    galaxies, images = grid
    seen = np.ones_like(images, bool)
    seen[:, 22:26, 14:40] = False  # a bad row beside the centre
    seen[:, :9, :9] = False
    sigma = np.sqrt((images**2).sum((1, 2))) / 1000
    found = fitted(np.where(seen, images, 1e6), sigma, seen)
    with_nan = fitted(np.where(seen, images, np.nan), sigma, seen)
    torch.testing.assert_close(found.values, with_nan.values)
    wanted = np.stack([truth(g) for g in galaxies])
    for name, limit in {"flux": 0.01, "r50": 0.02, "n": 0.05}.items():
        i = PARAMETERS.index(name)
        assert np.abs(found.values.numpy()[:, i] / wanted[:, i] - 1).max() < limit, name


def test_another_unit_changes_flux_sky_and_their_errors_alone() -> None:
    image, sigma = noisy(draw(Galaxy(1.0, 2.5, 0.7, 10, 0, 0), SIZE), 80, 1)
    one, other = fitted(image[None], sigma), fitted(1e-7 * image[None] + 0.0, 1e-7 * sigma)
    scale = torch.ones(8, dtype=torch.float64)
    scale[[0, 7]] = 1e-7
    torch.testing.assert_close(other.values, one.values * scale, rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(other.errors, one.errors * scale, rtol=1e-3, atol=1e-9)


def test_a_known_sky_keeps_a_galaxy_of_two_parts_from_wings_that_are_not_there() -> None:
    """A bulge in a disc is no Sersic profile; with a free sky the fit mends that by light beyond the cutout."""
    both = 0.3 * draw(Galaxy(4.0, 1.5, 0.9, 0, 0, 0), SIZE) + 0.7 * draw(Galaxy(1.0, 5.0, 0.8, 0, 0, 0), SIZE)
    image, sigma = noisy(both, 200, 1)
    images, ivar = torch.from_numpy(image[None]), torch.full((1, SIZE, SIZE), sigma**-2)
    free, known = fit_sersic(images, ivar, PSF), fit_sersic(images, ivar, PSF, sky_sigma=0.05 * sigma)
    sky = PARAMETERS.index("sky")
    assert float(free.values[0, 0]) > 1.25
    assert float(free.values[0, sky]) < -0.1 * sigma
    assert abs(float(known.values[0, 0]) - 1) < 0.6 * (float(free.values[0, 0]) - 1)
    assert float(known.errors[0, sky]) <= 0.05 * sigma
    assert float(known.errors[0, 0]) < float(free.errors[0, 0])


def test_what_cannot_be_fitted_is_flagged_and_has_no_numbers() -> None:
    clean = draw(Galaxy(1.0, 2.5, 0.7, 10, 0, 0), SIZE)
    faint, sigma = noisy(clean, 2, 3)
    lost = np.ones((3, SIZE, SIZE), bool)
    lost[1, 17:23, 17:23] = False
    lost[2] = False
    found = fitted(np.stack([faint, clean, clean]), sigma, lost)
    flags = found.flags.tolist()
    assert flags[0] & FitFlag.TOO_FAINT
    assert flags[1:] == [FitFlag.TOO_FEW_PIXELS] * 2
    assert found.values.isnan().all()
    assert found.errors.isnan().all()


def test_a_parameter_at_its_bound_is_flagged_and_has_no_error() -> None:
    """A flat disc with an edge is steeper than any profile allowed."""
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    disc = (np.hypot(x, y) < 9).astype(float)
    found = fitted(disc[None], 0.05)
    assert int(found.flags[0]) & FitFlag.AT_BOUND
    n = PARAMETERS.index("n")
    assert float(found.values[0, n]) == pytest.approx(0.3)
    assert math.isnan(float(found.errors[0, n]))
    assert math.isfinite(float(found.errors[0, 0]))


def test_fluxes_of_another_band_follow_from_the_shape_of_the_first() -> None:
    galaxy = Galaxy(2.5, 3.0, 0.5, 70, 0.1, 0.2)
    clean = draw(galaxy, SIZE)
    seen = [noisy(3.7 * clean, 100, seed) for seed in range(60)]
    shape = fitted(clean[None], 1e-4).shape.repeat(60, 1)
    images = torch.from_numpy(np.stack([image + 0.5 for image, _ in seen]))
    flux, error = fit_fluxes(images, torch.full_like(images, seen[0][1] ** -2), PSF, shape)
    pulls = (flux - 3.7) / error
    assert 0.75 < float(pulls.std()) < 1.3
    assert abs(float(pulls.mean())) < 0.45
    unseen, _ = fit_fluxes(images[:1], torch.zeros_like(images[:1]), PSF, shape[:1])
    assert unseen.isnan().all()


def test_no_objects_give_empty_tables() -> None:
    nothing = fitted(np.zeros((0, SIZE, SIZE)), 1.0)
    assert nothing.values.shape == nothing.errors.shape == (0, 8)
