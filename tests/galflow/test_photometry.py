"""Flux units against astropy, and the stretch against its inverse and against autograd."""

from __future__ import annotations

import math
from types import ModuleType

import astropy.units as u
import numpy as np
import pytest
import torch
from astropy.stats import gaussian_sigma_to_fwhm

from galflow.errors import SpecError
from galflow.photometry import (
    AB_ZERO_NJY,
    FWHM_PER_SIGMA,
    AsinhStretch,
    LinearStretch,
    flux_from_ab_magnitude,
    njy_per_count,
)

STRETCH = AsinhStretch(3.0, 1000.0, (0.5, 20.0))


def test_magnitudes_are_those_of_astropy() -> None:
    flux = np.array([1.0, 3631e9, 5e3, 1e-4])
    expected = (flux * u.nJy).to(u.ABmag).value
    # 3631 Jy against astropy's exact 10^(-48.6/2.5): 0.00007 mag apart.
    np.testing.assert_allclose(flux_from_ab_magnitude(expected), flux, rtol=1e-4)
    assert flux_from_ab_magnitude(np.array([0.0]))[0] == AB_ZERO_NJY


def test_the_width_of_a_gaussian_is_astropys() -> None:
    assert pytest.approx(gaussian_sigma_to_fwhm, rel=1e-15) == FWHM_PER_SIGMA


def test_the_flux_of_absurd_pixels_stays_finite() -> None:
    flux = STRETCH.inverse(torch.tensor([-1e6, 50.0, 1e6]).view(3, 1, 1, 1).expand(3, 2, 1, 1), torch)
    assert flux.isfinite().all()
    assert (STRETCH.derivative(flux, torch) ** 2 * flux**2).isfinite().all()


def test_a_zero_point_turns_counts_into_njy() -> None:
    # HSC's coadds: zero point 27 is 57.5 nJy a count (3631e9 * 10^-10.8).
    assert njy_per_count(27.0) == pytest.approx(57.5472, rel=1e-5)
    assert flux_from_ab_magnitude(np.array([22.5]))[0] == pytest.approx(njy_per_count(22.5))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_zero_point_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(SpecError, match="is not a finite AB magnitude; give the magnitude of one count"):
        njy_per_count(value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0.0, 1.0, (1.0,)), "softening_sigma is 0.0; it must be a positive number"),
        ((1.0, -1.0, (1.0,)), "white_sigma is -1.0"),
        ((1.0, math.nan, (1.0,)), "white_sigma is nan"),
        ((1.0, 1.0, ()), "needs one positive finite number per band"),
        ((1.0, 1.0, (1.0, 0.0)), "needs one positive finite number per band"),
        ((1.0, 1.0, (math.inf,)), "needs one positive finite number per band"),
    ],
)
def test_a_stretch_without_meaning_is_refused(arguments: tuple[float, float, tuple[float, ...]], expected: str) -> None:
    with pytest.raises(SpecError, match=expected.replace("(", r"\(")):
        AsinhStretch(*arguments)


def test_pixels_of_other_bands_are_refused() -> None:
    with pytest.raises(SpecError, match=r"shape \(5, 3, 8, 8\) do not fit a stretch of 2 band"):
        STRETCH.forward(np.zeros((5, 3, 8, 8)))
    with pytest.raises(SpecError, match="do not fit"):
        STRETCH.forward(np.zeros((8, 8)))


def _flux() -> np.ndarray:
    rng = np.random.default_rng(3)
    sign = rng.choice([-1.0, 1.0], (6, 2, 5, 5))
    return sign * 10 ** rng.uniform(-3, 6, (6, 2, 5, 5)) * np.array([0.5, 20.0])[:, None, None]


def test_zero_stays_zero_and_white_is_one() -> None:
    white = np.array([0.5, 20.0])[:, None, None] * 1000 * np.ones((2, 1, 1))
    np.testing.assert_allclose(STRETCH.forward(white), 1.0, rtol=1e-12)
    assert (STRETCH.forward(np.zeros((2, 3, 3))) == 0).all()


def test_the_inverse_brings_every_flux_back() -> None:
    flux = _flux()
    np.testing.assert_allclose(STRETCH.inverse(STRETCH.forward(flux)), flux, rtol=1e-9)
    single = flux.astype(np.float32)
    np.testing.assert_allclose(STRETCH.inverse(STRETCH.forward(single)), single, rtol=2e-5)


def test_numpy_and_torch_agree_and_keep_their_type() -> None:
    flux = _flux()
    for name in ("forward", "derivative"):
        by_numpy, by_torch = getattr(STRETCH, name)(flux), getattr(STRETCH, name)(torch.from_numpy(flux), torch)
        np.testing.assert_allclose(by_torch.numpy(), by_numpy, rtol=1e-12)
    assert STRETCH.forward(flux.astype(np.float32)).dtype == np.float32
    assert STRETCH.forward(torch.from_numpy(flux).float(), torch).dtype == torch.float32


