"""What a FITS file holds, HDU by HDU: names, types, shapes, units, from headers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from galflow.logs import quiet
from galflow.surveys.reading.files import open_bytes
from galflow.surveys.reading.fits_header import clean_header, with_inherited
from galflow.surveys.reading.fits_io import checked_hdus, is_plane, unzipped

_KINDS = {"PrimaryHDU": "image", "ImageHDU": "image", "CompImageHDU": "compressed image", "TableHDU": "text table"}


@dataclass(frozen=True)
class Hdu:
    """One HDU of a file."""

    number: int
    name: str
    """EXTNAME, "" where it has none."""
    kind: str
    """image, compressed image, table, text table, or empty."""
    shape: tuple[int, ...]
    """Of an image as numpy orders its axes; of a table (rows, columns)."""
    pixels: str
    """Type of an image's stored pixels, such as float32."""
    unit: str
    """BUNIT."""
    header: fits.Header
    """The cards that can be read, with those that the primary header says besides."""
    is_plane: bool
    """Whether it is an image of two axes (further ones of length 1 are none)."""


def contents(uri: str) -> list[Hdu]:
    """The HDUs of a file; no pixels are read. DataError where it is truncated or no FITS file, StoreError out of reach.

    A header that claims what cannot be is refused before astropy acts on it.
    """
    with unzipped(open_bytes(uri), uri) as (file, length), quiet(AstropyWarning, UserWarning):
        hdus = checked_hdus(file, uri, length, as_stored=True)
        return [_hdu(number, hdu, hdus[0].header) for number, hdu in enumerate(hdus)]


def _hdu(number: int, hdu: Any, primary: fits.Header) -> Hdu:
    header = with_inherited(hdu.header, primary) if number else clean_header(hdu.header)
    shape, pixels = tuple(int(side) for side in getattr(hdu, "shape", ()) or ()), ""
    if isinstance(hdu, fits.BinTableHDU | fits.TableHDU) and not isinstance(hdu, fits.CompImageHDU):
        kind, shape = _KINDS.get(type(hdu).__name__, "table"), (int(hdu.header["NAXIS2"]), int(hdu.header["TFIELDS"]))
    elif shape:
        kind = _KINDS.get(type(hdu).__name__, "image")
        bits = int(hdu.header["BITPIX"])
        pixels = f"float{-bits}" if bits < 0 else "uint8" if bits == 8 else f"int{bits}"
    else:
        kind = "empty"
    plane = kind.endswith("image") and is_plane(hdu)
    return Hdu(number, str(hdu.name or ""), kind, shape, pixels, str(header.get("BUNIT", "")).strip(), header, plane)
