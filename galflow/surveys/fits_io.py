"""One image, header or table out of a FITS file, local or in an object store, or a DataError that says what is wrong.

astropy warns of a truncated file and goes on; here the file's length is checked against its headers first, so that a
cut-off download never becomes pixels. Plain, gzipped and tile-compressed files are read alike.
"""

from __future__ import annotations

import gzip
import io
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from astropy.wcs.utils import pixel_to_skycoord

from galflow.errors import DataError, GalflowError
from galflow.surveys.files import open_bytes, open_lazily
from galflow.surveys.identity import check_tile_size

Extension = int | str | None
_OPENING = threading.Lock()
"""Python's warning filters are global to the process: only one thread at a time may change them."""
_WCS_CARD = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT|CROTA|NAXIS)[12]|(CD|PC)[12]_[12]|P[VS][12]_\d+|(A|B|AP|BP)_(ORDER|DMAX|\d_\d)"
    r"|LONPOLE|LATPOLE|RADESYS|EQUINOX|WCSAXES"
)


def read_image(uri: str, extension: Extension = None) -> tuple[np.ndarray, fits.Header]:
    """The pixels, (y, x) as stored, and the header of an image; ``extension`` None: the first 2-D image of the file.

    Raises StoreError where the file is out of reach, DataError where it is truncated, corrupt or no 2-D image.
    """
    with _opened(uri, extension, whole=True) as hdu:
        if not _is_image(hdu) or len(hdu.shape) != 2:
            raise DataError(f"{uri}: extension {extension!r} is no 2-D image (shape {getattr(hdu, 'shape', None)})")
        check_tile_size(hdu.shape)
        return np.asarray(hdu.data), hdu.header


def read_header(uri: str, extension: Extension = None) -> tuple[tuple[int, int], fits.Header]:
    """The shape (y, x) and the header of an image, without reading pixels."""
    with _opened(uri, extension, whole=False) as hdu:
        if not _is_image(hdu) or len(hdu.shape) != 2:
            raise DataError(f"{uri}: extension {extension!r} is no 2-D image (shape {getattr(hdu, 'shape', None)})")
        height, width = hdu.shape
        return (int(height), int(width)), hdu.header


@contextmanager
def read_table_hdu(uri: str, extension: Extension = None) -> Iterator[Any]:
    """The table HDU of a file (``extension`` None: the first), open as long as the context lasts."""
    with _opened(uri, extension, whole=True, table=True) as hdu:
        if not isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)):
            raise DataError(f"{uri}: extension {extension!r} is no table; name the extension that holds the catalogue")
        yield hdu


def _is_image(hdu: Any) -> bool:
    return isinstance(hdu, (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU))


@contextmanager
def _opened(uri: str, extension: Extension, *, whole: bool, table: bool = False) -> Iterator[Any]:
    """The HDU, its length checked if the ``whole`` file is at hand. Whatever breaks on its content is a DataError."""
    file = open_bytes(uri) if whole else open_lazily(uri)
    try:
        file, length = _unzipped(file)
        with _OPENING, warnings.catch_warnings():
            # Truncation is checked below; astropy's other warnings are about cards that nothing here reads.
            warnings.simplefilter("ignore", AstropyWarning)
            hdus = fits.open(file, memmap=False, lazy_load_hdus=True)
            hdu = _select(hdus, uri, extension, table)
            span = hdu.fileinfo()
            _ = hdu.header  # parsed here, where warnings are off
        end = span["datLoc"] + span["datSpan"]
        if whole and length < end:
            raise DataError(f"{uri} is truncated: {length} bytes, its header promises {end}; fetch it again")
        yield hdu
    except (GalflowError, MemoryError):
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{uri} is truncated or corrupt: {error}; fetch it again") from error
    except Exception as error:  # astropy raises all kinds on damaged headers and compressed data
        raise DataError(f"{uri} cannot be read as FITS ({type(error).__name__}: {error}); fetch it again") from error
    finally:
        file.close()


def _unzipped(file: BinaryIO) -> tuple[BinaryIO, int]:
    """The file, decompressed in memory if it is gzipped, and its length in bytes."""
    if file.read(2) == b"\x1f\x8b":
        file.seek(0)
        with file:
            content = gzip.decompress(file.read())
        return io.BytesIO(content), len(content)
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    return file, length


def _select(hdus: Any, uri: str, extension: Extension, table: bool) -> Any:
    """The HDU asked for, loading no more headers than needed."""
    if extension is not None:
        try:
            return hdus[extension]
        except (KeyError, IndexError) as error:
            raise DataError(f"{uri} has no extension {extension!r}; it has {[h.name for h in hdus]}") from error
    for hdu in hdus:
        if table and isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)):
            return hdu
        if not table and _is_image(hdu) and len(hdu.shape) == 2:
            return hdu
    wanted = "table" if table else "2-D image"
    raise DataError(f"{uri} holds no {wanted}; its extensions are {[type(h).__name__ for h in hdus]}")


def celestial_wcs(header: fits.Header, uri: str) -> WCS | None:
    """The WCS of right ascension and declination in a header (TAN, ZPN, TPV, SIP, ...), None where it has none.

    Only the cards of the celestial WCS are looked at: dates and observatories, which astropy warns about, play no part.
    Raises DataError for cards that make no WCS, and for distortions in lookup tables, which are not read.
    """
    axes = [str(header.get(f"CTYPE{axis}", "")) for axis in (1, 2)]
    if not any(axis.startswith(("RA--", "GLON", "ELON")) for axis in axes):
        return None
    if any(f"{card}{axis}" in header for card in ("CPDIS", "D2IMDIS") for axis in (1, 2)):
        raise DataError(f"{uri}: its WCS has distortion tables, which are not read; give it a TPV or SIP solution")
    cards = fits.Header()
    for card in header.cards:
        if _WCS_CARD.fullmatch(card.keyword) and not isinstance(card.value, fits.card.Undefined):
            cards[card.keyword] = card.value
    if "RADESYS" not in cards and "RADECSYS" in header:
        cards["RADESYS"] = header["RADECSYS"]  # the keyword's name before 2002
    try:
        wcs = WCS(cards, naxis=2, fix=False)
        wcs.wcs.fix()  # the repairs alone, without their warnings
        wcs.wcs.set()
    except (ValueError, KeyError, TypeError, MemoryError) as error:
        raise DataError(f"{uri}: the WCS in its header cannot be used: {error}") from error
    return wcs


def local_pixel_scale_arcsec(wcs: WCS, shape: tuple[int, int]) -> float:
    """Side in arcsec of a square of the area of the image's central pixel (the WCS's reference may be far off it)."""
    y, x = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    here, right, up = (pixel_to_skycoord(x + dx, y + dy, wcs) for dx, dy in ((0, 0), (1, 0), (0, 1)))
    (east_x, north_x), (east_y, north_y) = (here.spherical_offsets_to(there) for there in (right, up))
    area = abs(east_x.arcsec * north_y.arcsec - east_y.arcsec * north_x.arcsec)
    return float(np.sqrt(area))
