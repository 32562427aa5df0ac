from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from galflow.errors import ModelError, SpecError
from galflow.photometry import AsinhStretch
from galflow.scores.likelihood import (
    log_density_from_mass,
    log_density_per_flux,
    log_likelihood_ratio,
)

STRETCH = AsinhStretch(1.0, 50.0, (2.0,))


def test_what_is_not_finite_or_not_per_object_is_refused():
    with pytest.raises(ModelError, match=r"survey holds 1 value\(s\) that are not finite"):
        log_likelihood_ratio([-np.inf], [4])
    with pytest.raises(SpecError, match=r"one number per object"):
        log_likelihood_ratio([-1.0, -2.0], [4])


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
