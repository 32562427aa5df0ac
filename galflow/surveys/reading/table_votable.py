"""A table of a VOTable file, in any of its serialisations, with units, descriptions and UCDs of its fields."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
from astropy.io import votable
from astropy.utils.exceptions import AstropyWarning

from galflow.errors import DataError
from galflow.logs import quiet
from galflow.surveys.reading.table_arrays import column_of
from galflow.surveys.reading.table_metadata import assembled, notes, with_reasons


def read_votable(content: bytes, uri: str, place: str | int | None = None, head: int | None = None) -> pa.Table:
    """The table with the name, ID or number ``place`` (None: the first), or its first ``head`` rows.

    What the file declares null is null. Raises DataError for a file that is none, or has no such table.
    """
    try:
        with quiet(AstropyWarning, UserWarning):
            parsed = votable.parse(io.BytesIO(content), verify="ignore")
        tables = list(parsed.iter_tables())
    except Exception as error:  # expat's and astropy's own kinds, for whatever stands in a damaged file
        raise DataError(f"{uri} cannot be read as VOTable ({type(error).__name__}: {error}); fetch it again") from error
    names = [table.name or table.ID or str(number) for number, table in enumerate(tables)]
    wanted = [n for n, t in enumerate(tables) if place is None or place in (n, t.name, t.ID)]
    if not wanted:
        raise DataError(f"{uri} has no table {place!r}; it has {', '.join(names) or 'none'}")
    table, found, reasons = tables[wanted[0]], [], []
    rows = slice(None) if head is None else slice(head)
    for field in table.fields:
        name = str(field.name or field.ID)
        try:
            array = _column(table.array[field.ID][rows])
        except (ValueError, TypeError, pa.ArrowException) as error:
            reasons.append(f"{uri}: column {name!r} is left out, it cannot be read ({type(error).__name__}: {error})")
            continue
        metadata = notes(field.unit, field.description, field.ucd)
        found.append((pa.field(name, array.type, metadata=metadata), array))
    if not found:
        raise DataError(f"{uri} has no column that can be read{': ' if reasons else ''}{''.join(reasons[:1])}")
    return with_reasons(assembled(found), reasons)


def _column(values: np.ma.MaskedArray) -> pa.Array:
    """A masked column; cells of several numbers are null where all of them are."""
    masked = np.asarray(np.ma.getmaskarray(values))
    missing = np.asarray(masked.reshape(len(masked), -1).all(axis=1))
    plain = np.asarray(values.data)
    if plain.dtype.kind == "f" and plain.ndim > 1:
        plain = np.where(masked, np.nan, plain)
    return column_of(plain, missing if missing.any() else None)
