"""One image, header or table out of a FITS file, local or in an object store, or a DataError that says what is wrong.

astropy warns of a truncated file and goes on; here the file's length is checked against its headers first, so that a
cut-off download never becomes pixels. Plain, gzipped, bzipped and tile-compressed files are read alike.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from galflow.errors import DataError, GalflowError
from galflow.logs import quiet
from galflow.surveys.reading.files import open_bytes, ranged_content
from galflow.surveys.reading.fits_byte_planes import image_shape, is_byte_mask, joined_bytes, named
from galflow.surveys.reading.fits_header import with_inherited
from galflow.surveys.reading.fits_pixels import physical
from galflow.surveys.reading.fits_structure import Span, spans
from galflow.surveys.reading.identity import check_tile_size
from galflow.surveys.reading.ranges import RangedContent, RangeFile

Extension = int | str | None


def read_image(uri: str, extension: Extension = None) -> tuple[np.ndarray, fits.Header]:
    """The pixels, (y, x), and the header of an image; ``extension`` None: the first 2-D image of the file.

    Pixels are as the header means them (galflow.surveys.reading.fits_pixels); the header is free of damaged cards and
    has what the primary header says besides. Raises StoreError where the file is out of reach, DataError where it is
    truncated, corrupt or no 2-D image.
    """
    with _opened(uri, extension) as (hdu, primary):
        if is_byte_mask(hdu):
            return joined_bytes(np.asarray(hdu.data)), _named_mask(hdu, primary, uri)
        _require_plane(hdu, uri, extension)
        header = with_inherited(hdu.header, primary)
        pixels = physical(_plane(np.asarray(hdu.data)), header, uri)
        return pixels, header


def read_header(uri: str, extension: Extension = None) -> tuple[tuple[int, int], fits.Header]:
    """The shape (y, x) and the header of an image, without reading pixels."""
    with _opened(uri, extension) as (hdu, primary):
        if is_byte_mask(hdu):
            return image_shape(hdu.shape), _named_mask(hdu, primary, uri)
        _require_plane(hdu, uri, extension)
        height, width = hdu.shape[-2:]
        return (int(height), int(width)), with_inherited(hdu.header, primary)


def _named_mask(hdu: Any, primary: fits.Header | None, uri: str) -> fits.Header:
    """The header of a mask of three axes, with the names of its planes."""
    tree = None
    if not any(card.startswith("MSKN") for card in hdu.header):
        with read_table_hdu(uri, "JSON") as table:
            tree = np.asarray(table.data["JSON"][0]).tobytes()
    return named(with_inherited(hdu.header, primary), tree, uri)


def read_array(uri: str, extension: Extension = None) -> np.ndarray:
    """The pixels of an image of any number of axes; ``extension`` None: the first image of two axes."""
    with _opened(uri, extension) as (hdu, primary):
        if not _is_image(hdu) or not hdu.shape:
            raise DataError(f"{uri}: extension {extension!r} is no image (shape {getattr(hdu, 'shape', None)})")
        return np.asarray(physical(np.asarray(hdu.data), with_inherited(hdu.header, primary), uri))


def read_vector(uri: str, extension: int) -> np.ndarray:
    """(n,) float64 pixels of an image of one axis."""
    with _opened(uri, extension) as (hdu, _):
        if not _is_image(hdu) or len(hdu.shape) != 1:
            raise DataError(
                f"{uri}: extension {extension} is no image of one axis (shape {getattr(hdu, 'shape', None)})"
            )
        return np.asarray(physical(np.asarray(hdu.data), hdu.header, uri), np.float64)


def _require_plane(hdu: Any, uri: str, extension: Extension) -> None:
    if not is_plane(hdu):
        raise DataError(f"{uri}: extension {extension!r} is no 2-D image (shape {getattr(hdu, 'shape', None)})")
    check_tile_size(hdu.shape[-2:], f"{uri}: an image")


def is_plane(hdu: Any) -> bool:
    """Whether an HDU is an image of two axes; further axes of length 1 are none."""
    return _is_image(hdu) and len(hdu.shape) >= 2 and all(n == 1 for n in hdu.shape[:-2])


def _plane(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(pixels.shape[-2:])


@contextmanager
def read_table_hdu(uri: str, extension: Extension = None) -> Iterator[Any]:
    """The table HDU of a file (``extension`` None: the first), open as long as the context lasts."""
    with _opened(uri, extension, table=True) as (hdu, _):
        if not isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)):
            raise DataError(f"{uri}: extension {extension!r} is no table; name the extension that holds the catalogue")
        yield hdu


def _is_image(hdu: Any) -> bool:
    return isinstance(hdu, (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU))


@contextmanager
def _opened(uri: str, extension: Extension, *, table: bool = False) -> Iterator[tuple[Any, fits.Header | None]]:
    """The HDU, and the primary header if it is another; checked against the file's length, pixels read or not.

    Whatever breaks on the file's content is a DataError.
    """
    with unzipped(open_bytes(uri), uri) as (file, length):
        found = _parsed(file, uri, extension, table, length)
        yield found.hdu, found.primary


def _parsed(file: BinaryIO, uri: str, extension: Extension, table: bool, length: int) -> _Found:
    # Truncation is checked before; astropy's other warnings are about cards that nothing here reads.
    with quiet(AstropyWarning, UserWarning):
        found = _select(file, uri, extension, table, length)
        _ = found.hdu.header  # parsed here, where warnings are off
    return found


@dataclass(frozen=True)
class _Found:
    """An HDU of an open file."""

    hdu: Any
    number: int
    primary: fits.Header | None
    """The primary header if it is another."""
    span: Span


@dataclass(frozen=True)
class OpenedImage(_Found):
    """An image HDU of an open file."""

    content: RangedContent | None
    """The file's, of which ranges may be asked for; None: it was decompressed, and is in memory."""


