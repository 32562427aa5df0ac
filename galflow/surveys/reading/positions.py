"""Positions on the sky from pixels and back, always ICRS degrees, whatever frame and axis order a file's WCS has.

A WCS in Galactic or FK4 coordinates, or with the latitude first, is honoured as astropy reads it. This file reads no
header: a WCS comes from galflow.surveys.reading.fits_io.
"""

from __future__ import annotations

import numpy as np
from astropy.coordinates import ICRS, SkyCoord, angular_separation
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import ArrayLike


def pixel_to_icrs(wcs: WCS, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) right ascension and declination, ICRS degrees, of 0-based pixel positions; NaN where the WCS gives none."""
    world = np.asarray(wcs.all_pix2world(np.asarray(x, np.float64), np.asarray(y, np.float64), 0), dtype=np.float64)
    longitude, latitude = world[wcs.wcs.lng], world[wcs.wcs.lat]
    frame = wcs_to_celestial_frame(wcs)
    if isinstance(frame, ICRS):
        return np.mod(longitude, 360.0), latitude
    known = np.isfinite(longitude) & np.isfinite(latitude)
    ra, dec = np.full(known.shape, np.nan), np.full(known.shape, np.nan)
    if known.any():
        place = SkyCoord(longitude[known], latitude[known], unit="deg", frame=frame).icrs
        ra[known], dec[known] = place.ra.deg, place.dec.deg
    return ra, dec


def unit_vectors(ra_deg: np.ndarray, dec_deg: np.ndarray) -> np.ndarray:
    """(n, 3) directions of positions in degrees; NaN where there is none."""
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def separation_arcsec(
    ra_deg: ArrayLike, dec_deg: ArrayLike, other_ra_deg: ArrayLike, other_dec_deg: ArrayLike
) -> np.ndarray:
    """(n,) angles between positions in degrees, which are broadcast; NaN where there is no position."""
    places = (np.deg2rad(np.asarray(v, np.float64)) for v in (ra_deg, dec_deg, other_ra_deg, other_dec_deg))
    return np.asarray(np.rad2deg(angular_separation(*places)) * 3600.0)


def icrs_to_pixel(wcs: WCS, ra_deg: np.ndarray, dec_deg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) 0-based pixel positions x, y of ICRS degrees; not finite where the WCS has no pixel for them."""
    longitude, latitude = np.asarray(ra_deg, np.float64), np.asarray(dec_deg, np.float64)
    frame = wcs_to_celestial_frame(wcs)
    if not isinstance(frame, ICRS):
        known = np.isfinite(longitude) & np.isfinite(latitude)
        place = SkyCoord(longitude[known], latitude[known], unit="deg", frame="icrs").transform_to(frame)
        longitude, latitude = longitude.copy(), latitude.copy()
        longitude[known], latitude[known] = place.spherical.lon.deg, place.spherical.lat.deg
    world = (longitude, latitude) if wcs.wcs.lng < wcs.wcs.lat else (latitude, longitude)
    x, y = wcs.all_world2pix(*world, 0, quiet=True)
    return np.asarray(x), np.asarray(y)
