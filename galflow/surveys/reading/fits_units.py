"""What BUNIT says of an image's pixels: a flux density in nJy, magnitudes, or nothing that galflow knows."""

from __future__ import annotations

import math
import re

from astropy import units

from galflow.errors import DataError
from galflow.logs import quiet

_NANOMAGGY_NJY = 3631.0
"""3.631e-6 Jy: AB magnitude 22.5."""


def is_magnitude(text: str) -> bool:
    """Whether a BUNIT is one of magnitudes, which no sum of pixels makes sense of."""
    return not {"mag", "mags", "magnitude", "magnitudes"}.isdisjoint(re.findall(r"[a-z]+", text.lower()))


def njy_per_unit(text: str, scale_arcsec: float | None, uri: str) -> float:
    """nJy in one pixel of value 1, from its BUNIT and, for a surface brightness, the side of a pixel in arcsec.

    DataError where BUNIT is no flux density that astropy knows, or a surface brightness of pixels of unknown size.
    """
    if text.lower().replace(" ", "") in ("nanomaggy", "nanomaggies", "nmgy"):
        return _NANOMAGGY_NJY
    with quiet():
        try:
            unit = units.Unit(text, parse_strict="raise") if text else None
        except (ValueError, TypeError):
            unit = None
    if unit is not None:
        for per_pixel, area in ((units.nJy, 1.0), (units.nJy / units.pix, 1.0), (units.nJy / units.sr, None)):
            if not unit.is_equivalent(per_pixel):
                continue
            if area is None and scale_arcsec is None:
                raise DataError(f"{uri}: BUNIT = {text!r} is a surface brightness, and its pixels' size is unknown")
            steradian = (scale_arcsec or 0.0) ** 2 * (math.pi / 648000.0) ** 2
            return float(unit.to(per_pixel)) * (area if area is not None else steradian)
    raise DataError(
        f"{uri}: BUNIT = {text!r} is no flux density; expected nJy, uJy, Jy, nanomaggy, MJy/sr or the like. Declare "
        "zero_point instead of unit: bunit"
    )


def flux_unit(text: str) -> bool:
    """Whether a BUNIT is a flux density, of a pixel or of a solid angle."""
    try:
        njy_per_unit(text, 1.0, "")
    except DataError:
        return False
    return True
