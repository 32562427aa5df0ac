"""One ready-made image on its way into a mosaic: are its bytes those that were planned, where is it, is it too large.

This file refuses to decode (``stamp_files``) and to lay out (``mosaic``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from astropy.io import fits

from galflow.errors import ChangedError, DataError
from galflow.surveys.base import TileFile
from galflow.surveys.reading.files import checksum
from galflow.surveys.reading.fits_wcs import celestial_wcs
from galflow.surveys.reading.mosaic import Mosaic
from galflow.surveys.reading.positions import pixel_to_icrs
from galflow.surveys.reading.stamp_sizing import SizeChange

_LARGEST_RATIO = 4
"""A stamp of more than so many times the median side gives way where the mosaic would be too large."""


@dataclass(frozen=True, eq=False)
class Stamp:
    """One image, or why there is none."""

    pixels: np.ndarray | None
    error: str | None = None
    sky: tuple[float, float] = (np.nan, np.nan)
    reason: str | None = None
    white: tuple[float | None, ...] = ()
    """Per band: white of pixels that were stretched for display already, None of flux."""
    ivar: np.ndarray | None = None
    """As ``pixels``; None: not known."""
    mask: np.ndarray | None = None
    """As ``pixels``, uint16; None: nothing is flagged."""
    psf: np.ndarray | None = None
    """(B, side, side), sum 1."""
    change: SizeChange | None = None
    """What was done to its size."""

    def at(self, sky: tuple[float, float]) -> Stamp:
        """With its place in ICRS degrees."""
        return replace(self, sky=sky)

    def doubted(self, reason: str) -> Stamp:
        """With what is wrong with it, though it can be read."""
        return replace(self, reason=reason)


def of_like_size(stamps: list[Stamp]) -> list[Stamp]:
    """The stamps, but those that are far larger than the others unreadable where the mosaic would be too large."""
    sides = [0 if stamp.pixels is None else max(stamp.pixels.shape[1:]) for stamp in stamps]
    allowed = _LARGEST_RATIO * float(np.median([side for side in sides if side] or [0]))
    largest = max(sides, default=0)
    if largest <= allowed or Mosaic.fits(len(stamps), largest):
        return stamps
    told = "this stamp of {} pixels a side is more than {} times as large as most others; crop it, or leave it out"
    return [
        Stamp(None, told.format(side, _LARGEST_RATIO)) if side > allowed else stamp
        for stamp, side in zip(stamps, sides, strict=True)
    ]


def sky_position(header: fits.Header | None, key: str, place: tuple[float, float]) -> tuple[float, float]:
    """ICRS degrees of the pixel ``place`` (y, x), NaN without a WCS. Raises DataError for a WCS that is none."""
    wcs = None if header is None else celestial_wcs(header, key)
    if wcs is None:
        return np.nan, np.nan
    try:
        ra, dec = pixel_to_icrs(wcs, np.array([place[1]]), np.array([place[0]]))
    except (ValueError, RuntimeError) as error:  # what wcslib and astropy raise on a WCS that cannot be used
        raise DataError(f"{key}: its WCS gives no position ({type(error).__name__}: {error})") from error
    return float(ra[0]), float(dec[0])


def check_unchanged(file: TileFile, content: bytes) -> None:
    """Raise ChangedError where the bytes are not those that were fingerprinted when the tile was planned."""
    kind, _, digest = file.checksum.partition(":")
    if kind == "sha256":
        same = hashlib.sha256(content).hexdigest() == digest
    else:
        # An etag is mostly the MD5 of the content; where it is not (sent in parts, encrypted) the store is asked.
        same = hashlib.md5(content, usedforsecurity=False).hexdigest() == digest or checksum(file.uri) == file.checksum
    if not same:
        raise ChangedError(
            f"{file.uri} was replaced since it was planned ({file.checksum[:20]}... expected); plan and run again"
        )
