"""The WCS of a FITS header, as astropy reads it with its usual repairs, without its warnings.

Every card that astropy knows is handed to it: rotation in any of its forms, distortions by polynomial, axes in any
order and frame. Positions come out through galflow.surveys.reading.positions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, Sip
from astropy.wcs.utils import wcs_to_celestial_frame

from galflow.errors import DataError
from galflow.logs import quiet
from galflow.surveys.reading.fits_header import UNREADABLE, clean_header
from galflow.surveys.reading.positions import pixel_to_icrs

_NO_SKY = ("", "LINEAR", "PIXEL")


def celestial_wcs(header: fits.Header, uri: str) -> WCS | None:
    """The celestial WCS of a header (TAN, ZPN, TPV, SIP, HPX, ...; any frame), None where it has none.

    Raises DataError for cards that make no WCS, and for distortions in lookup tables, which are not read.
    """
    cards = clean_header(header)
    if (lost := cards.get(UNREADABLE)) is not None:
        raise DataError(f"{uri}: card {lost} of its WCS cannot be read; correct the header, or declare nominal")
    if not any(str(cards.get(f"CTYPE{axis}", "")).strip().upper() not in _NO_SKY for axis in (1, 2, 3)):
        return None
    if any(f"{card}{axis}" in cards for card in ("CPDIS", "D2IMDIS") for axis in (1, 2)):
        raise DataError(f"{uri}: its WCS has distortion tables, which are not read; give it a TPV or SIP solution")
    try:
        with quiet():
            wcs = WCS(cards)
            if not wcs.has_celestial:
                return None
            if wcs.naxis > 2:
                wcs = wcs.sub([1, 2]) if {wcs.wcs.lng, wcs.wcs.lat} == {0, 1} else wcs.celestial
            wcs.wcs.set()
            wcs_to_celestial_frame(wcs)
            if np.linalg.matrix_rank(wcs.pixel_scale_matrix) < 2:
                raise ValueError("its axes are parallel (a singular CD or PC matrix)")
    except Exception as error:  # wcslib has errors of its own for each card
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise DataError(f"{uri}: the WCS in its header cannot be used: {reason}") from error
    return wcs


def local_pixel_scale_arcsec(wcs: WCS, shape: tuple[int, int]) -> float:
    """Side in arcsec of a square of the area of the image's central pixel (the WCS's reference may be far off it)."""
    y, x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    ra, dec = (np.deg2rad(v) for v in pixel_to_icrs(wcs, np.array([x, x + 1, x]), np.array([y, y, y + 1])))
    points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
    area = np.linalg.norm(np.cross(points[1] - points[0], points[2] - points[0]))
    return float(np.rad2deg(np.sqrt(area)) * 3600.0)


def wcs_cards(wcs: WCS) -> dict[str, str | int | float]:
    """A WCS as cards of a FITS header, keyword -> value, with its distortion (SIP, TPV, ZPN)."""
    with quiet():
        header = wcs.to_header(relax=True)
    return {card.keyword: card.value for card in header.cards if card.keyword not in ("COMMENT", "HISTORY", "")}


def wcs_of_cutout(cards: Mapping[str, str | int | float], x0: int, y0: int, size: int) -> WCS:
    """The WCS of ``size`` x ``size`` pixels that begin at pixel (x0, y0), 0-based, of an image with these cards."""
    with quiet():
        wcs = WCS(fits.Header(cards))
    wcs.wcs.crpix = np.asarray(wcs.wcs.crpix) - (x0, y0)
    if wcs.sip is not None:
        sip = wcs.sip
        wcs.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, np.asarray(sip.crpix) - (x0, y0))
    wcs.wcs.set()
    wcs.pixel_shape = (size, size)
    return wcs
