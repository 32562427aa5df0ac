"""What is particular to the Flow-VAE emulator: its likelihood in flux, its PSFs, its output for other telescopes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit
from scipy.signal import convolve2d

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.observe import gaussian_psf, render
from galflow.models.flow_vae import TOLERANCE, FlowVAE
from galflow.photometry import AsinhStretch

EUCLID_WIDTH, EUCLID_FWHM = 0.1, 0.16
"""Arcsec: pixel scale and PSF of Euclid VIS."""


def model_of(**options: object) -> FlowVAE:
    torch.manual_seed(2)
    return FlowVAE(**({"channels": 2, "size": 8, "latent": 4, "width": 8, "flow_width": 8} | options))  # type: ignore[arg-type]


def sky(
    model: FlowVAE, n: int, sigma: tuple[float, ...] = (3.0, 5.0), seed: int = 0
) -> tuple[Batch, np.ndarray, np.ndarray]:
    """A batch made as galflow makes it from fluxes in nJy, with the fluxes and their inverse variance."""
    draw = np.random.default_rng(seed)
    shape = (n, model.channels, model.size, model.size)
    flux = draw.normal(0, 1, shape) * np.array(sigma)[:, None, None] + 60 * draw.random(shape) ** 4
    ivar = draw.uniform(0.5, 1.0, shape) / np.array(sigma)[:, None, None] ** 2
    ivar[:, :, 0, :3] = 0
    stretch = AsinhStretch(model.stretch.softening_sigma, model.stretch.white_sigma, sigma)
    psf = draw.random((n, model.channels, 5, 5))
    psf /= psf.sum((2, 3), keepdims=True)
    batch = Batch(
        pixels=torch.from_numpy(np.where(ivar > 0, stretch.forward(flux), 0)),
        observed=torch.from_numpy(ivar > 0),
        ivar=torch.from_numpy(ivar / stretch.derivative(flux) ** 2),
        psf=torch.from_numpy(psf),
        conditions=torch.from_numpy(draw.normal(22, 1, (n, 2))),
    )
    return batch, flux, ivar


def test_flux_and_inverse_variance_are_those_that_were_stretched() -> None:
    model = model_of(softening_sigma=2.0, white_sigma=300.0).double()
    batch, flux, ivar = sky(model, 3)
    sigma = np.array([3.0, 5.0])[:, None, None]
    found, weight = model.in_flux(batch)
    np.testing.assert_allclose(found.numpy(), np.where(ivar > 0, flux / sigma, 0), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(weight.numpy(), ivar * sigma**2, rtol=1e-11)


def test_chi_square_equals_brute_force_in_nanojansky() -> None:
    model = model_of().double()
    batch, flux, ivar = sky(model, 3)
    latents = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        light = model.decode(latents).numpy()
        found = model.chi_square(batch, latents).numpy()
    assert batch.psf is not None
    assert light.shape == (3, 2, 10, 10)
    expected = np.zeros(3)
    for i in range(3):
        for c, sigma in enumerate((3.0, 5.0)):
            seen = sigma * convolve2d(light[i, c], batch.psf[i, c].numpy(), mode="full")[3:11, 3:11]
            expected[i] += (ivar[i, c] * (flux[i, c] - seen) ** 2)[ivar[i, c] > 0].sum()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_finer_light_through_a_smooth_psf_equals_a_sum_over_its_points() -> None:
    model = model_of(oversample=2).double()
    batch, _, _ = sky(model, 2)
    sigma = 1.4
    pixel = np.arange(8) - 3.5
    place = (np.arange(20) - 9.5) / 2
    near = np.exp(-0.5 * ((pixel[:, None] - place) / sigma) ** 2)
    axis = np.arange(-9, 10)
    profile = np.exp(-0.5 * (axis / sigma) ** 2)
    psf = torch.from_numpy(np.outer(profile, profile)).expand(2, 2, 19, 19)
    with torch.no_grad():
        light = model.decode(model.encode(replace(batch, psf=psf)))
        found = model.stretch.inverse(model.reconstruct(replace(batch, psf=psf)), torch)
    assert light.shape == (2, 2, 20, 20)
    np.testing.assert_allclose(found.numpy(), near @ light.numpy() @ near.T, rtol=1e-4)


def test_loss_is_the_negative_elbo_per_pixel_while_objects_fit() -> None:
    model = model_of().double()
    batch, _, _ = sky(model, 3)
    scale = 1e-3  # so little weight that chi-square per pixel is small
    assert batch.ivar is not None
    batch = replace(batch, ivar=batch.ivar * scale)
    torch.manual_seed(7)
    found = model.loss(batch, "vae")
    torch.manual_seed(7)
    mean, log_variance = model.posterior(batch)
    latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    prior = torch.distributions.Normal(0.0, 1.0)
    kl = torch.distributions.kl_divergence(torch.distributions.Normal(mean, (0.5 * log_variance).exp()), prior).sum()
    expected = (0.5 * model.chi_square(batch, latents).sum() + kl) / batch.observed.sum()
    torch.testing.assert_close(found, expected)
    assert (model.chi_square(batch, latents) < TOLERANCE * 100).all()


def test_a_hopeless_object_does_not_rule_the_loss() -> None:
    """Beyond the tolerance an object's pull on the weights no longer grows with its misfit."""
    model = model_of().double()
    batch, _, _ = sky(model, 3)
    assert batch.ivar is not None
    pulls = []
    for factor in (1e3, 1e6):
        model.zero_grad()
        torch.manual_seed(3)
        model.loss(replace(batch, ivar=batch.ivar * factor), "vae").backward()
        pulls.append(torch.cat([p.grad.flatten() for p in model.decoder.parameters() if p.grad is not None]).norm())
    torch.testing.assert_close(pulls[1], pulls[0], rtol=1e-2, atol=0)


