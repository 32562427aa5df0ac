"""A catalogue (FITS, Parquet, VOTable, HDF5, CSV, TSV, ECSV or HATS) as a table with galflow's column names.

Object ids stay the 64-bit integers they are, or are hashes of the text they are. Positions that are not numbers are
kept as null, so that no row goes missing; what had to be left out is told by ``table_metadata.reasons_of``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.fits_io import Extension
from galflow.surveys.reading.places import Place
from galflow.surveys.reading.positions import icrs_to_pixel, pixel_to_icrs
from galflow.surveys.reading.table_files import is_text, load_table
from galflow.surveys.reading.table_hats import Near
from galflow.surveys.reading.table_ids import identify
from galflow.surveys.reading.table_metadata import ROLE, assembled, notes, reasons_of, with_reasons
from galflow.surveys.reading.table_units import numbers, sky_positions

SKY = ("ra_deg", "dec_deg")
PIXELS = ("x", "y")
POSITIONS = SKY + PIXELS
MAPPED = ("object_id", *POSITIONS, "is_primary")
"""What a specification's catalog.columns may map."""
_Turn = Callable[[WCS, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
_Column = tuple[pa.Field, pa.Array | pa.ChunkedArray]


def read_catalog(
    uri: str,
    columns: Mapping[str, str],
    origin: int = 0,
    extension: Extension = None,
    *,
    head: int | None = None,
    places: Sequence[Place] | None = None,
) -> pa.Table:
    """The catalogue at ``uri``: object_id (int64 or uint64), ra_deg, dec_deg and/or x, y (float64), the rest.

    ``columns`` maps galflow's names to the file's ("object_id": "COADD_ID"); names that it leaves out are taken as they
    are. Text ids are hashed (``table_ids``) and kept in ``source_name``; ``is_primary`` becomes a boolean.
    ``origin`` 1: the file counts pixels from 1 (FITS, SExtractor). Beside sky positions, x and y that ``columns`` does
    not name may belong to another image: they are kept as x_in_file and y_in_file (see ``with_positions``). Positions
    that are not finite, or beyond the poles (-99 and the like), are null. Rows keep the file's order; ``head``: only
    the first so many; ``places``: of a HATS catalogue only rows in these circles, and their partitions, are read.
    Units, descriptions and UCDs are the fields' metadata.

    Raises SpecError for columns that are not there or of the wrong kind; DataError for a damaged file. Rows without an
    id are left out, with a reason (``table_metadata.reasons_of``); a file in which no row has one is a DataError.
    """
    names = {name: columns.get(name, name) for name in MAPPED}
    unknown = sorted(set(columns) - set(names))
    if unknown:
        raise SpecError(
            f"catalog.columns names {unknown[0]!r}; it maps only {', '.join(names)}, other columns are kept"
        )
    read_as_text = frozenset({names["object_id"], *(names[name] for name in SKY)})
    near = None if places is None else Near(tuple(places), *(names[name] for name in SKY))
    table = load_table(uri, extension, as_text=read_as_text, head=head, near=near)
    found = _found(table, columns, names, uri)
    reasons: list[str] = []
    front = _identity(table, found["object_id"], uri, reasons)
    front += _positions(table, found, origin, set(columns), uri, reasons)
    taken = {found[name] for name in found if name != "is_primary"}
    if "is_primary" in found:
        flags = _flags(table[found["is_primary"]], found["is_primary"], uri, reasons)
        if flags is not None:
            front.append((pa.field("is_primary", pa.bool_(), metadata=_notes(table, found["is_primary"])), flags))
            taken.add(found["is_primary"])
    reserved = {field.name for field, _ in front} | set(POSITIONS)
    for field, column in zip(table.schema, table.columns, strict=True):
        if field.name not in taken:
            name = f"{field.name}_in_file" if field.name in reserved else field.name
            front.append((pa.field(name, field.type, metadata=field.metadata), column))
    whole = with_reasons(assembled(front, like=table), reasons)
    return _with_ids(whole, found["object_id"], uri)


def _found(table: pa.Table, columns: Mapping[str, str], names: Mapping[str, str], uri: str) -> dict[str, str]:
    """galflow's names of the columns that the file has. Raises SpecError for those that it must have and has not."""
    for name, source in names.items():
        wanted = name == "object_id" or name in columns
        if wanted and source not in table.column_names:
            broken = [reason for reason in reasons_of(table) if f"column {source!r} is left out" in reason]
            if broken:
                raise DataError(f"{name}: {broken[0]}; fetch the file again or map another column")
            raise SpecError(
                f"{uri} has no column {source!r} for {name}; it has "
                f"{', '.join(table.column_names)}. Change catalog.columns"
            )
    found = {name: source for name, source in names.items() if source in table.column_names}
    if not (set(SKY) <= set(found) or set(PIXELS) <= set(found)):
        raise SpecError(f"{uri}: catalog.columns must say which columns are ra_deg and dec_deg, or x and y")
    return found


def _notes(table: pa.Table, name: str) -> dict[bytes, bytes]:
    metadata: dict[bytes, bytes] = dict(table.schema.field(name).metadata or {})
    metadata.pop(ROLE, None)
    return metadata


def _identity(table: pa.Table, source: str, uri: str, reasons: list[str]) -> list[_Column]:
    """object_id, and source_name where ids are text."""
    field = table.schema.field(source)
    typed = not is_text(uri) or (field.metadata or {}).get(ROLE) == b"text"
    identified = identify(table[source], source, uri, typed=typed)
    reasons += identified.reasons
    described: list[_Column] = [
        (pa.field("object_id", identified.ids.type, metadata=_notes(table, source)), identified.ids)
    ]
    if identified.names is not None:
        described.append((pa.field("source_name", pa.string(), metadata=_notes(table, source)), identified.names))
    return described


def _with_ids(table: pa.Table, source: str, uri: str) -> pa.Table:
    """The rows that have an id, and a reason where there are others."""
    missing = table["object_id"].null_count
    if not missing:
        return table
    if missing == len(table):
        raise DataError(f"{uri}: no row has an id in column {source!r}; give each an id, or map another column")
    known = table["object_id"].is_valid()
    first = int(np.flatnonzero(~np.asarray(known.to_numpy(zero_copy_only=False)))[0])
    reason = f"{uri}: {missing} rows have no id in column {source!r} and are left out, first row {first}; give each one"
    return with_reasons(table.filter(known), [reason])


def _positions(
    table: pa.Table, found: Mapping[str, str], origin: int, mapped: set[str], uri: str, reasons: list[str]
) -> list[_Column]:
    """ra_deg and dec_deg, x and y as far as the file has them."""
    described: list[_Column] = []
    on_sky = set(SKY) <= set(found)
    if on_sky:
        fields = [table.schema.field(found[name]) for name in SKY]
        ra_deg, dec_deg, told = sky_positions(
            table[found["ra_deg"]], table[found["dec_deg"]], fields[0], fields[1], uri
        )
        reasons += told
        for name, field, values in zip(SKY, fields, (ra_deg, dec_deg), strict=True):
            ucd = {"ra_deg": "pos.eq.ra", "dec_deg": "pos.eq.dec"}[name]
            text = (field.metadata or {}).get(b"description", b"").decode()
            described.append((pa.field(name, pa.float64(), metadata=notes("deg", text, ucd)), _nullable(values)))
    own_frame = on_sky and not mapped & set(PIXELS)
    for name in PIXELS:
        if name not in found:
            continue
        values, told = numbers(table[found[name]], found[name], uri)
        reasons += told
        metadata = _notes(table, found[name])
        if own_frame:
            metadata |= {ROLE: f"{name}{origin}".encode()}
            described.append((pa.field(f"{name}_in_file", pa.float64(), metadata=metadata), _nullable(values)))
        else:
            described.append((pa.field(name, pa.float64(), metadata=metadata), _nullable(values - origin)))
    return described


def _nullable(values: np.ndarray) -> pa.Array:
    """(n,) float64 with null for NaN."""
    return pa.array(values, from_pandas=True)


def _flags(column: pa.ChunkedArray, name: str, uri: str, reasons: list[str]) -> pa.ChunkedArray | None:
    """Booleans of a column of 0 and 1, T and F, true and false, yes and no; null where it is none of these.

    Raises SpecError for a column that is none of these anywhere.
    """
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return column.cast(pa.bool_())
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise SpecError(
            f"{uri}: column {name!r} for is_primary is of type {kind}; expected booleans, 0 and 1, or T and F"
        )
    text = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.string())))
    yes = pc.is_in(text, value_set=pa.array(["1", "1.0", "t", "true", "y", "yes"]))
    no = pc.is_in(text, value_set=pa.array(["0", "0.0", "f", "false", "n", "no"]))
    flags = pc.if_else(pc.or_(yes, no), yes, pa.scalar(None, pa.bool_()))
    bad = flags.null_count - column.null_count
    if bad:
        example = column.filter(pc.and_(pc.is_null(flags), pc.is_valid(column)))[0].as_py()
        if flags.null_count == len(flags):
            raise SpecError(
                f"{uri}: column {name!r} for is_primary holds such as {example!r}; expected booleans, 0 and 1, or T "
                "and F: map another column"
            )
        reasons.append(f"{uri}: {bad} cells of column {name!r} are no booleans, such as {example!r}: unknown there")
    return flags


