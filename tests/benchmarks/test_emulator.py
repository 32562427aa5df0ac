"""What the emulator's benchmark measures with, against analytic answers; and, marked full, what it has to find."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import galsim
import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import emulator
from benchmarks.morphology import WEIGHT_SIGMA_PIX, measure
from benchmarks.synthetic_galaxies import SURVEY, draw_population, make_galaxies, observe, survey_psf
from benchmarks.tables import Finding, Findings
from galflow.models.flow_vae import FlowVAE
from galflow.photometry import flux_from_ab_magnitude
from galflow.surveys.base import Psf
from galflow.surveys.drawing import galaxies
from galflow.surveys.synthetic import Synthetic


def gaussian(sigma: float, *, shear: float = 0.0, size: int = 48, flux: float = 1.0) -> np.ndarray:
    profile = galsim.Gaussian(sigma=sigma, flux=flux).shear(g1=shear)
    return profile.drawImage(nx=size, ny=size, scale=1.0, offset=(0.3, -0.2), method="no_pixel").array


def test_flux_and_half_light_radius_are_those_of_gaussians() -> None:
    found = measure(np.stack([gaussian(2.0, flux=3.0), gaussian(4.0, flux=5.0)]))
    np.testing.assert_allclose(found.flux, [3.0, 5.0], rtol=1e-4)
    np.testing.assert_allclose(found.half_light_radius, math.sqrt(2 * math.log(2)) * np.array([2.0, 4.0]), rtol=0.03)


def test_ellipticity_is_that_of_a_weighted_gaussian() -> None:
    shear, sigma = 0.3, 3.0
    found = measure(np.stack([gaussian(sigma), gaussian(sigma, shear=shear), gaussian(sigma, shear=-shear).T]))
    wide, narrow = (sigma * ((1 + s * shear) / (1 - s * shear)) ** 0.5 for s in (1, -1))
    weighted = [1 / (1 / a**2 + 1 / WEIGHT_SIGMA_PIX**2) for a in (wide, narrow)]  # variances of the product
    expected = (weighted[0] - weighted[1]) / sum(weighted)
    np.testing.assert_allclose(found.ellipticity, [0.0, expected, expected], atol=2e-3)


def test_made_galaxies_have_the_flux_noise_and_snr_they_claim() -> None:
    made = make_galaxies(40, 3, 64)
    again = make_galaxies(40, 3, 64)
    np.testing.assert_array_equal(made.noisy, again.noisy)
    flux = flux_from_ab_magnitude(made.catalogue["magnitude"])
    compact = made.catalogue["half_light_radius_arcsec"] < 0.6
    np.testing.assert_allclose(made.clean[compact, -1].sum((1, 2)), flux[compact], rtol=0.03)
    noise = (made.noisy - made.clean) / made.sky_sigma[:, None, None]
    assert noise.std() == pytest.approx(1.0, rel=0.01)
    per_band = (made.clean / made.sky_sigma[:, None, None]) ** 2
    np.testing.assert_allclose(made.snr, np.sqrt(per_band.sum((1, 2, 3))), rtol=1e-5)
    few = made.take(np.array([5, 2]))
    assert len(few) == 2
    conditions = few.batch(("bulge_fraction",)).conditions
    assert conditions is not None
    np.testing.assert_allclose(conditions[:, 0], made.catalogue["bulge_fraction"][[5, 2]], rtol=1e-6)


def test_several_psfs_are_taken_in_turn() -> None:
    made = make_galaxies(4, 3, 32, fwhm_arcsec=(0.6, 1.0))
    np.testing.assert_allclose(made.psf.sum((2, 3)), 1.0, rtol=1e-6)
    assert made.psf.shape == (4, 3, 41, 41)
    np.testing.assert_array_equal(made.psf[0], made.psf[2])
    assert made.psf[0].max() > 1.5 * made.psf[1].max()


def test_a_galaxy_is_the_one_that_the_survey_paints() -> None:
    options = SURVEY.model_copy(update={"tiles": 1, "tile_size": 128, "objects_per_tile": 1, "anomaly_fraction": 0.0})
    survey = Synthetic("synthetic", "1", options)
    (tile,) = survey.tiles()
    row = survey.catalog(tile).to_pylist()[0]
    truth = np.stack([survey.truth_image(tile, band) for band in survey.bands])
    population = draw_population(1, options.seed)
    assert population.magnitude[0] == row["magnitude"]
    x, y = survey.footprint(tile).wcs.world_to_pixel_values(row["ra_deg"], row["dec_deg"])  # type: ignore[union-attr]
    column, line = round(float(x)), round(float(y))
    offset = np.array([[float(y) - line, float(x) - column]])
    profile = galaxies.psf_profile(Psf(survey_psf(options.psf_fwhm_arcsec)), options.pixel_scale_arcsec)
    alone = observe(population, profile, options.pixel_scale_arcsec, 16, offset)[0]
    seen = truth[:, line - 8 : line + 8, column - 8 : column + 8]
    # Neighbours from beside the tile may add a little light of their own.
    np.testing.assert_allclose(seen, alone, atol=0.02 * alone.max())


def test_a_gain_is_what_noise_is_above_error() -> None:
    made = make_galaxies(30, 4, 32)
    sigma = made.sky_sigma[:, None, None]
    wrong = made.clean + 0.1 * sigma * np.random.default_rng(0).standard_normal(made.clean.shape)
    np.testing.assert_allclose(emulator.psnr_gain(made, wrong), 20.0, atol=0.6)


def test_a_finding_says_when_it_is_not_met() -> None:
    table = Findings("title", (Finding("a", 1.0, 0.9, 1.1), Finding("b", 0.2, high=0.1)))
    assert [row.met for row in table.rows] == [True, False]
    assert table.text().splitlines()[1:] == ["  a     1.0000   >= 0.9 and <= 1.1", "  b     0.2000   <= 0.1   NOT MET"]
    assert table.to_json()["rows"] == {
        "a": {"value": 1.0, "low": 0.9, "high": 1.1},
        "b": {"value": 0.2, "low": None, "high": 0.1},
    }


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.full
@pytest.mark.usefixtures("one_thread")
def test_a_short_training_already_takes_noise_away() -> None:
    made, held_out = (make_galaxies(n, seed, 16, bands=("i",)) for n, seed in ((160, 5), (60, 6)))
    model = emulator.train(made.batch(), steps=160, width=8, latent=6)
    torch.manual_seed(0)
    untrained = FlowVAE(channels=1, size=16, width=8, latent=6, oversample=2)
    before, after = ({f.name: f.value for f in emulator.judge(m, held_out)} for m in (untrained, model))
    chi2, fwhm = "  median galaxy", "FWHM of a point under Euclid's PSF over 0.16 arcsec"
    assert after[chi2] - 1 < 0.5 * (before[chi2] - 1)
    assert [before[fwhm], after[fwhm]] == pytest.approx([1.0, 1.0], abs=0.02)


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_the_emulator_meets_what_is_asked_of_it(tmp_path: Path) -> None:
    findings, model, held_out = emulator.measured()
    assert isinstance(model, FlowVAE)
    assert all(row.met for row in findings.rows), findings.text()
    with Image.open(io.BytesIO(emulator.synthetic_panels(model, held_out))) as image:
        assert image.width > 800
