"""A FITS table as pyarrow columns: integers exact, what the file calls undefined as null, a broken column left out.

The stored numbers are scaled here, since astropy turns whole numbers with TZERO into floats and forgets TNULL in them.
Text is read as UTF-8 or else Latin-1, though the standard knows ASCII alone. Complex numbers are refused.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from galflow.errors import DataError
from galflow.logs import quiet
from galflow.surveys.reading.fits_io import Extension, read_table_hdu
from galflow.surveys.reading.table_metadata import assembled, notes, unique_names, with_reasons

_BROKEN = (
    DataError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    OSError,
    MemoryError,
    fits.VerifyError,
    pa.ArrowException,
)
"""What astropy, numpy and pyarrow raise on a damaged column."""


def read_fits_table(uri: str, extension: Extension, head: int | None = None) -> pa.Table:
    """The table of a FITS file, or its first ``head`` rows; what cannot be read is left out, with the reason.

    Cells with several numbers become lists of fixed length (in the order of the file, TDIM in the field's metadata),
    arrays of variable length lists, bits booleans. Units, descriptions and UCDs come from TUNITn, TCOMMn and TUCDn.
    """
    # astropy warns about cards of single columns, which are looked at below.
    with read_table_hdu(uri, extension) as hdu, quiet(AstropyWarning):
        columns = list(hdu.columns)
        names = [str(column.name or "") for column in columns]
        for column, name in zip(columns, unique_names(names), strict=True):
            if column.name != name:
                column.name = name  # numpy takes no name twice
        data = hdu.data
        count = 0 if data is None else len(data) if head is None else min(head, len(data))
        stored = None if data is None else data.view(np.ndarray)
        read, reasons = [], []
        for number, (column, name) in enumerate(zip(columns, names, strict=True), start=1):
            try:
                array = _column(hdu, data, stored, number - 1, column, count)
            except _BROKEN as error:
                reasons.append(
                    f"{uri}: column {name!r} is left out, it cannot be read ({type(error).__name__}: {error})"
                )
                continue
            cards = (column.unit, hdu.header.get(f"TCOMM{number}"), hdu.header.get(f"TUCD{number}"))
            metadata = notes(*cards) | ({b"tdim": str(column.dim).encode()} if column.dim else {})
            read.append((pa.field(name, array.type, metadata=metadata), array))
    return with_reasons(assembled(read), reasons)


def _column(hdu: Any, data: Any, stored: Any, index: int, column: Any, count: int) -> pa.Array:
    """One column's first ``count`` rows. Raises DataError, ValueError and what astropy raises if it cannot be read."""
    form = column.format
    raw = np.asarray([]) if stored is None else stored[stored.dtype.names[index]][:count]
    if isinstance(hdu, fits.TableHDU):
        return _ascii(raw, column)
    code = form.format
    if form.repeat == 0:
        raise DataError(f"its format {form} holds nothing")
    if code in ("C", "M") or (code in "PQ" and form.p_format in ("C", "M")):
        raise DataError("complex numbers have no column type; store real and imaginary part apart")
    if stored is None or count == 0:
        return pa.nulls(0, _empty_type(code, form))
    if code in ("P", "Q"):
        return _lists(data[:count].field(index), raw[:, 0], column)
    if code == "A":
        return _text(raw, column.dim)
    if code == "X":
        flags = np.unpackbits(raw.reshape(count, -1), axis=1)[:, : form.repeat].astype(bool)
        return _cells(pa.array(flags.reshape(-1)), count)
    if code == "L":
        return _cells(_logical(raw.reshape(-1)), count)
    return _cells(_numbers(raw.reshape(-1), column), count)


def _empty_type(code: str, form: Any) -> pa.DataType:
    """The type of a column without rows; integers as wide as any scaling makes them."""
    kinds = {"A": pa.string(), "L": pa.bool_(), "X": pa.bool_(), "E": pa.float32(), "D": pa.float64()}
    if code in ("P", "Q"):
        return pa.list_(kinds.get(form.p_format, pa.int64()))
    kind = kinds.get(code, pa.int64())
    return kind if form.repeat == 1 or code == "A" else pa.list_(kind, form.repeat)


def _cells(flat: pa.Array, count: int) -> pa.Array:
    """Numbers as one a row, or as lists of equal length."""
    size = len(flat) // count
    return flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size)


def _logical(raw: np.ndarray) -> pa.Array:
    """T and F; anything else (the standard's 0 byte) is undefined."""
    values = raw.view(np.uint8)
    return pa.array(values == ord("T"), mask=(values != ord("T")) & (values != ord("F")))