def with_positions(table: pa.Table, wcs: WCS | None) -> pa.Table:
    """The table with ra_deg, dec_deg (ICRS), x and y (0-based), all of them, after object_id; null where unknown.

    Where a row has a sky position and there is a WCS, they give x and y; the file's own x and y serve rows without a
    sky position, and tables without a WCS. What they were stays in x_in_file and y_in_file where they are overruled;
    those that the specification did not name serve only where no row has a sky position, or there is no WCS. Other
    columns, metadata and reasons stay. Raises DataError for a WCS that cannot be inverted.
    """
    values = {name: _column_or_nan(table, name) for name in POSITIONS}
    fields = {name: table.schema.field(name) for name in POSITIONS if name in table.column_names}
    on_sky = np.isfinite(values["ra_deg"]) & np.isfinite(values["dec_deg"])
    in_file: dict[str, _Column] = {}
    given = set(PIXELS) <= set(fields)
    if not given and (wcs is None or not on_sky.any()):
        values |= _unnamed_pixels(table)
    if given and wcs is not None and on_sky.any():
        in_file = {
            name: (pa.field(f"{name}_in_file", pa.float64(), metadata=fields[name].metadata), table[name])
            for name in PIXELS
            if f"{name}_in_file" not in table.column_names
        }
    if wcs is not None:
        in_image = ~on_sky & np.isfinite(values["x"]) & np.isfinite(values["y"])
        pixels = _transformed(icrs_to_pixel, wcs, values["ra_deg"][on_sky], values["dec_deg"][on_sky])
        sky = _transformed(pixel_to_icrs, wcs, values["x"][in_image], values["y"][in_image])
        for name, numbers_found in zip(PIXELS, pixels, strict=True):
            values[name][on_sky] = numbers_found
        for name, numbers_found in zip(SKY, sky, strict=True):
            values[name][in_image] = numbers_found
    described: list[_Column] = [(table.schema.field("object_id"), table["object_id"])]
    for name in POSITIONS:
        column = np.where(np.isfinite(values[name]), values[name], np.nan)
        metadata = fields[name].metadata if name in fields else None
        described.append((pa.field(name, pa.float64(), metadata=metadata), _nullable(column)))
    described += [
        (field, column)
        for field, column in zip(table.schema, table.columns, strict=True)
        if field.name not in ("object_id", *POSITIONS)
    ]
    return assembled([*described, *in_file.values()], like=table)