def test_the_slope_and_log_det_are_those_of_autograd() -> None:
    flux = torch.from_numpy(_flux())[0].requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda x: STRETCH.forward(x, torch).reshape(-1), flux)
    jacobian = jacobian.reshape(50, 50)
    np.testing.assert_allclose(
        STRETCH.derivative(flux.detach(), torch).reshape(-1), torch.diagonal(jacobian), rtol=1e-10
    )
    everything = torch.ones(flux.shape, dtype=torch.bool)
    expected = torch.linalg.slogdet(jacobian)[1]
    assert float(STRETCH.log_abs_det(flux.detach(), everything, torch)) == pytest.approx(float(expected), rel=1e-9)


def test_log_det_counts_observed_pixels_only() -> None:
    flux = _flux()
    observed = np.random.default_rng(5).random(flux.shape) < 0.6
    expected = [np.log(STRETCH.derivative(flux)[i][observed[i]]).sum() for i in range(len(flux))]
    flux[~observed] = np.nan  # what a missing pixel holds must not matter
    found = STRETCH.log_abs_det(flux, observed)
    assert found.shape == (6,)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert STRETCH.log_abs_det(flux, np.zeros(flux.shape, bool)).tolist() == [0.0] * 6


def test_a_density_keeps_its_mass_under_the_stretch() -> None:
    """p(flux) = p(y) |dy/dx| integrates to one if p(y) does: here a normal density of y around 0.3."""
    stretch = AsinhStretch(3.0, 1000.0, (2.0,))
    flux = np.sinh(np.linspace(-9.0, 9.0, 200_001))[:, None, None, None] * 6.0
    y = stretch.forward(flux)
    log_p = -0.5 * ((y[:, 0, 0, 0] - 0.3) / 0.05) ** 2 - math.log(0.05 * math.sqrt(2 * math.pi))
    log_p += stretch.log_abs_det(flux, np.ones(flux.shape, bool))
    assert np.trapezoid(np.exp(log_p), flux[:, 0, 0, 0]) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arcsinh_of_a_tensor_is_numpys_for_every_size(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(6)
    sizes = 10.0 ** rng.uniform(
        -30, 37, (40, 2, 30, 40)
    )  # some blocks with what is too large for a square, some without
    sizes[:20] = 10.0 ** rng.uniform(-30, 14, (20, 2, 30, 40))
    flux = torch.from_numpy(np.where(rng.random(sizes.shape) < 0.5, -sizes, sizes)).to(dtype)
    flux[0, 0, 0, :3] = torch.tensor([0.0, float("nan"), -0.0])
    expected = STRETCH.forward(flux.double().numpy())
    kept = flux.clone()
    for given in (flux, flux.transpose(-1, -2).contiguous().transpose(-1, -2)):
        found = STRETCH.forward(given, torch)
        assert found.dtype == dtype
        assert found.shape == flux.shape
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=4e-7 if dtype == torch.float32 else 1e-14)
    assert torch.equal(flux.nan_to_num(), kept.nan_to_num()), "what was given stays"


# --- linear: pictures that were stretched for display


LINEAR = LinearStretch((255.0, 100.0), (2.0, 3.0))


@pytest.mark.parametrize("xp", [np, torch])
def test_a_linear_stretch_takes_white_to_one_and_back(xp: ModuleType) -> None:
    flux = np.array([-10.0, 0.0, 255.0, 510.0], np.float32)[:, None] * np.ones((2, 1, 1), np.float32)
    given = flux if xp is np else torch.from_numpy(flux)
    stretched = LINEAR.forward(given, xp)
    np.testing.assert_allclose(np.asarray(stretched)[0, :, 0], np.array([-10, 0, 255, 510]) / 255, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(stretched)[1, :, 0], np.array([-10, 0, 255, 510]) / 100, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(LINEAR.inverse(stretched, xp)), flux, rtol=1e-6)


def test_the_log_determinant_of_a_linear_stretch_is_that_of_autograd() -> None:
    flux = torch.randn(2, 2, 2, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: LINEAR.forward(x, torch).flatten(), flux)
    expected = torch.linalg.slogdet(jacobian.reshape(8, 8)).logabsdet  # type: ignore[union-attr]
    everything = torch.ones(2, 2, 2, dtype=torch.bool)
    found = LINEAR.log_abs_det(flux, everything, torch)
    assert float(found) == pytest.approx(float(expected))
    # The same for whatever is in the picture, and less of it where pixels are missing.
    assert float(LINEAR.log_abs_det(100 * flux, everything, torch)) == pytest.approx(float(found))
    everything[1] = False
    assert float(LINEAR.log_abs_det(flux, everything, torch)) == pytest.approx(-4 * math.log(255))


@pytest.mark.parametrize(
    ("white", "sigma", "expected"),
    [((0.0,), (1.0,), "white is"), ((1.0,), (), "sky_sigma is"), ((1.0,), (1.0, 1.0), "give both for each band")],
)
def test_a_linear_stretch_without_numbers_is_refused(
    white: tuple[float, ...], sigma: tuple[float, ...], expected: str
) -> None:
    with pytest.raises(SpecError, match=expected):
        LinearStretch(white, sigma)
