"""The catalogue as a FITS binary table, written row by row of tables that come one after another.

The header says rows and widths before the first row is written, so a first pass counts both (``text_widths``). Units,
UCDs and descriptions stand in TUNIT, TUCD and TCOMM, as TOPCAT reads them. No more than one table is in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from astropy import units
from astropy.io import fits

from galflow.catalog.carried import DESCRIPTION, UCD, UNIT, parsed_unit
from galflow.catalog.fits_columns import (
    CUT,
    NON_ASCII,
    TAKEN_FOR_NULL,
    FitsColumn,
    ascii_text,
    fits_names,
    merged_widths,
    text_widths,
)
from galflow.catalog.schema import conform
from galflow.catalog.votable import said_of
from galflow.errors import DataError, StoreError
from galflow.logs import quiet

_BLOCK = 2880
_BATCH_BYTES = 32 << 20
"""Of rows encoded at a time."""
_MOST_COLUMNS = 999
"""FITS numbers columns with three digits."""
_SAID = {
    NON_ASCII: "text(s) that are not printable ASCII are written out with backslashes",
    CUT: "text(s) too long for FITS end in ...",
    TAKEN_FOR_NULL: "value(s) equal the number that FITS has for null here, and read as missing",
}


class FitsTableWriter:
    """Writes one table; a context, in which ``add`` takes the rows.

    ``rows`` is how many will come; ``text_widths`` their widths as ``text_widths`` and ``merged_widths`` give them.
    A file that does not come to its end is removed. ``reasons`` says afterwards what FITS could not hold.
    """

    def __init__(self, path: str | Path, schema: pa.Schema, rows: int, text_widths: Mapping[str, int]) -> None:
        self._path = Path(path)
        self._schema = schema
        self._rows = rows
        fields = list(schema)[:_MOST_COLUMNS]
        self._columns = [FitsColumn.of(field, text_widths.get(field.name)) for field in fields]
        self._dtype = np.dtype([(f"c{i}", *column.dtype) for i, column in enumerate(self._columns)])
        self._lost: dict[str, Counter[str]] = {field.name: Counter() for field in fields}
        self._names = fits_names(field.name for field in fields)
        self._left_out = schema.names[_MOST_COLUMNS:]
        self._written = 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> FitsTableWriter:
        try:
            self._file = self._path.open("xb")
        except FileExistsError as error:
            raise StoreError(
                f"{self._path} exists already; nothing is overwritten in place, write under a new name"
            ) from error
        primary = fits.Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)])
        self._file.write(primary.tostring().encode("ascii"))
        self._file.write(self._header().tostring().encode("ascii"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._file is not None
        whole = kind is None and self._written == self._rows
        with self._file as file:
            if whole:
                file.write(bytes(-self._written * self._dtype.itemsize % _BLOCK))
        if whole:
            return
        self._path.unlink()
        if kind is None:
            raise DataError(
                f"{self._path.name} was begun for {self._rows} rows and got {self._written}; expected as many as its "
                "header says. Count the rows of the same tables that are written"
            )

    def add(self, table: pa.Table) -> None:
        """Append the rows of a table, held to the schema; a batch of some megabytes is encoded at a time."""
        assert self._file is not None
        table = conform(table, self._schema)
        step = max(1, _BATCH_BYTES // self._dtype.itemsize)
        for start in range(0, len(table), step):
            part = table.slice(start, step)
            rows = np.zeros(len(part), self._dtype)
            for name, column in zip(self._dtype.names or (), self._columns, strict=True):
                rows[name] = self._encoded(column, part[column.field.name])
            self._file.write(rows.data)
            self._written += len(rows)

    def _encoded(self, column: FitsColumn, values: pa.ChunkedArray) -> np.ndarray:
        try:
            return column.encode(values, self._lost[column.field.name])
        except pa.ArrowInvalid as error:
            raise DataError(
                f"column {column.field.name} holds values that its FITS format {column.form} does not ({error}); "
                "expected the rows that text_widths was taken from"
            ) from error

    @property
    def reasons(self) -> tuple[str, ...]:
        """What FITS cannot hold of the rows added so far, column by column; Parquet has it all."""
        told = [
            f"FITS: column {name}: {count} {_SAID[what]}"
            for name, lost in self._lost.items()
            for what, count in lost.items()
            if count
        ]
        told += [f"FITS: column {name!r} is named {given}" for name, given in self._names.items() if name != given]
        if self._left_out:
            told.append(f"FITS: holds {_MOST_COLUMNS} columns at most; left out: {', '.join(self._left_out)}")
        return tuple(told)

    def _header(self) -> fits.Header:
        cards: list[tuple[str, str | int]] = [
            ("XTENSION", "BINTABLE"), ("BITPIX", 8), ("NAXIS", 2), ("NAXIS1", self._dtype.itemsize),
            ("NAXIS2", self._rows), ("PCOUNT", 0), ("GCOUNT", 1), ("TFIELDS", len(self._columns)),
        ]  # fmt: skip
        for number, column in enumerate(self._columns, 1):
            cards += [(f"{key}{number}", value) for key, value in _cards(column, self._names[column.field.name])]
        return fits.Header([*cards, ("EXTNAME", "GALFLOW")])


def _cards(column: FitsColumn, name: str) -> list[tuple[str, str | int]]:
    """Keywords, without the column's number, and their values."""
    field = column.field
    cards: list[tuple[str, str | int]] = [("TTYPE", name), ("TFORM", column.form)]
    if column.dim:
        cards.append(("TDIM", column.dim))
    if column.null is not None:
        cards.append(("TNULL", column.null))
    if column.zero:
        cards += [("TSCAL", 1), ("TZERO", column.zero)]
    description = said_of(field, DESCRIPTION)
    if pa.types.is_boolean(field.type) and column.code != "L":
        description = f"{description} (0 false, 1 true)".lstrip()
    texts = (("TUNIT", _fits_unit(said_of(field, UNIT))), ("TUCD", said_of(field, UCD)), ("TCOMM", description))
    return [*cards, *((key, ascii_text(text)) for key, text in texts if text)]


def _fits_unit(text: str) -> str:
    """The unit as the FITS standard writes it; as it was given where astropy does not know it."""
    unit = parsed_unit(text)
    if unit is None:
        return text
    with quiet(units.UnitsWarning):
        try:
            return str(unit.to_string("fits"))
        except (ValueError, TypeError):
            return text


def write_fits(tables: Callable[[], Iterable[pa.Table]], schema: pa.Schema, path: str | Path) -> tuple[str, ...]:
    """Write all rows of ``tables()`` as one FITS table; what FITS cannot hold of them is returned as reasons.

    ``tables`` is called twice, for widths and for rows, and gives the same tables each time; one is in memory at a
    time. astropy reads 64-bit ids exact and nulls masked. Raises StoreError if ``path`` exists.
    """
    rows, widths = 0, dict[str, int]()
    for table in tables():
        rows += len(table)
        widths = merged_widths(widths, text_widths(conform(table, schema)))
    with FitsTableWriter(path, schema, rows, widths) as writer:
        for table in tables():
            writer.add(table)
    return writer.reasons
