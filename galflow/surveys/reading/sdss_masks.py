"""The mask of an SDSS frame: an fpM file, of which each table lists the pixels of one plane as spans of rows.

Format: classic.sdss.org/dr7/dm/flatFiles/fpM, and what photo's own reader takes (read_fits_row, SPAN and OBJMASK in
phFits.c and phSpanUtil.h). A row is nine integers, refcntr, nspan, row0, col0, rmin, rmax, cmin, cmax, npix, and its
spans: y, x1, x2, both ends inside, 16-bit integers that count from the frame's first pixel as 0. The last table says
which of the others is which plane; by default the first ten are in the order of the published mask bits.
"""

from __future__ import annotations

import re

import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import Plane
from galflow.surveys.reading.fits_io import read_table_hdu

NAME = re.compile(r"(?:^|/)fpM-(\d{6})-([ugriz])(\d)-(\d{4})\.fits?(?:\.gz|\.bz2)?$")
"""Of a file: run, band, camera's column, field."""
PLANES = {"INTERP": "INTERPOLATED", "SATUR": "SATURATED", "GHOST": "BAD", "CR": "COSMIC_RAY"}
"""Plane -> galflow's; the others say where objects are, and what was not looked at."""
_ORDER = ("INTERP", "SATUR", "NOTCHECKED", "OBJECT", "BRIGHTOBJECT", "BINOBJECT", "CATOBJECT", "SUBTRACTED", "GHOST",
          "CR")  # fmt: skip
_KEY_TABLE = len(_ORDER) + 1


def frame_mask(uri: str, shape: tuple[int, int], corner: tuple[int, int]) -> np.ndarray:
    """(y, x) uint16 ``Plane`` bits of a frame, or of its part of ``shape`` whose first pixel is ``corner`` (y, x)."""
    tables = _tables(uri)
    found = np.zeros(shape, np.uint16)
    for name, plane in PLANES.items():
        for y, x1, x2 in _spans(uri, tables[name]).tolist():
            row, left, right = y - corner[0], max(0, x1 - corner[1]), x2 + 1 - corner[1]
            if 0 <= row < shape[0] and left < right:
                found[row, left:right] |= np.uint16(Plane[plane])
    return found


def _tables(uri: str) -> dict[str, int]:
    """Plane -> HDU, as the last table says, which counts planes from 0."""
    found = {name: number + 1 for number, name in enumerate(_ORDER)}
    try:
        with read_table_hdu(uri, _KEY_TABLE) as hdu:
            key = hdu.data
            for value, kind, name in zip(key["Value"], key["defName"], key["attributeName"], strict=True):
                if str(kind).strip() == "S_MASKTYPE" and str(name).strip().startswith("S_MASK_"):
                    found[str(name).strip().removeprefix("S_MASK_")] = int(value) + 1
    except DataError as error:
        if "has no extension" not in str(error):
            raise
    return found


def _spans(uri: str, table: int) -> np.ndarray:
    """(n, 3) int64 y, x1, x2 of all rows of a plane's table."""
    with read_table_hdu(uri, table) as hdu:
        rows = hdu.data
        if rows is None or not len(rows):
            return np.zeros((0, 3), np.int64)
        counts, stored = np.asarray(rows.field(1), np.int64), rows.field(len(hdu.columns) - 1)
        spans = [_integers(cell) for cell in stored]
    if any(len(span) != 3 * count for span, count in zip(spans, counts, strict=True)):
        raise DataError(f"{uri}: table {table} is no mask of an SDSS frame: its spans are not three numbers each")
    return np.concatenate(spans).reshape(-1, 3)


def _integers(cell: np.ndarray) -> np.ndarray:
    """16-bit integers of a cell, which is declared as bytes or as what it is."""
    held = np.atleast_1d(cell)
    bytewise = held.dtype.itemsize == 1 and len(held) % 2 == 0
    return (held.astype(np.uint8).view(">i2") if bytewise else held).astype(np.int64)
