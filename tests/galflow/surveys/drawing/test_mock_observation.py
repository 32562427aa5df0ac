"""Rebinning, PSF and noise against formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from galflow.errors import DataError
from galflow.photometry import FWHM_PER_SIGMA
from galflow.surveys.base import Psf
from galflow.surveys.drawing.mock_observation import (
    FinePsf,
    half_light_radius_pix,
    photon_noise,
    rebin,
    through_psf,
)


def gaussian(side: int, fwhm_pixels: float) -> np.ndarray:
    y, x = np.indices((side, side)) - (side - 1) / 2
    light = np.exp(-0.5 * (x**2 + y**2) * (FWHM_PER_SIGMA / fwhm_pixels) ** 2)
    return np.asarray(light / light.sum())


def fwhm_pixels(image: np.ndarray) -> float:
    """Of a Gaussian, by its second moment."""
    y, x = np.indices(image.shape)
    total = image.sum()
    centre = [(axis * image).sum() / total for axis in (y, x)]
    return float(FWHM_PER_SIGMA * np.sqrt(((x - centre[1]) ** 2 * image).sum() / total))


@pytest.mark.parametrize(("step", "size"), [(3.7, 40), (1.0, 102), (0.45, 301), (2.5, 41)])
def test_rebinning_conserves_flux_and_keeps_the_centre(step: float, size: int) -> None:
    light = np.random.default_rng(0).random((2, 101, 90))
    made = rebin(light, step, size)
    assert made.shape == (2, size, size)
    np.testing.assert_allclose(made.sum(axis=(1, 2)), light.sum(axis=(1, 2)), rtol=1e-12)
    y, x = np.indices((size, size))
    spot = rebin(gaussian(101, 9.0), step, size)
    centre = [(axis * spot).sum() / spot.sum() for axis in (y, x)]
    np.testing.assert_allclose(centre, size // 2, atol=1e-6)


def test_a_whole_step_adds_blocks() -> None:
    light = np.arange(81.0).reshape(9, 9)
    np.testing.assert_allclose(rebin(light, 3.0, 3), light.reshape(3, 3, 3, 3).sum(axis=(1, 3)))


@pytest.mark.parametrize(
    ("scale", "pixel", "psf_fwhm", "galaxy_fwhm", "size"),
    [(0.1, 0.396, 1.3, 2.0, 64), (0.1, 0.168, 0.7, 0.9, 64), (0.03, 0.1, 0.16, 0.3, 64), (0.1, 0.396, 1.3, 0.2, 65)],
)
def test_flux_and_width_through_a_psf(
    scale: float, pixel: float, psf_fwhm: float, galaxy_fwhm: float, size: int
) -> None:
    """SDSS, HSC and Euclid VIS: a Gaussian through a Gaussian has their widths in quadrature."""
    light = 1000.0 * gaussian(241, galaxy_fwhm / scale)
    psf = Psf(image=gaussian(2 * math.ceil(3 * psf_fwhm / pixel) + 1, psf_fwhm / pixel))
    seen = through_psf(light, scale, FinePsf.of(psf, pixel), size)
    assert seen.sum() == pytest.approx(1000.0, rel=1e-3)
    assert fwhm_pixels(seen) * pixel == pytest.approx(math.hypot(psf_fwhm, galaxy_fwhm), rel=0.01)
    y, x = np.indices(seen.shape)
    np.testing.assert_allclose([(a * seen).sum() / seen.sum() for a in (y, x)], size // 2, atol=0.01)


def test_a_psf_of_known_width_alone_conserves_flux() -> None:
    seen = through_psf(gaussian(121, 15.0), 0.1, FinePsf.of(Psf(fwhm_arcsec=1.3), 0.396), 96)
    assert seen.sum() == pytest.approx(1.0, rel=1e-3)


def test_light_from_outside_the_square_shines_in() -> None:
    light = np.zeros((121, 121))
    light[60, 115] = 1.0  # 5.5 arcsec to the right, beyond a square of 9 arcsec
    seen = through_psf(light, 0.1, FinePsf.of(Psf(fwhm_arcsec=2.0), 0.3), 31)
    assert 0 < seen.sum() < 0.5
    assert seen[:, -1].sum() > 10 * seen[:, 15].sum()


def test_photon_noise_has_its_variance() -> None:
    flux = np.full((300, 300), 40.0)
    noise, variance = photon_noise(flux, 0.5, np.random.default_rng(1))
    np.testing.assert_allclose(variance, 40.0 / 0.5)
    assert noise.mean() == pytest.approx(0.0, abs=0.15)
    assert noise.var() == pytest.approx(80.0, rel=0.02)
    none, nothing = photon_noise(flux, None, np.random.default_rng(1))
    assert not none.any()
    assert not nothing.any()


def test_half_of_a_gaussian_lies_within_half_its_width() -> None:
    """The half-light radius of a Gaussian is half its FWHM."""
    assert half_light_radius_pix(gaussian(101, 20.0)) == pytest.approx(10.0, abs=0.5)
    assert math.isnan(half_light_radius_pix(np.zeros((5, 5))))


def test_an_absurdly_sharp_psf_is_refused() -> None:
    with pytest.raises(DataError, match="expected a PSF of about the pixels' size"):
        FinePsf.of(Psf(fwhm_arcsec=0.001), 0.396)
    with pytest.raises(DataError, match="lower stamp_size"):
        through_psf(np.ones((9, 9)), 0.1, FinePsf.of(Psf(fwhm_arcsec=0.7), 0.7), 1024)