def _column_or_nan(table: pa.Table, name: str) -> np.ndarray:
    """(n,) float64 of a column, NaN for null and for a column that is not there."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.array(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)


def _unnamed_pixels(table: pa.Table) -> dict[str, np.ndarray]:
    """0-based x and y out of the file's own columns that the specification did not name; none if there are none."""
    found = {}
    for field in table.schema:
        role = (field.metadata or {}).get(ROLE, b"").decode()
        if role[:1] in PIXELS and role[1:].isdigit():
            found[role[0]] = _column_or_nan(table, field.name) - int(role[1:])
    return found if len(found) == len(PIXELS) else {}


def _transformed(turn: _Turn, wcs: WCS, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions by way of a WCS; nothing is asked of it for no rows."""
    if not len(first):
        return first, second
    try:
        return turn(wcs, first, second)
    except (ValueError, RuntimeError) as error:  # what wcslib and astropy raise on a WCS that cannot be used
        raise DataError(f"the WCS gives no positions ({type(error).__name__}: {error}); correct its cards") from error


def rows_inside(table: pa.Table, shape: tuple[int, int]) -> pa.Table:
    """The rows whose pixel position lies in an image of ``shape`` (y, x)."""
    x, y = (_column_or_nan(table, name) for name in PIXELS)
    inside = (x >= -0.5) & (x < shape[1] - 0.5) & (y >= -0.5) & (y < shape[0] - 0.5)
    return table.filter(pa.array(inside))
