"""Some pixels of a FITS image, for which only the bytes that hold them are fetched.

Of an uncompressed image these are rows' pieces, of a tile-compressed one its tiles; what lies close together is fetched
together. Where that would cost as much as the whole image, and in a gzipped or bzipped file, the image is read whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from galflow.errors import DataError
from galflow.logs import quiet
from galflow.surveys.reading.fits_byte_planes import is_byte_mask
from galflow.surveys.reading.fits_header import with_inherited
from galflow.surveys.reading.fits_io import Extension, opened_image, read_image
from galflow.surveys.reading.fits_pixels import physical
from galflow.surveys.reading.fits_structure import Span
from galflow.surveys.reading.parts import Part, WholeNeeded
from galflow.surveys.reading.ranges import RangedContent, RangeFile, cost, joined

_HEAP_COLUMNS = ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")
"""Columns whose rows say where in the heap a tile lies; one of them has it."""


def pixels_of(uri: str, extension: Extension, part: Part | None) -> tuple[np.ndarray, fits.Header]:
    """Pixels and header of an image: (y, x) of all of it, (1, M) of a part."""
    return read_image(uri, extension) if part is None else read_part(uri, extension, part)


def read_part(uri: str, extension: Extension, part: Part) -> tuple[np.ndarray, fits.Header]:
    """The part's pixels, (1, M), and the header of an image, as ``read_image`` has them.

    DataError where the image is not of the part's shape; WholeNeeded where its pixels have a type that follows from
    all of them.
    """
    with opened_image(uri, extension) as found:
        if is_byte_mask(found.hdu):
            raise WholeNeeded("the bytes of a mask of three axes are joined over all of it")
        header = with_inherited(found.hdu.header, found.primary)
        shape = tuple(found.hdu.shape[-2:])
        if shape != part.shape:
            raise DataError(f"{uri} has shape {shape} (y, x), its image {part.shape}; they must be equal")
        if found.content is None:
            stored = np.asarray(found.hdu.data).reshape(-1)[part.index]
        elif isinstance(found.hdu, fits.CompImageHDU):
            stored = _of_tiles(found.hdu, found.number, found.span, found.content, part)
        else:
            stored = _of_rows(found.hdu, found.span, found.content, part)
        if stored.dtype.kind in "iu" and ("BLANK" in header or "ZBLANK" in header):
            raise WholeNeeded("whole numbers become floats where one of them stands for no data")
        return physical(stored[None], header, uri), header


def _of_rows(hdu: Any, span: Span, content: RangedContent, part: Part) -> np.ndarray:
    """(M,) pixels of an uncompressed image."""
    stored = np.dtype(_stored_type(int(hdu.header["BITPIX"])))
    first = np.flatnonzero(np.r_[True, np.diff(part.index) > 1])
    last = np.r_[first[1:] - 1, len(part.index) - 1]
    at = span.data + part.index[[first, last]].T * stored.itemsize
    ranges = joined(at + np.array([0, stored.itemsize]))
    whole = np.array([[span.data, span.data + part.shape[0] * part.shape[1] * stored.itemsize]])
    if cost(ranges) >= cost(whole):
        ranges = whole
    content.prefetch(ranges)  # and kept: if parts do not do in the end, the rest alone is fetched
    out = np.empty(len(part.index), stored)
    offset = span.data + part.index * stored.itemsize
    edges = np.searchsorted(offset, ranges)
    for (start, stop), (low, high) in zip(ranges.tolist(), edges.tolist(), strict=True):
        held = np.frombuffer(content.read(start, stop), np.uint8)
        pixels = held[: (stop - start) // stored.itemsize * stored.itemsize].view(stored)
        out[low:high] = pixels[(offset[low:high] - start) // stored.itemsize]
    return out


def _stored_type(bits: int) -> str:
    return f">f{-bits // 8}" if bits < 0 else "u1" if bits == 8 else f">i{bits // 8}"


def _of_tiles(hdu: Any, number: int, span: Span, content: RangedContent, part: Part) -> np.ndarray:
    """(M,) pixels of a tile-compressed image: the tiles that have them are fetched, then unpacked row by row."""
    height, width = hdu.tile_shape[-2:]
    rows, columns = part.rows // height, part.index % part.shape[1] // width
    across = -(-part.shape[1] // width)
    if not _fetch_tiles(content, number, span, np.unique(rows * across + columns)):
        return np.asarray(hdu.data).reshape(-1)[part.index]
    out = None
    leading = (0,) * (len(hdu.shape) - 2)
    starts = np.flatnonzero(np.r_[True, np.diff(rows) > 0])
    for low, high in zip(starts, np.r_[starts[1:], len(rows)], strict=True):
        top = int(rows[low]) * height
        touched = np.unique(columns[low:high])
        for run in np.split(touched, np.flatnonzero(np.diff(touched) > 1) + 1):
            left, right = int(run[0]) * width, min((int(run[-1]) + 1) * width, part.shape[1])
            pixels = hdu.section[(*leading, slice(top, min(top + height, part.shape[0])), slice(left, right))]
            mine = low + np.flatnonzero((columns[low:high] >= run[0]) & (columns[low:high] <= run[-1]))
            if out is None:
                out = np.empty(len(part.index), pixels.dtype)
            out[mine] = pixels[part.rows[mine] - top, part.index[mine] % part.shape[1] - left]
    return np.zeros(0, np.float32) if out is None else out


def _fetch_tiles(content: RangedContent, number: int, span: Span, tiles: np.ndarray) -> bool:
    """Fetch the table of the tiles and what of its heap holds these, or all of it; whether the few are cheaper."""
    with quiet(AstropyWarning, UserWarning):
        table = fits.open(RangeFile(content), memmap=False, lazy_load_hdus=True, disable_image_compression=True)[number]
        header, kinds = table.header, table.columns.dtype
        formats = {column.name: column.format for column in table.columns}
    main = int(header["NAXIS1"]) * int(header["NAXIS2"])
    content.prefetch(np.array([[span.data, span.data + main]]))
    held = np.frombuffer(content.read(span.data, span.data + main), kinds.newbyteorder(">"))[tiles]
    heap = span.data + int(header.get("THEAP", main))
    found = [np.zeros((0, 2), np.int64)]
    for name in _HEAP_COLUMNS:
        if name in formats:
            one = {"B": 1, "I": 2, "J": 4, "E": 4, "D": 8}[str(formats[name]).partition("(")[0][-1]]
            count, offset = held[name].astype(np.int64).T
            found.append(np.stack([heap + offset, heap + offset + count * one], axis=1)[count > 0])
    ranges = joined(np.concatenate(found))
    whole = np.array([[heap, span.end]])
    few = cost(ranges) < cost(whole)
    content.prefetch(np.minimum(ranges if few else whole, content.size))
    return few
