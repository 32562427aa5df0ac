"""The four panels: what each holds, and that the figure shows the same patch of sky four times."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from galflow.batch import Batch
from galflow.errors import ModelError, SpecError
from galflow.layers.images.observe import gaussian_psf
from galflow.models.flow_vae import FlowVAE
from galflow.report.emulation import EUCLID_VIS, FourPanels, Telescope, draw_panels, four_panels, png


@pytest.fixture(scope="module")
def model() -> FlowVAE:
    torch.manual_seed(0)
    return FlowVAE(channels=3, size=16, latent=4, width=8, oversample=2, flow_width=8).eval()


@pytest.fixture(scope="module")
def batch(model: FlowVAE) -> Batch:
    draw = torch.Generator().manual_seed(1)
    pixels = 0.1 * torch.randn(2, 3, 16, 16, generator=draw)
    psf = gaussian_psf(3.0)
    observed = torch.ones_like(pixels, dtype=torch.bool)
    observed[0, :, 0, 0] = False
    ivar = torch.full_like(pixels, 400.0) * observed
    return Batch(pixels * observed, observed, ivar, psf.expand(2, 3, *psf.shape), torch.zeros(2, 2))


def panels(model: FlowVAE, batch: Batch, seed: int = 3, **options: object) -> list[FourPanels]:
    draw = torch.Generator().manual_seed(seed)
    return four_panels(model, batch, ["a", "b"], pixel_scale_arcsec=0.2, generator=draw, **options)  # type: ignore[arg-type]


def test_each_panel_holds_what_its_title_says(model: FlowVAE, batch: Batch) -> None:
    made = panels(model, batch)
    assert [row.label for row in made] == ["a", "b"]
    reconstruction = model.stretch.inverse(model.reconstruct(batch), torch).detach().numpy()
    for i, row in enumerate(made):
        assert row.real.shape == row.noisy.shape == row.clean.shape == (3, 16, 16)
        assert row.elsewhere.shape == (1, 32, 32)
        np.testing.assert_allclose(row.clean, reconstruction[i], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(row.elsewhere_sigma, 0.5)
    assert np.isnan(made[0].real[:, 0, 0]).all()
    assert np.isfinite(made[1].real).all()
    noise = np.stack([row.noisy - row.clean for row in made])
    flux, ivar = model.in_flux(batch)
    assert (noise * ivar.sqrt().numpy())[:, :, 1:].std() == pytest.approx(1.0, rel=0.05)
    assert flux.shape == ivar.shape


def test_the_noise_elsewhere_is_as_deep_an_area_as_asked(model: FlowVAE, batch: Batch) -> None:
    dark = model.encode(batch).detach() * 0
    near = panels(model, batch, latents=dark, telescope=Telescope("deep", 0.1, 0.3, noise=0.5))
    far = panels(model, batch, latents=dark, telescope=Telescope("deep", 0.1, 0.3, noise=5.0))
    np.testing.assert_allclose(near[0].elsewhere_sigma, 0.25)
    difference = np.stack([f.elsewhere - n.elsewhere for f, n in zip(far, near, strict=True)])
    assert difference.std() == pytest.approx(2.5 - 0.25, rel=0.05)


def test_a_broad_band_is_the_mean_of_the_bands(model: FlowVAE, batch: Batch) -> None:
    quiet = {"psf_fwhm_arcsec": 0.3, "noise": 1e-6}
    several = panels(model, batch, telescope=Telescope("X", 0.1, broad=False, **quiet))  # type: ignore[arg-type]
    broad = panels(model, batch, telescope=Telescope("X", 0.1, broad=True, **quiet))  # type: ignore[arg-type]
    assert several[0].elsewhere.shape == (3, 32, 32)
    np.testing.assert_allclose(broad[0].elsewhere[0], several[0].elsewhere.mean(axis=0), rtol=1e-3, atol=1e-4)


def test_panels_obey_the_generator_and_the_latents(model: FlowVAE, batch: Batch) -> None:
    first, again, other = panels(model, batch), panels(model, batch), panels(model, batch, seed=4)
    np.testing.assert_array_equal(first[0].noisy, again[0].noisy)
    np.testing.assert_array_equal(first[0].clean, other[0].clean)
    assert (first[0].noisy != other[0].noisy).any()
    drawn = model.latent_flow.sample(model.latent_flow.context(torch.zeros(2, 2)), torch.Generator().manual_seed(0))
    assert (panels(model, batch, latents=drawn.detach())[0].clean != first[0].clean).any()


def test_the_figure_is_a_png_with_a_row_a_galaxy(model: FlowVAE, batch: Batch) -> None:
    rows = panels(model, batch)
    options = {"bands": ("g", "r", "i"), "pixel_scale_arcsec": 0.2, "psf_fwhm_arcsec": 0.6}
    figure = draw_panels(rows, title="Two galaxies", **options)  # type: ignore[arg-type]
    assert len(figure.axes) == 8
    heads = [axes.get_title() for axes in figure.axes[:4]]
    assert heads[0] == 'real\n0.2"/px, FWHM 0.6"'
    assert heads[3] == 'emulated for Euclid VIS\n0.1"/px, FWHM 0.16"'
    sides = [axes.images[0].get_array().shape for axes in figure.axes[:4]]  # type: ignore[union-attr]
    assert sides == [(16, 16, 3)] * 3 + [(32, 32, 3)]
    picture = png(figure)
    assert picture == png(draw_panels(rows, title="Two galaxies", **options))  # type: ignore[arg-type]
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG"
        assert image.width > image.height > 400


def test_equal_surface_brightness_is_equally_bright() -> None:
    wide, fine = np.full((1, 8, 8), 12.0), np.full((1, 16, 16), 3.0)
    row = FourPanels("flat", wide, wide, wide, fine, np.array([0.5]))
    figure = draw_panels([row], bands=("r",), pixel_scale_arcsec=0.2, psf_fwhm_arcsec=0.7)
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert (shown[0] == shown[0][0, 0]).all()
    assert (shown[3] == shown[0][0, 0]).all()


def test_what_cannot_be_drawn_is_refused(model: FlowVAE, batch: Batch) -> None:
    with pytest.raises(SpecError, match=r"2 galaxies need as many labels; got 1"):
        four_panels(model, batch, ["a"], pixel_scale_arcsec=0.2)
    with pytest.raises(SpecError, match=r"no galaxy to draw; give at least one row"):
        draw_panels([], bands=("g",), pixel_scale_arcsec=0.2, psf_fwhm_arcsec=0.7)
    with pytest.raises(SpecError, match=r"psf_fwhm_arcsec of telescope X is -1.0; it must be positive"):
        Telescope("X", 0.1, -1.0)
    coarse = FlowVAE(channels=3, size=16, latent=4, width=8, flow_width=8)
    with pytest.raises(ModelError, match=r"too sharp"):
        four_panels(coarse, batch, ["a", "b"], pixel_scale_arcsec=0.2, telescope=EUCLID_VIS)
