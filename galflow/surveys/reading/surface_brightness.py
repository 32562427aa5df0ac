"""The surface brightness of simulated images, in whatever unit their file declares, as nJy per square arcsecond.

Known are AB magnitudes, flux densities per unit frequency and per unit wavelength, and nu F_nu, each of a solid angle.
With c the speed of light, F_nu = F_lambda lambda^2 / c = (lambda F_lambda) lambda / c. It refuses a unit that is not
declared, and pixels that are counts: nothing can be known of them.
"""

from __future__ import annotations

import math
import re

import numpy as np
from astropy import constants, units

from galflow.errors import DataError
from galflow.logs import quiet
from galflow.photometry import flux_from_ab_magnitude
from galflow.surveys.reading.fits_units import is_magnitude

SPEED_OF_LIGHT = float(constants.c.value)
"""m/s."""
SQUARE_ARCSEC_PER_SR = (648000.0 / math.pi) ** 2
EXAMPLES = "AB mag/arcsec2, W/m2/micron/arcsec2, W/m2/arcsec2, W/m/m2/sr or MJy/sr"
_PER_FREQUENCY = units.W / units.m**2 / units.Hz / units.sr
_PER_WAVELENGTH = units.W / units.m**3 / units.sr
_BOLOMETRIC = units.W / units.m**2 / units.sr


def njy_per_arcsec2(values: np.ndarray, unit: str, wavelength_m: float | None, what: str) -> np.ndarray:
    """``values`` (..., y, x) of ``unit`` as nJy per square arcsecond, float64; 0 where a pixel is empty.

    ``wavelength_m``: the filter's pivot wavelength, which units per wavelength and nu F_nu need. Empty are pixels
    without a finite value: of a magnitude infinity is no light. Raises DataError, which names ``what``, for a unit that
    is no surface brightness and for a wavelength that is not known.
    """
    values = np.asarray(values, dtype=np.float64)
    empty = ~np.isfinite(values)
    if is_magnitude(unit):
        if not re.search(r"\bAB\b", unit) or not re.search(r"arcsec\^?\*{0,2}2|arcsec-2", unit.replace(" ", "")):
            raise _unknown(unit, what)
        with np.errstate(over="ignore"):
            light = flux_from_ab_magnitude(np.where(empty, np.inf, values))
    else:
        light = np.where(empty, 0.0, values) * njy_per_arcsec2_of(unit, wavelength_m, what)
    if not np.isfinite(light).all():
        raise DataError(f"{what}: its values in {unit} overflow; expected a surface brightness such as {EXAMPLES}")
    return light


def njy_per_arcsec2_of(unit: str, wavelength_m: float | None, what: str) -> float:
    """nJy per square arcsecond in one of a linear unit; DataError as ``njy_per_arcsec2``."""
    with quiet():  # astropy warns of several slashes, which every simulation writes
        try:
            parsed = units.Unit(unit) if unit.strip() else None
        except (ValueError, TypeError):
            parsed = None
    if parsed is None:
        raise _unknown(unit, what)
    w_per_hz_per_njy = 1e-35
    for known in (_PER_FREQUENCY, _PER_WAVELENGTH, _BOLOMETRIC):
        if not parsed.is_equivalent(known):
            continue
        factor = float(parsed.to(known)) / w_per_hz_per_njy / SQUARE_ARCSEC_PER_SR
        if known is _PER_FREQUENCY:
            return factor
        if wavelength_m is None or not wavelength_m > 0:
            raise DataError(
                f"{what}: {unit} becomes nJy by the filter's wavelength, and that is {wavelength_m}; expected a header "
                "card WLEFF in Angstrom, or the option wavelength_micron"
            )
        return factor * wavelength_m ** (2 if known is _PER_WAVELENGTH else 1) / SPEED_OF_LIGHT
    raise _unknown(unit, what)


def _unknown(unit: str, what: str) -> DataError:
    return DataError(
        f"{what}: its unit is {unit!r}; expected a surface brightness such as {EXAMPLES}. Where the header is silent, "
        "declare the option unit"
    )


def ab_magnitude(flux_njy: float) -> float:
    """AB magnitude of a flux; infinite without light."""
    return math.inf if not flux_njy > 0 else -2.5 * math.log10(flux_njy / float(flux_from_ab_magnitude(np.array(0.0))))


def absolute_magnitude(light: np.ndarray, kpc_per_pixel: float) -> float:
    """Absolute AB magnitude of undimmed ``light`` (y, x) in nJy per square arcsecond: of its flux seen from 10 pc."""
    side_arcsec = 1000.0 * kpc_per_pixel / 10.0 * math.sqrt(SQUARE_ARCSEC_PER_SR)
    return ab_magnitude(float(light.sum()) * side_arcsec**2)