@torch.no_grad()
def test_the_bound_is_that_of_torchs_own_densities() -> None:
    """Constant included, at the two fixed draws."""
    model = model_of().double()
    batch, _, _ = sky(model, 4)
    mean, log_variance = model.posterior(batch)
    flux, ivar = model.in_flux(batch)
    assert batch.psf is not None
    total = torch.zeros(4, dtype=torch.float64)
    for sign in (1, -1):
        latents = mean + sign * (0.5 * log_variance).exp() * model.draw
        seen = render(model.decode(latents), batch.psf, size=8)
        noise = torch.distributions.Normal(seen, ivar.clamp_min(1e-300).rsqrt())
        total += torch.where(batch.observed, noise.log_prob(flux), 0).sum((1, 2, 3)) / 2
    prior = torch.distributions.Normal(0.0, 1.0)
    total -= torch.distributions.kl_divergence(torch.distributions.Normal(mean, (0.5 * log_variance).exp()), prior).sum(
        1
    )
    torch.testing.assert_close(model.score(batch)["neg_elbo"], -total / batch.observed.sum((1, 2, 3)))


def test_the_flow_trains_on_a_frozen_vae() -> None:
    model = model_of()
    batch, _, _ = sky(model, 8)
    batch = batch._map(lambda t: t.float() if t.is_floating_point() else t)
    model.initialise(batch)
    model.loss(batch, "flow").backward()
    assert all(p.grad is None for part in (model.encoder, model.decoder) for p in part.parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.latent_flow.parameters())
    with pytest.raises(ModelError, match=r"no player 'critic'; its players are sketch, vae, polish, flow, flow_polish"):
        model.loss(batch, "critic")


def test_samples_carry_the_surveys_psf_noise_and_conditions(blobs: Callable[..., Batch]) -> None:
    model = model_of(size=16)
    batch = blobs(model, 40)
    model.finish([batch[:30], batch[30:]])
    assert int(model.contexts_kept) == 40
    torch.testing.assert_close(model.mean_psf[:, 7:10, 7:10], batch.psf[0])  # type: ignore[index]
    torch.testing.assert_close(model.mean_psf.sum((1, 2)), torch.ones(2))
    noise = 0.05 * model.stretch.softening_sigma / model.stretch.gain  # of a sky pixel, in sky sigmas
    torch.testing.assert_close(model.sky_sigma, torch.full((2,), noise), rtol=0.2, atol=0)
    clean = model_of(size=16)
    clean.load_state_dict(model.state_dict())
    clean.sky_sigma.zero_()
    draws = [m.stretch.inverse(m.sample(200, torch.Generator().manual_seed(1)), torch) for m in (model, clean)]
    torch.testing.assert_close((draws[0] - draws[1]).std((0, 2, 3)), model.sky_sigma, rtol=0.03, atol=0)
    with pytest.raises(ModelError, match=r"no training object .* give at least one"):
        model.finish([])


