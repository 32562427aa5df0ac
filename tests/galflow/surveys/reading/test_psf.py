from __future__ import annotations

import numpy as np
import pytest

from galflow.errors import DataError
from galflow.surveys.base import Image, Plane
from galflow.surveys.reading.psf import estimate_fwhm_pix

SIDE = 400


def field(fwhm: float, stars: int, galaxies: int) -> tuple[Image, np.ndarray, np.ndarray]:
    """Gaussian stars and twice as wide galaxies on noise of sigma 1, and their positions."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIDE, :SIDE]
    slots = rng.permutation(81)[: stars + galaxies]
    at_y, at_x = 40.0 + 40 * (slots // 9) + rng.uniform(-3, 3, len(slots)), 40.0 + 40 * (slots % 9)
    flux = rng.standard_normal((SIDE, SIDE))
    for i, (cy, cx) in enumerate(zip(at_y, at_x, strict=True)):
        sigma = fwhm / 2.3548 * (1.0 if i < stars else 2.0)
        flux += rng.uniform(100, 900) * np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / sigma**2)
    return Image(flux.astype(np.float32), "count", 0.2), at_x, at_y


@pytest.mark.parametrize("fwhm", [2.5, 4.0])
def test_stars_among_galaxies_give_the_psf(fwhm: float) -> None:
    image, x, y = field(fwhm, stars=20, galaxies=40)
    assert estimate_fwhm_pix(image, x, y) == pytest.approx(fwhm, rel=0.04)


def test_saturated_and_masked_sources_take_no_part() -> None:
    image, x, y = field(3.0, stars=20, galaxies=0)
    spoilt = image.flux.copy()
    spoilt[np.rint(y[:8]).astype(int), np.rint(x[:8]).astype(int)] += 300.0  # cosmic rays on eight stars
    mask = np.zeros(spoilt.shape, np.uint16)
    mask[np.rint(y[:8]).astype(int), np.rint(x[:8]).astype(int)] = int(Plane.COSMIC_RAY)
    assert estimate_fwhm_pix(Image(spoilt, "count", 0.2, mask=mask), x, y) == pytest.approx(3.0, rel=0.04)
    assert estimate_fwhm_pix(Image(spoilt, "count", 0.2), x, y) < 2.9


def test_too_few_sources_are_no_estimate() -> None:
    image, x, y = field(3.0, stars=4, galaxies=0)
    with pytest.raises(DataError, match=r"of 4 sources are bright, .* expected at least 5; give the survey a PSF"):
        estimate_fwhm_pix(image, x, y)


def test_sources_without_position_or_weight_take_no_part() -> None:
    image, x, y = field(3.0, stars=24, galaxies=0)
    ivar = np.ones((SIDE, SIDE), np.float32)
    spoilt = image.flux.copy()
    for i in range(8):
        row, column = round(y[i]), round(x[i])
        spoilt[row, column] += 300.0
        ivar[row, column] = 0
    x, y = np.append(x, [np.nan, np.inf, 1e12, -5.0]), np.append(y, [50.0, 50.0, 50.0, np.nan])
    assert estimate_fwhm_pix(Image(spoilt, "count", 0.2, ivar=ivar), x, y) == pytest.approx(3.0, rel=0.04)


@pytest.mark.parametrize("flux", [np.full((60, 60), np.nan), np.zeros((60, 60)), np.ones((5, 5)), np.zeros((0, 9))])
def test_an_image_without_a_sky_is_a_data_error(flux: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"the PSF cannot be estimated, for its sky cannot be measured: "):
        estimate_fwhm_pix(Image(flux.astype(np.float32), "count", 0.2), np.array([2.0]), np.array([np.nan]))


def test_a_simulation_without_noise_has_a_psf_too() -> None:
    y, x = np.mgrid[:300, :300]
    places = [(a, b) for a in range(30, 280, 40) for b in range(30, 280, 40)]
    flux = sum((100 + a) * np.exp(-((y - b) ** 2 + (x - a) ** 2) / 2 / 1.5**2) for a, b in places)
    image = Image(np.asarray(flux, np.float32), "count", 0.2)
    assert estimate_fwhm_pix(image, *np.array(places, float).T) == pytest.approx(1.5 * 2.3548, rel=0.02)
