from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy import integrate, stats

from galflow.errors import ModelError, SpecError
from galflow.photometry import AsinhStretch
from galflow.scores.likelihood import (
    bits_per_dim,
    complexity_bits,
    complexity_corrected,
    eight_bit,
    log_density_from_mass,
    log_density_per_flux,
    log_likelihood_ratio,
    typicality,
)

STRETCH = AsinhStretch(1.0, 50.0, (2.0,))


def test_bits_per_dim_of_uniform_bytes_is_eight():
    dims = np.array([10, 3072])
    np.testing.assert_allclose(bits_per_dim(-dims * math.log(256.0), dims), 8.0)
    with pytest.raises(ModelError, match=r"1 object\(s\) have no observed pixel.*NO_DATA"):
        bits_per_dim([-1.0, 0.0], [4, 0])
    with pytest.raises(ModelError, match=r"log_prob holds 1 value\(s\) that are not finite"):
        bits_per_dim([-np.inf], [4])
    with pytest.raises(SpecError, match=r"one number per object"):
        bits_per_dim([-1.0, -2.0], [4])


def test_a_density_per_flux_integrates_to_one():
    # A normal density of the stretched pixel, stated per flux: its integral over flux must still be 1.
    def density(flux: float) -> float:
        pixel = np.full((1, 1, 1, 1), flux)
        log_p = stats.norm.logpdf(STRETCH.forward(pixel)[0, 0, 0, 0], 0.3, 0.2)
        jacobian = STRETCH.log_abs_det(pixel, np.ones_like(pixel, dtype=bool))
        return float(np.exp(log_density_per_flux([log_p], jacobian))[0])

    total, _ = integrate.quad(density, -400.0, 4000.0, points=[0.0, 10.0, 100.0], limit=200)
    assert total == pytest.approx(1.0, abs=1e-6)


def test_mass_becomes_density_with_the_bin_width():
    # A uniform density over [0, 1) in 256 bins has mass 1/256 a bin and density 1.
    dims = np.array([1, 7])
    np.testing.assert_allclose(log_density_from_mass(-dims * math.log(256.0), dims, 1 / 256), 0.0, atol=1e-12)
    with pytest.raises(SpecError, match=r"bin_width is 0\.0"):
        log_density_from_mass([-1.0], [1], 0.0)


def test_log_likelihood_ratio_is_survey_minus_background():
    np.testing.assert_array_equal(log_likelihood_ratio([-10.0, -10.0], [-12.0, -7.0]), [2.0, -3.0])


def test_complexity_orders_constant_smooth_and_noise():
    rng = np.random.default_rng(10)
    yx = np.add.outer(np.arange(32), np.arange(32))
    images = np.zeros((3, 2, 32, 32), dtype=np.uint8)
    images[1] = 3 * yx
    images[2] = rng.integers(0, 256, (2, 32, 32))
    bits = complexity_bits(images)
    assert bits[0] < bits[1] < bits[2]
    assert bits[1] < 0.1 * bits[2]  # the Paeth residual of a ramp is nearly constant
    assert bits[2] == pytest.approx(8 * 2 * 32 * 32, rel=0.02)
    np.testing.assert_array_equal(complexity_bits(images[[2, 0]]), bits[[2, 0]])
    with pytest.raises(SpecError, match="give uint8"):
        complexity_bits(images.astype(np.float32))


def test_complexity_matches_a_png_encoders_filter():
    image = (np.random.default_rng(11).normal(0, 2, (64, 64)).cumsum(0).cumsum(1) % 256).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "png", optimize=True)
    ours = complexity_bits(image[None, None])[0] / 8
    assert ours == pytest.approx(len(sink.getvalue()), rel=0.15)


def test_complexity_correction_is_serras():
    np.testing.assert_allclose(complexity_corrected([2.0, 4.0], [100, 50], [50.0, 300.0]), [1.5, -2.0])


def test_eight_bit():
    values = np.array([[[[-1.0, 0.0, 0.0039, 0.5, 0.9999, 7.0]]]])
    assert eight_bit(values, 0.0, 1 / 256).ravel().tolist() == [0, 0, 0, 128, 255, 255]
    with pytest.raises(SpecError, match="finite pixels"):
        eight_bit(values * np.nan, 0.0, 1 / 256)
    with pytest.raises(SpecError, match="positive width"):
        eight_bit(values, 0.0, -1.0)


def test_typicality_marks_the_suspiciously_probable_too():
    np.testing.assert_allclose(typicality([1.0, 3.0, 5.0], [2.5, 3.5]), [2.0, 0.0, 2.0])
    with pytest.raises(SpecError, match="got none"):
        typicality([1.0], [])
