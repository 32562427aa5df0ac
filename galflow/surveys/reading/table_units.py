"""Positions of a catalogue in degrees and pixels, whatever unit or notation its columns declare.

Radians, arcseconds and hours become degrees, "10:00:24.5 +02:12:20" is read, Galactic and ecliptic coordinates are
turned to ICRS where the column's UCD says so. What is no position (text, infinity, beyond a pole) is null; an unknown
unit is told, a unit that is no angle is refused.
"""

from __future__ import annotations

import functools
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy import units
from astropy.coordinates import SkyCoord

from galflow.errors import SpecError
from galflow.surveys.reading.table_metadata import note_of

_HOURS = 15.0
"""Degrees in an hour of right ascension."""
_DEGREES_IN = {
    **dict.fromkeys(("deg", "degs", "degree", "degrees", "decimal degrees", "deg.", "°", "d", "d:m:s", "dms"), 1.0),
    **dict.fromkeys(("rad", "rads", "radian", "radians"), 180.0 / np.pi),
    **dict.fromkeys(("arcmin", "amin", "arcminute", "arcminutes"), 1 / 60),
    **dict.fromkeys(("arcsec", "asec", "arcsecs", "arcsecond", "arcseconds"), 1 / 3600),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours", "hourangle", "h:m:s", "hms", "hh:mm:ss"), _HOURS),
    **dict.fromkeys(("dd:mm:ss", '"'), 1.0),
}
_SEXAGESIMAL_UNITS = ("h:m:s", "hms", "hh:mm:ss", "d:m:s", "dms", "dd:mm:ss")
_SEXAGESIMAL = (
    r"^(?P<sign>[+-]?)\s*(?P<first>\d+)\s*(?P<mark>[:hHdD°\s])\s*"
    r"(?P<minutes>\d+(?:\.\d*)?)\s*[:mM'\s]?\s*(?P<seconds>\d+(?:\.\d*)?)?\s*[sS\"]*$"
)
_FRAMES = {"pos.galactic": "galactic", "pos.ecliptic": "barycentrictrueecliptic", "pos.supergalactic": "supergalactic"}


