"""A WCS that is kept with cutouts gives the same places on the sky as the file's."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from galflow.surveys.reading.fits_wcs import celestial_wcs, wcs_cards, wcs_of_cutout
from galflow.surveys.reading.positions import pixel_to_icrs

PLAIN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.1, "CRVAL2": 2.2, "CRPIX1": 400.5, "CRPIX2": -300.25,
    "CD1_1": -5e-5, "CD1_2": 1e-6, "CD2_1": 2e-6, "CD2_2": 5.1e-5, "RADESYS": "ICRS",
}  # fmt: skip
KINDS = {
    "TAN": {},
    "SIP": {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5,
            "B_0_2": -1e-5},
    "TPV": {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.01, "PV2_1": 0.99, "PV1_4": 0.3},
    "ZPN": {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 42.0},
    "Galactic": {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "CRVAL1": 30.0, "CRVAL2": 0.0},
    "latitude first": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.2, "CRVAL2": 150.1},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_cutouts_wcs_is_the_files_shifted(kind: str) -> None:
    wcs = celestial_wcs(fits.Header(PLAIN | KINDS[kind]), "made here")
    assert wcs is not None
    x0, y0 = 123, -7
    x, y = (v.ravel() for v in np.mgrid[0:32:5, 0:32:7].astype(float))
    cut = wcs_of_cutout(wcs_cards(wcs), x0, y0, 32)
    np.testing.assert_allclose(pixel_to_icrs(cut, x, y), pixel_to_icrs(wcs, x + x0, y + y0), rtol=0, atol=1e-8)
    assert cut.pixel_shape == (32, 32)