def _numbers(raw: np.ndarray, column: Any) -> pa.Array:
    """Stored numbers times TSCAL plus TZERO: exact for whole numbers, null where TNULL or NaN."""
    values = np.ascontiguousarray(raw, dtype=raw.dtype.newbyteorder("="))
    scale, zero = (default if card in (None, "") else card for card, default in ((column.bscale, 1), (column.bzero, 0)))
    whole = values.dtype.kind in "iu"
    missing = values == column.null if whole and isinstance(column.null, int | np.integer) else None
    if scale != 1 or zero != 0:
        values = _shifted(values, int(zero), missing) if whole and scale == 1 and zero == int(zero) else (
            values.astype(np.float64) * float(scale) + float(zero)
        )  # fmt: skip
    return pa.array(values, mask=missing, from_pandas=True)


def _shifted(values: np.ndarray, zero: int, missing: np.ndarray | None) -> np.ndarray:
    """Integers plus an integer, in the narrowest type that holds them all: unsigned ones by the standard's TZERO."""
    known = values if missing is None else values[~missing]
    unsigned = {"i2": (1 << 15, np.uint16), "i4": (1 << 31, np.uint32), "i8": (1 << 63, np.uint64)}
    offset, kind = unsigned.get(values.dtype.str[1:], (None, np.int64))
    if zero == offset:
        return (values.view(kind) ^ kind(offset)).astype(kind)
    if values.dtype == np.uint8 and zero == -128:
        return (values.astype(np.int16) - 128).astype(np.int8)
    lowest, highest = (int(known.min()) + zero, int(known.max()) + zero) if len(known) else (0, 0)
    if lowest < -(1 << 63) or highest >= 1 << 63:
        raise DataError(f"its numbers run from {lowest} to {highest} with TZERO, beyond 64 bits")
    if not -(1 << 63) <= zero < 1 << 63:
        raise DataError(f"its TZERO is {zero}, beyond 64 bits")
    with np.errstate(over="ignore"):  # only where TNULL stands
        return values.astype(np.int64) + np.int64(zero)


def _decoded(raw: np.ndarray) -> pa.Array:
    """(n,) bytes as text without what follows a NUL and without trailing blanks: UTF-8 if all is, else Latin-1."""
    stored = pa.array(raw.tolist(), pa.binary())
    try:
        texts = stored.cast(pa.string())
    except pa.ArrowInvalid:
        texts = pa.array([value.decode("latin-1") for value in stored.to_pylist()], pa.string())
    return pc.utf8_rtrim(pc.replace_substring_regex(texts, r"(?s)\x00.*", ""), characters=" ")


def _text(raw: np.ndarray, dim: Any) -> pa.Array:
    """One text a cell, or with TDIM several of equal length."""
    sides = re.findall(r"\d+", str(dim or ""))
    width = int(sides[0]) if len(sides) > 1 else 0
    if raw.ndim == 1 and width and raw.dtype.itemsize % width == 0:
        raw = np.ascontiguousarray(raw).view(f"S{width}").reshape(len(raw), -1)
    return _cells(_decoded(raw.reshape(-1)), len(raw))


def _lists(cells: Any, lengths: np.ndarray, column: Any) -> pa.Array:
    """Arrays of variable length, row by row, as astropy scales them; characters of variable length as text."""
    short = [row for row, (cell, length) in enumerate(zip(cells, lengths, strict=True)) if np.size(cell) != length]
    if short:  # astropy gives what lies there, without a word
        raise DataError(f"row {short[0]} has {lengths[short[0]]} numbers, which lie beyond the end of the table")
    if column.format.p_format == "A":
        texts = ["".join(np.asarray(cell).astype(str).reshape(-1).tolist()) for cell in cells]
        return pa.array([text.rstrip() for text in texts], pa.string())
    rows = [np.asarray(cell).reshape(-1) for cell in cells]
    kinds = {row.dtype.newbyteorder("=") for row in rows if len(row)}
    kind = pa.from_numpy_dtype(np.result_type(*kinds)) if kinds else _empty_type("P", column.format).value_type
    return pa.array([row.tolist() for row in rows], pa.list_(kind))


def _ascii(raw: np.ndarray, column: Any) -> pa.Array:
    """A column of an ASCII table: numbers cell by cell, null where blank, TNULL or no number at all."""
    texts = _decoded(raw)
    code = column.format.format
    if code == "A":
        return texts
    stripped = pc.utf8_trim_whitespace(texts)
    undefined = pc.equal(stripped, "")
    if column.null is not None:
        undefined = pc.or_(undefined, pc.equal(stripped, str(column.null).strip()))
    numbers = pc.if_else(undefined, pa.scalar(None, pa.string()), pc.replace_substring_regex(stripped, "[dD]", "E"))
    numbers = pc.replace_substring_regex(numbers, r"^\+", "")
    array = numbers.cast(pa.int64() if code == "I" else pa.float64())
    scale, zero = column.bscale, column.bzero
    if scale in (None, "", 1) and zero in (None, "", 0):
        return array
    return pc.add(pc.multiply(array.cast(pa.float64()), float(scale or 1)), float(zero or 0))
