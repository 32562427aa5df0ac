"""Dimming and distance against the formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy import units
from astropy.cosmology import Planck18

from galflow.errors import DataError
from galflow.surveys.drawing.redshifting import dimming_factor, kpc_per_arcsec, power_law_factors


@pytest.mark.parametrize(("dimming", "power"), [("per_frequency", 3), ("bolometric", 4), ("per_wavelength", 5)])
def test_dimming_is_the_formula(dimming: str, power: int) -> None:
    assert dimming_factor(0.7, dimming) == 1.7**-power  # type: ignore[arg-type]
    assert dimming_factor(0.7, dimming, seen_at=0.2) == (1.2 / 1.7) ** power  # type: ignore[arg-type]
    assert dimming_factor(0.2, dimming, seen_at=0.2) == 1.0  # type: ignore[arg-type]


def test_dimmed_surface_brightness_gives_the_flux_of_the_luminosity_distance() -> None:
    """F_nu = (1 + z) L_nu / (4 pi D_L^2) at the shifted wavelength: Hogg+02's K = -2.5 log10(1 + z)."""
    z, area_kpc2, light = 0.3, 2.0, 5.0  # of an isotropic emitter, L_nu = 4 pi area light
    flux = light * dimming_factor(z, "per_frequency") * area_kpc2 / kpc_per_arcsec(z) ** 2
    distance = Planck18.luminosity_distance(z).to_value(units.kpc)
    square_arcsec = (math.pi / 648000.0) ** 2
    expected = (1 + z) * light * area_kpc2 / distance**2 / square_arcsec
    assert flux == pytest.approx(expected, rel=1e-9)


def test_three_conventions_say_one_thing_of_a_whole_spectrum() -> None:
    """I_lambda (1+z)^-5 at lambda (1+z), made I_nu there, is I_nu (1+z)^-3; so is I_nu integrated (1+z)^-4."""
    z, wavelength = 0.4, 6e-7
    i_nu = 7.0
    i_lambda = i_nu * 299792458.0 / wavelength**2
    seen = i_lambda * dimming_factor(z, "per_wavelength") * (wavelength * (1 + z)) ** 2 / 299792458.0
    assert seen == pytest.approx(i_nu * dimming_factor(z, "per_frequency"))
    nu = np.linspace(4e14, 6e14, 100)
    emitted, observed = np.trapezoid(np.ones(100), nu), np.trapezoid(np.full(100, (1 + z) ** -3), nu / (1 + z))
    assert observed / emitted == pytest.approx(dimming_factor(z, "bolometric"))


def test_without_a_distance_there_is_no_scale() -> None:
    assert kpc_per_arcsec(0.046) == pytest.approx(0.934, abs=0.001)
    assert kpc_per_arcsec(0.046, "WMAP7") != kpc_per_arcsec(0.046)
    with pytest.raises(DataError, match="give a positive redshift"):
        kpc_per_arcsec(0.0)


@pytest.mark.parametrize("slope", [0.0, -1.0, -2.0, 1.5])
def test_a_power_law_spectrum_is_k_corrected_exactly(slope: float) -> None:
    """What a fixed filter sees at z: the emitted spectrum at nu (1 + z), dimmed by (1 + z)^-3."""
    wavelengths, z, seen_at = np.array([0.62, 0.48, 0.76]), 0.4, 0.1

    def emitted(frequency: np.ndarray) -> np.ndarray:
        return np.asarray(3.0 * frequency**slope)

    seen = emitted((1 + seen_at) / wavelengths) * (1 + seen_at) ** -3
    expected = emitted((1 + z) / wavelengths) * (1 + z) ** -3
    found = seen * dimming_factor(z, "per_frequency", seen_at=seen_at)
    found *= power_law_factors(found, wavelengths, (1 + z) / (1 + seen_at))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # As the exponents that docs give for spectra flat in F_nu, nu F_nu and F_lambda.
    power = {0.0: "per_frequency", -1.0: "bolometric", -2.0: "per_wavelength"}.get(slope)
    if power is not None:
        np.testing.assert_allclose(found, seen * dimming_factor(z, power, seen_at=seen_at))  # type: ignore[arg-type]


def test_each_band_takes_the_colour_towards_shorter_wavelengths() -> None:
    flux, wavelengths = np.array([1.0, 4.0, 4.0]), np.array([0.4, 0.8, 1.6])
    # Blue and middle differ by a factor of 4 over one octave: slope -2; middle and red are flat in F_nu.
    np.testing.assert_allclose(power_law_factors(flux, wavelengths, 2.0), [0.25, 0.25, 1.0])
    with pytest.raises(DataError, match="no colour"):
        power_law_factors(np.array([1.0, 0.0]), np.array([0.4, 0.8]), 1.1)
