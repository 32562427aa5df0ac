"""Units of surface brightness against one another."""

from __future__ import annotations

import math

import numpy as np
import pytest

from galflow.errors import DataError
from galflow.surveys.reading.surface_brightness import ab_magnitude, absolute_magnitude, njy_per_arcsec2

C = 299792458.0
SR = (648000 / math.pi) ** 2
WAVELENGTH = 6.2e-7
JY = 1e-26
"""W/m^2/Hz."""


def one(value: float, unit: str, wavelength: float | None = WAVELENGTH) -> float:
    return float(njy_per_arcsec2(np.array([[value]]), unit, wavelength, "file.fits")[0, 0])


def test_each_unit_by_its_definition() -> None:
    assert one(22.5, "AB mag/arcsec2", None) == pytest.approx(3631.0)
    assert one(1.0, "MJy/sr", None) == pytest.approx(1e15 / SR)
    per_metre = 1e-9 * JY * C / WAVELENGTH**2  # of one nJy
    assert one(per_metre, "W/m/m^2/arcsec2") == pytest.approx(1.0)
    assert one(per_metre * 1e-6, "W/m2/micron/arcsec2") == pytest.approx(1.0)
    assert one(per_metre * SR, "W/m/m^2/sr") == pytest.approx(1.0)
    assert one(1e-9 * JY * C / WAVELENGTH, "W/m2/arcsec2") == pytest.approx(1.0)


def test_empty_pixels_are_dark() -> None:
    values = np.array([[np.nan, np.inf, 22.5]])
    np.testing.assert_allclose(njy_per_arcsec2(values, "AB mag/arcsec2", None, "f"), [[0.0, 0.0, 3631.0]])
    np.testing.assert_allclose(njy_per_arcsec2(values, "MJy/sr", None, "f")[0, :2], 0.0)


@pytest.mark.parametrize("unit", ["", "counts", "mag/arcsec2", "AB mag", "nJy", "W", "e-/s/pixel", "K"])
def test_what_is_no_surface_brightness_is_refused_by_name(unit: str) -> None:
    with pytest.raises(
        DataError, match=r"file\.fits: its unit is .*expected a surface brightness such as AB mag/arcsec2"
    ):
        one(1.0, unit)


def test_a_unit_per_wavelength_needs_one() -> None:
    with pytest.raises(DataError, match="option wavelength_micron"):
        one(1.0, "W/m2/micron/arcsec2", None)


def test_absolute_magnitude_is_that_seen_from_10_pc() -> None:
    light = np.zeros((4, 4))
    light[1, 2] = 3631e9 / SR  # 3631 Jy per steradian, on 10 pc x 10 pc: one steradian from 10 pc
    assert absolute_magnitude(light, 0.01) == pytest.approx(0.0, abs=1e-12)
    assert ab_magnitude(3631e9 * 1e-8) == pytest.approx(20.0)
    assert ab_magnitude(0.0) == math.inf
