"""One column type for tables that were typed apart: whole numbers in one tile's catalogue, decimals in the next one's.

A type wide enough for all values is chosen, or text; integers beyond 2^53 that become floats are told, since those lose
digits. Object ids stay integers. This file refuses to let an error of pyarrow out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError
from galflow.surveys.table_metadata import DESCRIPTIVE, note_of, reasons_of, with_reasons, without_reasons

_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


def unified_type(types: Iterable[pa.DataType]) -> pa.DataType:
    """The type that holds values of all ``types``: null + X is X, bool + integer int64, integer + float double.

    Text takes in everything; so do int64 + uint64, dates + numbers and other pairs without a common type become text.
    Lists unify their elements, and lists of different lengths become lists of any length.
    """
    found = [_plain(kind) for kind in types]
    whole = pa.null()
    for kind in found:
        whole = _pair(whole, kind)
    return whole


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type without its storage: text is string, a dictionary what it holds."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_list(kind):
        return pa.list_(kind.value_type)
    return kind


def _pair(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    whole, floating, number = pa.types.is_integer, pa.types.is_floating, _is_number
    if whole(one) and whole(other):
        return _integer(one, other)
    if {True} == {whole(kind) or pa.types.is_boolean(kind) for kind in (one, other)}:
        return pa.int64() if pa.uint64() not in (one, other) else pa.uint64()
    if floating(one) and floating(other):
        return one if one.bit_width > other.bit_width else other
    if number(one) and number(other):
        return pa.float64()
    if _is_time(one) and _is_time(other):
        return _time(one, other)
    if _is_list(one) and _is_list(other):
        element = unified_type([one.value_type, other.value_type])
        fixed = [kind.list_size if pa.types.is_fixed_size_list(kind) else -1 for kind in (one, other)]
        return pa.list_(element, fixed[0]) if fixed[0] == fixed[1] else pa.list_(element)
    return pa.string()


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


def _integer(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The narrowest integer for both; text for uint64 with a signed one, since no integer holds both ranges."""
    signed = [pa.types.is_signed_integer(kind) for kind in (one, other)]
    if signed[0] == signed[1]:
        return one if one.bit_width > other.bit_width else other
    needed = max(kind.bit_width * (1 if is_signed else 2) for kind, is_signed in zip((one, other), signed, strict=True))
    return next((kind for kind in _SIGNED if kind.bit_width >= needed), pa.string())


def _time(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The finer of two times; text where one has a time zone and the other has not."""
    if pa.types.is_date(one) and pa.types.is_date(other):
        return pa.date32()
    stamps = [kind for kind in (one, other) if pa.types.is_timestamp(kind)]
    if len({kind.tz for kind in stamps}) > 1 or (len(stamps) == 1 and stamps[0].tz is not None):
        return pa.string()
    order = ("s", "ms", "us", "ns")
    return max(stamps, key=lambda kind: order.index(kind.unit))


def as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column as ``kind``, a type that ``unified_type`` gave; what has no cast to text is written as JSON has it."""
    if column.type == kind:
        return column
    try:
        return pc.cast(column, kind, safe=not pa.types.is_floating(kind))
    except (pa.ArrowException, ValueError, NotImplementedError):
        if kind != pa.string():
            raise DataError(f"values of type {column.type} cannot be stored as {kind}; store them as {kind}") from None
    return pa.chunked_array([[_text(value) for value in chunk.to_pylist()] for chunk in column.chunks], pa.string())


def _text(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)


def concat_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables of different tiles as one: all columns in order of first appearance, null where a table lacks one.

    A column takes the type that holds all its tables' values, and the unit, description and UCD that the first one
    gives. Columns whose types or units differ, and ids that are text in some tables only, are told in the reasons.
    """
    if not tables:
        raise DataError("no table was given to put together; expected at least one")
    reasons = [reason for table in tables for reason in reasons_of(table)]
    names = list(dict.fromkeys(name for table in tables for name in table.column_names))
    fields, columns = [], []
    for name in names:
        having = [table.schema.field(name) for table in tables if name in table.column_names]
        kind = _id_type(tables) if name == "object_id" else unified_type(field.type for field in having)
        reasons += _differences(name, having, kind)
        metadata = {key: value for field in reversed(having) for key, value in (field.metadata or {}).items()}
        fields.append(pa.field(name, kind, metadata=metadata or None))
        chunks = [
            as_type(table[name], kind) if name in table.column_names else pa.chunked_array([pa.nulls(len(table), kind)])
            for table in tables
        ]
        if pa.types.is_floating(kind) and _loses_digits(
            [table[name] for table in tables if name in table.column_names]
        ):
            reasons.append(f"column {name!r} holds integers beyond 2^53 beside floats; as floats they lose digits")
        columns.append(pa.chunked_array([chunk for column in chunks for chunk in column.chunks], kind))
    with_names = ["source_name" in table.column_names for table in tables]
    if any(with_names) and not all(with_names):
        reasons.append(
            f"{sum(with_names)} of {len(tables)} catalogues have text as object ids and the others integers: one "
            "object may have two ids; give all files ids of one type"
        )
    plain = [without_reasons(table).schema.metadata or {} for table in tables]
    common = {key: value for metadata in reversed(plain) for key, value in metadata.items()}
    return with_reasons(pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=common or None)), reasons)


def _loses_digits(columns: Sequence[pa.ChunkedArray]) -> bool:
    """Whether one of the columns has integers that no double holds."""
    whole = [column for column in columns if pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)]
    ends = [pc.min_max(column).as_py() for column in whole]
    return any(abs(value) > 1 << 53 for pair in ends for value in pair.values() if value is not None)


def _id_type(tables: Sequence[pa.Table]) -> pa.DataType:
    """int64, or uint64 where an id needs it. Raises DataError where negative ids stand beside such."""
    ids = [table["object_id"] for table in tables if "object_id" in table.column_names]
    lowest = min((value for column in ids if (value := pc.min(column).as_py()) is not None), default=0)
    highest = max((value for column in ids if (value := pc.max(column).as_py()) is not None), default=0)
    if highest < 1 << 63:
        return pa.int64()
    if lowest < 0:
        raise DataError(
            f"object ids run from {lowest} to {highest}, which no 64-bit integer holds; give ids of one sign, or text"
        )
    return pa.uint64()


def _differences(name: str, fields: Sequence[pa.Field], kind: pa.DataType) -> list[str]:
    """What tables say differently about one column: units above all, since numbers of two units are not comparable."""
    told = []
    types = list(dict.fromkeys(str(_plain(field.type)) for field in fields if not pa.types.is_null(field.type)))
    if kind == pa.string() and len(types) > 1:
        told.append(f"column {name!r} is of types {' and '.join(types)} in different catalogues; it is kept as text")
    for note in DESCRIPTIVE:
        texts = list(dict.fromkeys(text for field in fields if (text := note_of(field, note))))
        if len(texts) > 1 and note == "unit":
            told.append(
                f"column {name!r} is in {' and '.join(texts)} in different catalogues; its values are kept as they "
                f"are and called {texts[0]}; give all files one unit"
            )
    return told
