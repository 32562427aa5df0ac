"""Sersic profiles through a PSF, against GalSim, closed forms and differences."""

from __future__ import annotations

import math

import galsim
import numpy as np
import pytest
import torch

from galflow.layers.images.observe import gaussian_psf
from galflow.measurements.sersic_profile import SHAPE_PARAMETERS, SersicModel, profile_transform

SIZE = 48
MOFFAT = galsim.Moffat(beta=3.5, fwhm=3.5)
ACCURATE = galsim.GSParams(folding_threshold=1e-3, maxk_threshold=1e-4, maximum_fft_size=32768)


def shape(x: float, y: float, r50: float, n: float, q: float, theta_deg: float) -> torch.Tensor:
    g, twice = (1 - q) / (1 + q), 2 * math.radians(theta_deg)
    return torch.tensor([[x, y, math.log(r50), math.log(n), g * math.cos(twice), g * math.sin(twice)]])


@pytest.mark.parametrize("n", [0.5, 1.0])
def test_the_transform_of_a_gaussian_and_of_an_exponential_is_the_closed_form(n: float) -> None:
    log_k, found = profile_transform(n)
    k = np.exp(log_k)
    closed = np.exp(-(k**2) / (4 * math.log(2))) if n == 0.5 else (1 + (k / 1.6783469900166605) ** 2) ** -1.5
    np.testing.assert_allclose(found, closed, atol=1e-7)


@pytest.mark.parametrize(("n", "r50", "q"), [(0.5, 2.0, 1.0), (1.0, 5.0, 0.4), (2.5, 3.0, 0.7), (4.0, 6.0, 0.5)])
def test_pictures_equal_galsims(n: float, r50: float, q: float) -> None:
    psf = MOFFAT.drawImage(nx=41, ny=41, scale=1, method="no_pixel", dtype=np.float64).array
    galaxy = galsim.Sersic(n=n, half_light_radius=r50, gsparams=ACCURATE).shear(q=q, beta=30 * galsim.degrees)
    seen = galsim.Convolve(galaxy, MOFFAT, gsparams=ACCURATE)
    wanted = seen.drawImage(
        nx=SIZE, ny=SIZE, scale=1, offset=(0.3, -0.2), method="no_pixel", dtype=np.float64
    ).array  # fmt: skip
    model = SersicModel(torch.from_numpy(psf), SIZE)
    middle = (SIZE - 1) / 2
    found = model.pictures(shape(middle + 0.3, middle - 0.2, r50, n, q, 30))[0].double().numpy()
    # Within what the PSF's picture leaves out of its wings.
    np.testing.assert_allclose(found, wanted, atol=5e-4 * wanted.max())
    assert found.sum() == pytest.approx(wanted.sum(), rel=2e-3)


def test_light_from_beyond_the_picture_does_not_come_round_its_edges() -> None:
    """Of an extended galaxy a periodic transform carries in a tenth of the light."""
    model, larger = SersicModel(gaussian_psf(3.0), SIZE), SersicModel(gaussian_psf(3.0), 4 * SIZE)
    off = (4 * SIZE - SIZE) / 2
    found = model.pictures(shape(23.5, 23.5, 8.0, 5.0, 0.8, 10))[0]
    wide = larger.pictures(shape(23.5 + off, 23.5 + off, 8.0, 5.0, 0.8, 10))[0]
    inner = wide[int(off) : int(off) + SIZE, int(off) : int(off) + SIZE]
    assert float((found - inner).abs().max()) < 2e-3 * float(found.max())
    assert float(found.sum() - inner.sum()) == pytest.approx(0, abs=2e-3)


def test_derivatives_are_those_of_the_pictures() -> None:
    model = SersicModel(gaussian_psf(3.5), SIZE)
    at = shape(23.8, 23.3, 5.0, 3.0, 0.6, 20)
    drawn = model.with_derivatives(at)[0]
    torch.testing.assert_close(drawn[0], model.pictures(at)[0])
    for number, name in enumerate(SHAPE_PARAMETERS):
        step = torch.zeros_like(at)
        step[0, number] = 1e-2
        difference = (model.pictures(at + step) - model.pictures(at - step))[0] / 2e-2
        scale = difference.abs().max()
        assert float((drawn[1 + number] - difference).abs().max() / scale) < 1e-3, name