@pytest.mark.parametrize(("scale", "oversample"), [(0.2, 2), (0.143, 2), (0.2, 4), (0.05, 1)])
def test_a_point_under_the_euclid_psf_has_its_fwhm(scale: float, oversample: int) -> None:
    model = model_of(size=16, oversample=oversample)
    light = torch.zeros(1, 1, 20 * oversample, 20 * oversample)
    light[0, 0, 10 * oversample, 10 * oversample - 1] = 100.0
    fine = 3
    psf = gaussian_psf(fine * EUCLID_FWHM / EUCLID_WIDTH)
    seen = model.observe(light, psf, size=20, pixel_width=EUCLID_WIDTH / scale, psf_oversample=fine)[0, 0].numpy()
    y, x = np.mgrid[:20, :20].reshape(2, -1)

    def gaussian(at: np.ndarray, flux: float, y0: float, x0: float, sigma: float) -> np.ndarray:
        return flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * ((at[0] - y0) ** 2 + (at[1] - x0) ** 2) / sigma**2)

    (flux, y0, x0, sigma), _ = curve_fit(gaussian, np.stack([y, x]), seen.ravel(), p0=[90.0, 9.5, 9.5, 1.0])
    assert abs(sigma) * 2.35482 * EUCLID_WIDTH == pytest.approx(EUCLID_FWHM, rel=0.02)
    assert flux == pytest.approx(100.0, rel=1e-3)
    offset = 0.5 * scale / oversample / EUCLID_WIDTH
    assert (y0, x0) == pytest.approx((9.5 + offset, 9.5 - offset), abs=2e-3)


def test_another_telescope_sees_the_same_flux() -> None:
    model = model_of(size=16, oversample=2)
    light = torch.zeros(2, 2, 40, 40)
    light[:, :, 14:26, 14:26] = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    psf = gaussian_psf(3 * 1.6)
    seen = model.observe(light, psf, size=40, pixel_width=0.5, psf_oversample=3)
    torch.testing.assert_close(seen.sum((2, 3)), light.sum((2, 3)), rtol=1e-3, atol=0)


def test_output_sharper_than_the_light_is_refused() -> None:
    model, light = model_of(size=16), torch.zeros(1, 2, 20, 20)
    with pytest.raises(ModelError, match=r"too sharp .* larger oversample"):
        model.observe(light, gaussian_psf(3 * 1.6), size=20, pixel_width=0.5, psf_oversample=3)
    with pytest.raises(ModelError, match=r"psf_oversample is 2; give an odd number"):
        model.observe(light, gaussian_psf(3.2), size=20, psf_oversample=2)


def test_emulated_galaxies_obey_the_generator_and_accept_unknown_conditions() -> None:
    model = model_of()
    conditions = torch.tensor([[21.0, 0.5], [float("nan"), 0.5]])
    light = model.emulate(conditions, torch.Generator().manual_seed(3))
    assert light.shape == (2, 2, 10, 10)
    assert light.isfinite().all()
    assert torch.equal(light, model.emulate(conditions, torch.Generator().manual_seed(3)))


def test_a_batch_without_what_the_model_needs_is_refused(blobs: Callable[..., Batch]) -> None:
    model = model_of()
    batch = blobs(model, 2)
    for name, what in (("ivar", "inverse variance"), ("psf", "PSF"), ("conditions", "magnitude, half_light")):
        with pytest.raises(ModelError, match=rf"FlowVAE needs each object's .*{what}.*, but the batch has no {name};"):
            model.score(replace(batch, **{name: None}))
    assert batch.psf is not None
    with pytest.raises(ModelError, match=r"PSF of 2 x 2 pixels has no central pixel"):
        model.score(replace(batch, psf=batch.psf[..., 1:, 1:]))


def test_conditions_are_an_option(blobs: Callable[..., Batch]) -> None:
    assert FlowVAE(channels=1, size=16, conditions=["snr"]).conditions == ("snr",)
    free = model_of(conditions=())
    batch = replace(blobs(free, 6), conditions=None)
    free.initialise(batch)
    free.loss(batch, "flow").backward()
    free.finish([batch])
    assert free.sample(3, torch.Generator().manual_seed(0)).shape == (3, 2, 8, 8)
    assert free.score(batch)["latent"].isfinite().all()
    with pytest.raises(SpecError, match=r"conditions is the text 'snr'; give a list"):
        FlowVAE(channels=1, size=16, conditions="snr")
    with pytest.raises(SpecError, match=r"oversample is 9; give 1 to 4"):
        FlowVAE(channels=1, size=16, oversample=9)
