"""PSF, pixel scale, noise and stretch, each against another computation: scipy, galsim, brute force, AsinhStretch."""

from __future__ import annotations

import math
from collections.abc import Callable

import galsim
import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import Tensor

from galflow.errors import ModelError
from galflow.layers.images import observe
from galflow.photometry import FWHM_PER_SIGMA


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lopsided(side: int, seed: int = 1) -> Tensor:
    """A PSF with sum 1 that looks different from every side."""
    psf = random(side, side, seed=seed)
    return psf / psf.sum()


@pytest.mark.parametrize(("size", "side"), [(8, 3), (9, 5), (16, 15), (6, 11), (7, 21)])
@pytest.mark.parametrize("how", [observe.convolve, lambda i, p: observe.render(i, p, size=i.shape[-1])])
def test_convolution_equals_scipys(size: int, side: int, how: Callable[[Tensor, Tensor], Tensor]) -> None:
    images, psf = random(2, 3, size, size), lopsided(side)
    found = how(images, psf.expand(2, 3, side, side))
    for i in range(2):
        for band in range(3):
            full = convolve2d(images[i, band].numpy(), psf.numpy(), mode="full")
            middle = full[side // 2 : side // 2 + size, side // 2 : side // 2 + size]
            np.testing.assert_allclose(found[i, band].numpy(), middle, atol=1e-13)


def test_light_beyond_the_image_shines_into_it() -> None:
    light, psf = random(14, 14), lopsided(7)
    full = convolve2d(light.numpy(), psf.numpy(), mode="same")
    np.testing.assert_allclose(observe.render(light, psf, size=10).numpy(), full[2:12, 2:12], atol=1e-13)


def test_each_object_has_its_own_psf() -> None:
    light = random(3, 2, 9, 9)
    psf = torch.stack([torch.stack([lopsided(5, seed=2 * i + c) for c in range(2)]) for i in range(3)])
    together = observe.render(light, psf, size=9)
    for i in range(3):
        for c in range(2):
            torch.testing.assert_close(together[i, c], observe.render(light[i, c], psf[i, c], size=9))


def test_the_identity_psf_changes_nothing() -> None:
    images = random(2, 1, 10, 10)
    identity = torch.zeros(5, 5, dtype=torch.float64)
    identity[2, 2] = 1
    torch.testing.assert_close(observe.convolve(images, identity), images, atol=1e-14, rtol=0)
    torch.testing.assert_close(observe.render(images, identity, size=10), images, atol=1e-14, rtol=0)


@pytest.mark.parametrize("step", [1.0, 0.5, 1 / 3, 0.71])
def test_light_in_the_middle_keeps_its_flux(step: float) -> None:
    light = random(6, 6)
    psf = observe.gaussian_psf(3.0).double()
    assert float(psf.sum()) == pytest.approx(1.0, abs=1e-7)
    assert float(observe.render(light, psf, size=41, step=step).sum()) == pytest.approx(float(light.sum()), rel=1e-6)


@pytest.mark.parametrize(("nodes", "step"), [(8, 0.5), (9, 0.5), (6, 1 / 3), (7, 0.71), (5, 1.3)])
def test_points_between_pixels_equal_a_sum_of_shifted_gaussians(nodes: int, step: float) -> None:
    light, size, sigma = random(nodes, nodes), 16, 1.7
    axis = np.arange(-12, 13)
    profile = np.exp(-0.5 * (axis / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    psf = torch.from_numpy(np.outer(profile, profile))
    found = observe.render(light, psf, size=size, step=step)
    pixel = np.arange(size) - (size - 1) / 2
    place = (np.arange(nodes) - (nodes - 1) / 2) * step
    near = np.exp(-0.5 * ((pixel[:, None] - place) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(found.numpy(), near @ light.numpy() @ near.T, atol=2e-6)


def test_an_exponential_disc_through_a_moffat_equals_galsims() -> None:
    moffat, scale, finest = galsim.Moffat(beta=3.5, fwhm=0.7), 0.2, 0.05
    disc = galsim.Exponential(half_light_radius=0.6).shear(q=0.5, beta=30 * galsim.degrees)
    seen = galsim.Convolve(disc, moffat).drawImage(nx=24, ny=24, scale=scale, method="no_pixel", dtype=np.float64).array
    # Light as pixel integrals at a quarter of the scale: each node stands for the square around it.
    light = disc.drawImage(nx=192, ny=192, scale=finest, dtype=np.float64).array
    psf = moffat.drawImage(nx=41, ny=41, scale=scale, method="no_pixel", dtype=np.float64).array
    found = observe.render(torch.from_numpy(light), torch.from_numpy(psf), size=24, step=finest / scale)
    np.testing.assert_allclose(found.numpy(), seen, atol=2e-3 * seen.max())
    assert float(found.sum()) == pytest.approx(seen.sum(), rel=3e-3)


def test_gradients_of_rendering_are_right() -> None:
    light, psf = random(1, 1, 6, 6).requires_grad_(), lopsided(5)[None, None].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: observe.render(a, b, size=4, step=0.5), (light, psf))


def test_half_precision_and_autocast_compute_in_single() -> None:
    light, psf = random(1, 1, 8, 8).float(), lopsided(5).float()
    exact = observe.render(light, psf, size=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(observe.render(light, psf, size=8), exact)
    assert observe.render(light.bfloat16(), psf, size=8).dtype == torch.float32


@pytest.mark.parametrize(("step", "size"), [(0.5, 16), (2.0, 4), (1.37, 7), (0.3, 28), (1.0, 8)])
def test_resampling_conserves_flux(step: float, size: int) -> None:
    images = random(2, 8, 8)
    resampled = observe.resample(images, step=step, size=size)
    assert resampled.shape == (2, size, size)
    torch.testing.assert_close(resampled.sum((-2, -1)), images.sum((-2, -1)), rtol=1e-12, atol=0)


def test_resampling_to_whole_multiples_is_a_sum_over_blocks_and_to_the_same_pixels_nothing() -> None:
    images = random(3, 8, 8)
    blocks = images.unflatten(-1, (4, 2)).unflatten(-3, (4, 2)).sum((-1, -3))
    torch.testing.assert_close(observe.resample(images, step=2.0, size=4), blocks)
    torch.testing.assert_close(observe.resample(images, step=1.0, size=8), images)
    torch.testing.assert_close(observe.resample(images, step=1.0, size=4), images[:, 2:6, 2:6])


def test_resampling_equals_overlaps_counted_by_hand() -> None:
    row = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]], dtype=torch.float64)
    # The corner pixel spans -1.5..-0.5; new pixels of width 1.5 span -1.5..0 and 0..1.5.
    torch.testing.assert_close(observe.resample(row, step=1.5, size=2), torch.tensor([[1.0, 0], [0, 0]]).double())
    middle = row.roll((1, 1), (0, 1))
    torch.testing.assert_close(observe.resample(middle, step=1.5, size=2), torch.full((2, 2), 0.25).double())


def test_a_gaussian_psf_has_the_fwhm_asked_for() -> None:
    psf = observe.gaussian_psf(2.8)
    assert float(psf.sum()) == pytest.approx(1.0, abs=1e-6)
    moments = galsim.hsm.FindAdaptiveMom(galsim.Image(psf.double().numpy(), scale=1.0))
    assert moments.moments_sigma * 2 * math.sqrt(2 * math.log(2)) == pytest.approx(2.8, rel=2e-3)


def test_noise_has_the_sigma_asked_for_and_obeys_the_generator() -> None:
    images = torch.zeros(4000, 2, 3, 3)
    sigma = torch.tensor([0.5, 2.0])[:, None, None]
    noisy = observe.add_noise(images, sigma, torch.Generator().manual_seed(3))
    torch.testing.assert_close(noisy.std((0, 2, 3)), sigma.flatten(), rtol=0.02, atol=0)
    assert torch.equal(noisy, observe.add_noise(images, sigma, torch.Generator().manual_seed(3)))


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ModelError, match=r"PSF of 4 x 4 pixels has no central pixel; expected .* odd side"):
        observe.convolve(torch.zeros(8, 8), torch.zeros(4, 4))
    with pytest.raises(ModelError, match=r"step is 0; .* must be positive"):
        observe.resample(torch.zeros(8, 8), step=0, size=4)
    with pytest.raises(ModelError, match=r"FWHM is -1 pixels; it must be positive"):
        observe.gaussian_psf(-1)


def test_a_psf_too_sharp_for_the_points_of_light_is_refused() -> None:
    observe.check_resolved(observe.gaussian_psf(1.6 * 3), step=3.0)  # Euclid's on points 0.1 arcsec apart: fine
    with pytest.raises(ModelError, match=r"still shows 0\.\d+ of the pattern .* larger oversample$"):
        observe.check_resolved(observe.gaussian_psf(1.6 * 3), step=6.0)
    with pytest.raises(ModelError, match=r"finer pixels \(psf_oversample\)$"):
        observe.check_resolved(observe.gaussian_psf(1.6), step=0.5)


def test_an_unresolved_flat_surface_shows_as_much_ripple_as_is_said() -> None:
    psf, step = observe.gaussian_psf(2.0).double(), 2.5
    flat = observe.render(torch.ones(31, 31, dtype=torch.float64), psf, size=25, step=step)[8:-7, 8:-7]
    wave = math.exp(-2 * (math.pi * 2.0 / FWHM_PER_SIGMA / step) ** 2)
    ripple = float((flat.max() - flat.min()) / (flat.max() + flat.min()))
    # A cosine of amplitude 2 w around 1 along each axis, multiplied: (1 + 2 w)^2 at the points, (1 - 2 w)^2 between.
    high, low = (1 + 2 * wave) ** 2, (1 - 2 * wave) ** 2
    assert ripple == pytest.approx((high - low) / (high + low), rel=0.05)


@pytest.mark.parametrize(("least", "size"), [(1, 1), (2, 3), (13, 15), (50, 55), (64, 75), (105, 105), (107, 121)])
def test_fast_odd(least: int, size: int) -> None:
    assert observe.fast_odd(least) == size