@contextmanager
def opened_image(uri: str, extension: Extension) -> Iterator[OpenedImage]:
    """A 2-D image, or a mask of three axes, of a file whose ranges may be asked for; pixels are not read.

    Whatever breaks on the file's content is a DataError.
    """
    content = ranged_content(uri)
    with unzipped(cast(BinaryIO, RangeFile(content)), uri) as (file, length):
        found = _parsed(file, uri, extension, False, length)
        if not is_byte_mask(found.hdu):
            _require_plane(found.hdu, uri, extension)
        packed = not isinstance(file, RangeFile)
        yield OpenedImage(found.hdu, found.number, found.primary, found.span, None if packed else content)


@contextmanager
def unzipped(given: BinaryIO, uri: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file's bytes, decompressed if they are compressed, and their length; closed at the end.

    Whatever breaks on the file's content is a DataError.
    """
    file = given
    try:
        file, length = _decompressed(given)
        yield file, length
    except GalflowError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{uri} is truncated or corrupt: {error}; fetch it again") from error
    except MemoryError as error:
        raise DataError(f"{uri} does not fit into memory: give smaller tiles") from error
    except Exception as error:  # astropy raises all kinds on damaged headers and compressed data
        raise DataError(f"{uri} cannot be read as FITS ({type(error).__name__}: {error}); fetch it again") from error
    finally:
        file.close()


def _decompressed(file: BinaryIO) -> tuple[BinaryIO, int]:
    """The file, decompressed in memory if it is gzipped or bzipped, and its length in bytes."""
    start = file.read(3)
    if start[:2] == b"\x1f\x8b" or start == b"BZh":
        file.seek(0)
        with file:
            packed = file.read()
        small = start == b"BZh" and len(packed) <= _KEPT_BYTES
        content = _bunzipped(packed) if small else (bz2 if start == b"BZh" else gzip).decompress(packed)
        return io.BytesIO(content), len(content)
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    return file, length


_KEPT_BYTES = 1 << 25


@functools.lru_cache(maxsize=1)
def _bunzipped(packed: bytes) -> bytes:
    """The last small bzipped file, which takes seconds: an SDSS frame's image, calibration and sky are read in turn."""
    return bz2.decompress(packed)


def _select(file: BinaryIO, uri: str, extension: Extension, table: bool, length: int) -> _Found:
    """The HDU asked for, loading no more headers than needed, each checked before astropy's look at it."""
    checked = spans(file, uri, length)
    span = next(checked, None)
    file.seek(0)
    hdus = fits.open(file, memmap=False, lazy_load_hdus=True, do_not_scale_image_data=not table)
    number = 0
    while span is not None:
        try:
            hdu = hdus[number]
        except IndexError:
            break
        if _wanted(hdu, number, extension, table):
            return _Found(hdu, number, hdus[0].header if number else None, span)
        number += 1
        position = file.tell()
        span = next(checked, None)
        file.seek(position)
    names = [h.name or f"{i}" for i, h in enumerate(hdus)]
    if extension is not None:
        raise DataError(f"{uri} has no extension {extension!r}; it has {names}")
    wanted = "table" if table else "2-D image"
    raise DataError(f"{uri} holds no {wanted}; its extensions are {[type(h).__name__ for h in hdus]}")


def _wanted(hdu: Any, number: int, extension: Extension, table: bool) -> bool:
    if isinstance(extension, int):
        return number == extension
    if extension is not None:
        own, wanted = str(hdu.name).strip().upper(), extension.strip().upper()
        name, _, version = wanted.rpartition(",")
        return own == wanted or (own == name.strip() and version.strip() == str(hdu.ver))
    return isinstance(hdu, (fits.BinTableHDU, fits.TableHDU)) if table else is_plane(hdu)


def checked_hdus(file: BinaryIO, uri: str, length: int, *, as_stored: bool = False) -> fits.HDUList:
    """All HDUs of an open file; DataError for headers that claim what cannot be, before astropy acts on them.

    ``as_stored``: every header is read at once, and pixels stay unscaled.
    """
    for _ in spans(file, uri, length):
        pass
    file.seek(0)
    return fits.open(file, memmap=False, lazy_load_hdus=not as_stored, do_not_scale_image_data=as_stored)
