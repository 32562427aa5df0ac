"""Columns as the pages' scripts know them, and the one by which brightness is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from galflow.catalog.carried import DESCRIPTION, UCD, UNIT

_MAGNITUDE_NAME = re.compile(r"(?i)(^|_)(model|petro|kron|cmodel|auto|psf|total)?mag(nitude)?(_|$)")


def kind_of(field: pa.Field) -> str | None:
    """How a page shows a column; None: not at all."""
    if field.name == "flags":
        return "flag"
    if field.name == "object_id" or pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
        return "text"
    if pa.types.is_boolean(field.type):
        return "boolean"
    return "number" if pa.types.is_integer(field.type) or pa.types.is_floating(field.type) else None


def told_columns(schema: pa.Schema) -> list[dict[str, str]]:
    """Name, unit, description, UCD and kind of each column that is shown."""
    return [_told(field) for field in schema if kind_of(field) is not None]


def _told(field: pa.Field) -> dict[str, str]:
    said: Mapping[bytes, bytes] = field.metadata or {}
    unit, description, ucd = (said.get(key, b"").decode(errors="replace") for key in (UNIT, DESCRIPTION, UCD))
    return {"name": field.name, "unit": unit, "description": description, "ucd": ucd, "kind": str(kind_of(field))}


def magnitude_column(columns: Sequence[Mapping[str, str]], bands: Sequence[str]) -> str | None:
    """The column by which brightness is chosen: a magnitude, of the first of these bands that has one."""
    told = [column for column in columns if column["kind"] == "number"]
    found = [c["name"] for c in told if c["unit"] == "mag" or c["ucd"].startswith("phot.mag")]
    found = found or [c["name"] for c in told if _MAGNITUDE_NAME.search(c["name"])]
    ends = [band.rpartition("-")[2].lower() for band in bands]
    best = [name for band in ends for name in found if re.search(rf"(?i)(^|_|mag){re.escape(band)}(_|$)", name)]
    return next(iter(best or found), None)
