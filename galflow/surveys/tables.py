"""A catalogue file (FITS, CSV or Parquet) as a table with galflow's column names.

Object ids stay the 64-bit integers they are: they never pass through a float, and ids that are floating-point or text
in the file are refused. Positions that are not numbers are kept as null, so that no row goes missing.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError
from galflow.surveys.files import read_bytes
from galflow.surveys.fits_io import Extension, read_table_hdu

POSITIONS = ("ra_deg", "dec_deg", "x", "y")


def read_catalog(uri: str, columns: Mapping[str, str], origin: int = 0, extension: Extension = None) -> pa.Table:
    """The catalogue at ``uri``: object_id (int64 or uint64), ra_deg, dec_deg and/or x, y (float64), the rest.

    ``columns`` maps galflow's names to the file's ("object_id": "COADD_ID"); names that it leaves out are taken as they
    are. ``origin`` 1: the file counts pixels from 1 (FITS, SExtractor). Positions that are not finite, or beyond
    the poles (-99 and the like), are null. Rows keep the file's order.

    Raises SpecError for columns that are not there or ids of the wrong type; DataError for a damaged file, and for ids
    that are missing or given twice.
    """
    names = {name: columns.get(name, name) for name in ("object_id", *POSITIONS)}
    unknown = sorted(set(columns) - set(names))
    if unknown:
        raise SpecError(
            f"catalog.columns names {unknown[0]!r}; it maps only {', '.join(names)}, other columns are kept"
        )
    table = _load(uri, names["object_id"], extension)
    for name, source in names.items():
        wanted = name == "object_id" or name in columns
        if wanted and source not in table.column_names:
            raise SpecError(
                f"{uri} has no column {source!r} for {name}; it has "
                f"{', '.join(table.column_names)}. Change catalog.columns"
            )
    found = {name: source for name, source in names.items() if source in table.column_names}
    if not ({"ra_deg", "dec_deg"} <= set(found) or {"x", "y"} <= set(found)):
        raise SpecError(f"{uri}: catalog.columns must say which columns are ra_deg and dec_deg, or x and y")
    out: dict[str, Any] = {"object_id": _ids(table[found["object_id"]], found["object_id"], uri)}
    for name in POSITIONS:
        if name in found:
            out[name] = _numbers(table[found[name]], found[name], uri) - (origin if name in ("x", "y") else 0)
    if "dec_deg" in out:
        nowhere = ~(np.abs(out["dec_deg"]) <= 90) | ~np.isfinite(out["ra_deg"])
        out["ra_deg"][nowhere] = out["dec_deg"][nowhere] = np.nan
    arrays = {n: pa.array(v, from_pandas=True) if isinstance(v, np.ndarray) else v for n, v in out.items()}
    others = [n for n in table.column_names if n not in found.values()]
    rest = {f"{n}_in_file" if n in arrays else n: table[n] for n in others}
    return pa.table(arrays | rest)


def with_positions(table: pa.Table, wcs: WCS | None) -> pa.Table:
    """The table with ra_deg, dec_deg, x and y (0-based), those it lacks computed by the WCS; null without one."""
    given = [name for name in POSITIONS if name in table.column_names]
    values = {name: np.array(table[name].to_numpy(zero_copy_only=False), dtype=np.float64) for name in given}
    missing = np.full(table.num_rows, np.nan)
    for wanted, source in ((("ra_deg", "dec_deg"), ("x", "y")), (("x", "y"), ("ra_deg", "dec_deg"))):
        if set(wanted) <= set(values):
            continue
        found: tuple[np.ndarray, np.ndarray] = (missing, missing.copy())
        known = np.isfinite(values[source[0]]) & np.isfinite(values[source[1]])
        if wcs is not None and known.any():
            found = (missing.copy(), missing.copy())
            pair = (values[source[0]][known], values[source[1]][known], 0)
            turned = wcs.all_pix2world(*pair) if wanted[0] == "ra_deg" else wcs.all_world2pix(*pair, quiet=True)
            for column, numbers in zip(found, turned, strict=True):
                column[known] = numbers
        values |= dict(zip(wanted, found, strict=True))
    positions = {name: pa.array(values[name], from_pandas=True) for name in POSITIONS}
    rest = {name: table[name] for name in table.column_names if name not in POSITIONS and name != "object_id"}
    return pa.table({"object_id": table["object_id"]} | positions | rest)


def rows_inside(table: pa.Table, shape: tuple[int, int]) -> pa.Table:
    """The rows whose pixel position lies in an image of ``shape`` (y, x)."""
    x, y = (np.array(table[name].to_numpy(zero_copy_only=False), dtype=np.float64) for name in ("x", "y"))
    inside = (x >= -0.5) & (x < shape[1] - 0.5) & (y >= -0.5) & (y < shape[0] - 0.5)
    return table.filter(pa.array(inside))


def _load(uri: str, id_column: str, extension: Extension) -> pa.Table:
    """The file as it is, by its name's ending; in CSV the ids stay text, since a guessed type could be a float."""
    ending = uri.lower().removesuffix(".gz").rsplit(".", 1)[-1]
    if ending in ("fits", "fit", "fts"):
        return _load_fits(uri, extension)
    if ending not in ("csv", "parquet", "parq"):
        raise SpecError(f"{uri} is no catalogue that can be read; expected a name ending in .fits, .csv or .parquet")
    content = read_bytes(uri)
    try:
        if ending == "csv":
            text = pa.csv.ConvertOptions(column_types={id_column: pa.string()}, strings_can_be_null=True)
            source = pa.CompressedInputStream(io.BytesIO(content), "gzip") if uri.lower().endswith(".gz") else None
            return pa.csv.read_csv(source or io.BytesIO(content), convert_options=text)
        return pa.parquet.read_table(io.BytesIO(content))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{uri} cannot be read as {ending}: {error}; fetch it again") from error