def numbers(column: pa.ChunkedArray, name: str, uri: str) -> tuple[np.ndarray, list[str]]:
    """(n,) float64 of a column of numbers, or of numbers written as text; NaN where there is none, and what was wrong.

    Raises SpecError for a column that holds no numbers at all.
    """
    kind = column.type
    if pa.types.is_string(kind):
        text = _present(column)
        values = _parsed(text)
        return values, _told(text, np.isnan(values) & ~_is_no_number(text), name, uri)
    if not (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    ):
        raise SpecError(
            f"{uri}: column {name!r} is of type {kind}; expected numbers as positions: map another column in "
            "catalog.columns"
        )
    values = np.array(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return values, []


def sky_positions(
    ra: pa.ChunkedArray, dec: pa.ChunkedArray, ra_field: pa.Field, dec_field: pa.Field, uri: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(n,) ICRS right ascension in [0, 360) and declination, degrees, NaN where unknown, and what was wrong.

    ``ra_field`` and ``dec_field`` tell the columns' names, units and UCDs. Declinations beyond a pole and right
    ascensions a whole turn off (-99 beside -99, -999, 1e20) mean that there is no position.
    """
    ra_deg, told = _degrees(ra, ra_field, uri, hours=True)
    dec_deg, more = _degrees(dec, dec_field, uri, hours=False)
    told += more
    known = (np.abs(dec_deg) <= 90.0) & (ra_deg > -360.0) & (ra_deg < 720.0)
    ra_deg[~known] = dec_deg[~known] = np.nan
    ucds = [note_of(field, "ucd").lower() for field in (ra_field, dec_field)]
    for start, frame in _FRAMES.items():
        if all(ucd.startswith(start) for ucd in ucds) and known.any():
            place = SkyCoord(ra_deg[known], dec_deg[known], unit="deg", frame=frame).icrs
            ra_deg[known], dec_deg[known] = place.ra.deg, place.dec.deg
    outside = known & ((ra_deg < 0.0) | (ra_deg >= 360.0))
    ra_deg[outside] = np.mod(ra_deg[outside], 360.0)
    return ra_deg, dec_deg, told


def _degrees(column: pa.ChunkedArray, field: pa.Field, uri: str, *, hours: bool) -> tuple[np.ndarray, list[str]]:
    """A coordinate in degrees; ``hours``: sexagesimal text without a unit counts hours."""
    factor, told = _factor(note_of(field, "unit"), field.name, uri, hours=hours)
    if not pa.types.is_string(column.type):
        values, more = numbers(column, field.name, uri)
        return values * (1.0 if factor is None else factor), told + more
    text = _present(column)
    values = _parsed(text) * (1.0 if factor is None else factor)
    values, more = _with_sexagesimal(text, values, factor, hours, field.name, uri)
    return values, told + more + _told(text, np.isnan(values) & ~_is_no_number(text), field.name, uri)


@functools.lru_cache(maxsize=256)
def _unit_in_degrees(unit: str) -> float | None:
    """Degrees in a unit; None if astropy knows no such unit; NaN if it is no angle."""
    try:
        known = units.Unit(unit, parse_strict="raise")
    except (ValueError, TypeError):
        return None
    if known == units.dimensionless_unscaled:
        return None
    return float(known.to(units.deg)) if known.is_equivalent(units.deg) else float("nan")


def _factor(unit: str, name: str, uri: str, *, hours: bool) -> tuple[float | None, list[str]]:
    """Degrees in the column's unit, None where it declares none, and what was doubtful about it."""
    plain = re.sub(r"^[\"'\[(]+|[\"'\])]+$", "", unit.strip()).strip().lower()
    if not plain or plain in ("none", "-", "---", "unitless"):
        return None, []
    factor = _DEGREES_IN.get(plain)
    if factor is None:
        factor = _unit_in_degrees(unit.strip())
    if factor is None:
        return None, [f"{uri}: column {name!r} declares the unit {unit!r}, which is not known; degrees are assumed"]
    if np.isnan(factor):
        raise SpecError(
            f"{uri}: column {name!r} is in {unit}; expected an angle (deg, rad, arcsec, hourangle, 'h:m:s') for "
            f"{'ra_deg' if hours else 'dec_deg'}: map another column in catalog.columns"
        )
    return factor, []


def _present(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text without blanks around it, with one kind of minus; null where empty."""
    text = pc.utf8_trim_whitespace(pc.replace_substring(column, "\u2212", "-"))
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _parsed(text: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64 of the cells that are plain numbers, NaN elsewhere and where not finite."""
    plain = pc.match_substring_regex(text, r"^[+-]?(\d+\.?\d*|\.\d+)([eEdD][+-]?\d+)?$")
    cells = pc.if_else(plain, text, pa.scalar(None, pa.string()))
    cells = pc.replace_substring_regex(pc.replace_substring_regex(cells, "[dD]", "e"), r"^\+", "")
    values = np.array(cells.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    values[~np.isfinite(values)] = np.nan
    return values


def _is_no_number(text: pa.ChunkedArray) -> np.ndarray:
    """(n,) bool: the cell says that there is no number (null, nan, inf, --, none)."""
    said = pc.match_substring_regex(text, r"(?i)^([+-]?(nan|inf|infinity)|-+|\.+|none|null|masked|n/?a|n\.a\.)$")
    return np.asarray(pc.fill_null(said, True).to_numpy(zero_copy_only=False), dtype=bool)


def _with_sexagesimal(
    text: pa.ChunkedArray, values: np.ndarray, factor: float | None, hours: bool, name: str, uri: str
) -> tuple[np.ndarray, list[str]]:
    """``values`` with the cells that are degrees or hours, minutes and seconds filled in.

    Letters say which it is; with colons or blanks the unit does; without one it is hours in a right ascension, unless
    a number of 24 or more shows that it is not.
    """
    cells = pc.extract_regex(text.combine_chunks(), _SEXAGESIMAL)
    found = np.flatnonzero(np.asarray(pc.is_valid(cells).to_numpy(zero_copy_only=False)))
    if not len(found):
        return values, []
    part = {key: cells.field(key).take(pa.array(found)) for key in ("sign", "first", "mark", "minutes", "seconds")}
    first, minutes, seconds = (_parsed(pa.chunked_array([part[key]])) for key in ("first", "minutes", "seconds"))
    seconds = np.where(np.isnan(seconds), 0.0, seconds)
    marks = np.char.lower(np.asarray(part["mark"].to_pylist(), dtype=str))
    told: list[str] = []
    if factor in (1.0, _HOURS):
        usual = factor
    else:
        usual = _HOURS if hours else 1.0
        unmarked = (marks != "h") & (marks != "d") & (marks != "°")
        if hours and bool((first[unmarked] >= 24).any()):
            usual = 1.0
            told.append(f"{uri}: column {name!r} has no unit and numbers beyond 24, so it is degrees, minutes, seconds")
    scale = np.where(marks == "h", _HOURS, np.where((marks == "d") | (marks == "°"), 1.0, usual))
    sign = np.where(np.asarray(part["sign"].to_pylist(), dtype=str) == "-", -1.0, 1.0)
    degrees = sign * (first + minutes / 60 + seconds / 3600) * scale
    degrees[(minutes >= 60) | (seconds > 60)] = np.nan
    values[found] = degrees
    return values, told


def _told(text: pa.ChunkedArray, bad: np.ndarray, name: str, uri: str) -> list[str]:
    """A reason for the cells that are no positions. Raises SpecError where none is one."""
    count = int(bad.sum())
    if not count:
        return []
    example = text.filter(pa.array(bad))[0].as_py()
    if count == len(text) - text.null_count and count:
        raise SpecError(
            f"{uri}: column {name!r} is of type {text.type}, such as {example!r}; expected numbers as positions, or "
            "text such as 10:00:24.5: map another column in catalog.columns"
        )
    return [f"{uri}: {count} cells of column {name!r} are no positions, such as {example!r}: they are taken as missing"]
