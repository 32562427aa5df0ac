"""Directions and separations on the sky against astropy, near the pole and across RA 0."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord

from galflow.surveys.reading.positions import separation_arcsec, unit_vectors

RA = np.array([0.001, 359.999, 150.0, 20.0])
DEC = np.array([2.0, 2.0, 89.9, -60.0])


def test_directions_are_those_of_astropy() -> None:
    expected = SkyCoord(RA, DEC, unit="deg").cartesian.xyz.value.T
    np.testing.assert_allclose(unit_vectors(RA, DEC), expected, atol=1e-15)
    assert np.isnan(unit_vectors(np.array([np.nan]), np.array([1.0]))).any()


def test_separations_are_those_of_astropy() -> None:
    one = SkyCoord(0.0, 2.0, unit="deg")
    expected = SkyCoord(RA, DEC, unit="deg").separation(one).to_value(u.arcsec)
    np.testing.assert_allclose(separation_arcsec(0.0, 2.0, RA, DEC), expected, rtol=1e-9)
    np.testing.assert_allclose(separation_arcsec(RA[0], DEC[0], RA[1], DEC[1]), 7.2 * np.cos(np.deg2rad(2)), rtol=1e-6)
    assert np.isnan(separation_arcsec(np.nan, 2.0, 0.0, 2.0))