def _load_fits(uri: str, extension: Extension) -> pa.Table:
    """A FITS table, its integers exact (unsigned by TZERO included), its TNULL and NaN as null."""
    with read_table_hdu(uri, extension) as hdu:
        data = hdu.data
        return pa.table({column.name: _fits_column(np.asarray(data[column.name]), column) for column in hdu.columns})


def _fits_column(values: np.ndarray, column: Any) -> pa.Array:
    """One FITS column; one with several numbers in a cell becomes lists of fixed length."""
    if values.dtype.kind in "OV" or (values.ndim > 1 and values.dtype.kind in "SU"):
        return pa.array([np.asarray(value).tolist() for value in values])
    if values.dtype.kind in "SU":
        return pa.array(np.char.rstrip(values.astype(str)))
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    flat = native.reshape(-1)
    missing = flat == column.null if column.null is not None and native.dtype.kind in "iu" else None
    array = pa.array(flat, mask=missing, from_pandas=True)
    return array if native.ndim == 1 else pa.FixedSizeListArray.from_arrays(array, int(np.prod(native.shape[1:])))


def _ids(column: pa.ChunkedArray, name: str, uri: str) -> pa.ChunkedArray:
    """The ids as int64, or uint64 where they need it; exact and present. Repeated ones are recorded when cut."""
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        raise SpecError(
            f"{uri}: the ids in column {name!r} are floating-point ({column.type}), which cannot hold every 64-bit "
            "integer; store them as integers, or map object_id to another column"
        )
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    ids = column
    if text and uri.lower().removesuffix(".gz").endswith(".csv"):
        ids = _parsed(pc.utf8_trim_whitespace(column), name, uri)
    elif not pa.types.is_integer(column.type):
        raise SpecError(
            f"{uri}: the ids in column {name!r} are of type {column.type}; expected integers of up to 64 bits. "
            "Give the catalogue an integer id, or map object_id to another column"
        )
    if ids.null_count:
        row = int(np.flatnonzero(ids.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{uri}: row {row} has no id in column {name!r} ({ids.null_count} such rows); give each an id")
    if ids.type != pa.uint64():
        ids = ids.cast(pa.int64())
    return ids


def _parsed(text: pa.ChunkedArray, name: str, uri: str) -> pa.ChunkedArray:
    """Ids written out in digits."""
    for kind in (pa.int64(), pa.uint64()):
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            continue  # beyond int64, uint64 is tried; text is refused below
    present = text.drop_null()
    bad = present.filter(pc.invert(pc.match_substring_regex(present, r"^[+-]?\d+$")))
    example = (bad if len(bad) else present)[0].as_py()
    raise SpecError(
        f"{uri}: the ids in column {name!r} are not all integers of 64 bits, such as {example!r}; text and "
        "floating-point ids are not supported, give the catalogue an integer id"
    )


def _numbers(column: pa.ChunkedArray, name: str, uri: str) -> np.ndarray:
    """A position column as float64, NaN where null or not finite."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_null(column.type)):
        raise SpecError(f"{uri}: column {name!r} is of type {column.type}; expected numbers as positions")
    values = np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return values
