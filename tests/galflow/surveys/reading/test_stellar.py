"""Stars of a tile: told from galaxies by size, where the survey's PSF or the tile's own stars say what theirs is."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.surveys.base import Image, Psf
from galflow.surveys.reading.sky import Sky
from galflow.surveys.reading.stellar import find_stars

FWHM, SCALE, SIGMA, SIDE, STEP = 3.6, 0.2, 2.0, 1200, 30
SKY = Sky(5.0, SIGMA)


def _moffat(y: np.ndarray, x: np.ndarray, fwhm: float) -> np.ndarray:
    core = fwhm / (2 * np.sqrt(2 ** (1 / 3.0) - 1))
    return (1 + (y**2 + x**2) / core**2) ** -3.0


def _field(seed: int, stars: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, x and y of sources on a jittered grid, which of them are stars, and the galaxies' sizes in PSFs."""
    rng = np.random.default_rng(seed)
    x, y = (g.ravel() + rng.uniform(-3, 3, g.size) for g in np.meshgrid(*2 * [np.arange(20, SIDE - 20, STEP)]))
    star = rng.random(len(x)) < stars
    ratio = np.where(star, 1.0, rng.uniform(1.3, 3.5, len(x)))
    flux = rng.normal(5.0, SIGMA, (SIDE, SIDE))
    axis = np.arange(-14, 15)
    for i in range(len(x)):
        row, column = round(y[i]), round(x[i])
        shape = _moffat(axis[:, None] - (y[i] - row), axis - (x[i] - column), FWHM * ratio[i])
        light = SIGMA * 10 ** rng.uniform(2.3, 4.5) * shape / shape.sum()
        flux[row - 14 : row + 15, column - 14 : column + 15] += light
    return flux.astype(np.float32), x, y, star, ratio


def _psf(kind: str) -> Psf | None:
    axis = np.arange(-12, 13)
    image = _moffat(axis[:, None], axis, FWHM)
    return {
        "image": Psf((image / image.sum()).astype(np.float32)),
        "width": Psf(None, FWHM * SCALE),
        "none": None,
    }[kind]


@pytest.mark.parametrize("kind", ["image", "width", "none"])
def test_stars_are_found_and_galaxies_of_1_3_psf_are_not(kind: str) -> None:
    flux, x, y, star, _ = _field(1, 0.2)
    found, size = find_stars(Image(flux, "count", SCALE, psf=_psf(kind)), x, y, SKY)
    assert found[~star].mean() < 0.01
    assert found[star].mean() > 0.8  # the faintest are too faint to tell
    assert size is not None
    assert 0.85 < size.fwhm_pixels / FWHM < 1.15


def test_without_psf_and_stars_nothing_is_said() -> None:
    flux, x, y, _, _ = _field(2, 0.0)
    found, size = find_stars(Image(flux, "count", SCALE), x, y, SKY)
    assert size is None
    assert not found.any()


def test_a_psf_of_the_survey_makes_no_stars_of_galaxies() -> None:
    flux, x, y, _, _ = _field(3, 0.0)
    for kind in ("image", "width"):
        found, _ = find_stars(Image(flux, "count", SCALE, psf=_psf(kind)), x, y, SKY)
        assert found.mean() < 0.01


def test_sources_without_a_position_at_the_edge_or_masked_are_no_stars() -> None:
    flux, x, y, star, _ = _field(1, 0.2)
    x[0], y[1] = np.nan, 1.0
    mask = np.zeros(flux.shape, np.uint16)
    chosen = np.flatnonzero(star)[-1]
    mask[round(y[chosen]), round(x[chosen])] = 4  # saturated
    found, _ = find_stars(Image(flux, "count", SCALE, mask=mask, psf=_psf("image")), x, y, SKY)
    assert not found[[0, 1, chosen]].any()
    none, size = find_stars(Image(flux, "count", SCALE), x, y, Sky(5.0, float("nan")))
    assert size is None
    assert not none.any()
