"""The columns that a catalogue carries over from the user and the survey: their types, names and units over all tiles.

One tile's file may hold a column as integers and the next one as text. Here is decided what the published column is, so
that every value fits and none is lost; whatever that costs is said as a reason. It knows nothing of galflow's columns.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from astropy import units

from galflow.logs import quiet

UNIT, DESCRIPTION, UCD, ORIGIN = b"unit", b"description", b"ucd", b"origin"
"""Keys of a field's metadata. ``ORIGIN`` says whose column it is: galflow's own or carried over."""
FROM_CATALOG = b"catalogue"
DESCRIBED = "from the survey's catalogue"
"""Description of a column to which its file gives none."""
_SIGNED = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_DECIMAL_DIGITS = 38
"""Of the longest decimal numbers that DuckDB and polars read."""
_CODED_UNITS = ("s", "ms", "us", "ns")


@dataclass(frozen=True)
class MergedColumns:
    """The carried columns of all tiles."""

    schema: pa.Schema
    reasons: tuple[str, ...]
    """What the tiles do not agree on, and what was made of it."""


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type under which every reader of Parquet finds the same values, as wide as ``kind`` or wider."""
    test = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if test.is_dictionary(kind) or test.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if test.is_large_string(kind) or test.is_string_view(kind):
        return pa.string()
    if test.is_large_binary(kind) or test.is_binary_view(kind) or test.is_fixed_size_binary(kind):
        return pa.binary()
    if test.is_float16(kind):
        return pa.float32()
    if test.is_null(kind):
        return pa.float64()
    if test.is_date64(kind):
        return pa.date32()
    if test.is_duration(kind):
        return pa.int64()
    if test.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if test.is_time32(kind):
        return pa.time32("ms")
    if test.is_fixed_size_list(kind):
        return _array(plain_type(kind.value_type), kind.list_size)
    if _is_list(kind):
        return _array(plain_type(kind.value_type))
    if test.is_struct(kind) and kind.num_fields:
        return pa.struct([pa.field(f.name, plain_type(f.type)) for f in kind])
    if test.is_decimal(kind) and kind.precision <= _DECIMAL_DIGITS:
        return pa.decimal128(kind.precision, kind.scale)
    if any(
        is_kind(kind) for is_kind in (test.is_interval, test.is_union, test.is_map, test.is_decimal, test.is_struct)
    ):
        return pa.string()
    return kind


def _array(element: pa.DataType, size: int = -1) -> pa.DataType:
    """A list type as Parquet names its parts: what is read back is what was written."""
    return pa.list_(pa.field("element", element), size)


def _is_list(kind: pa.DataType) -> bool:
    test = pa.types
    return any(
        is_kind(kind)
        for is_kind in (
            test.is_list, test.is_large_list, test.is_fixed_size_list, test.is_list_view, test.is_large_list_view
        )
    )  # fmt: skip


def unified_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The narrowest plain type that holds values of both; text where nothing else does.

    Whole numbers and floats give float64, truth values and whole numbers int64.
    """
    if pa.types.is_null(one) or pa.types.is_null(other):
        return plain_type(other if pa.types.is_null(one) else one)
    one, other = plain_type(one), plain_type(other)
    if one.equals(other):
        return one
    test = pa.types
    if test.is_integer(one) and test.is_integer(other):
        return _unified_integer(one, other)
    numbers = [test.is_integer(k) or test.is_floating(k) or test.is_boolean(k) for k in (one, other)]
    if all(numbers):
        if test.is_floating(one) or test.is_floating(other):
            return pa.float64()
        return pa.uint64() if pa.uint64() in (one, other) else pa.int64()
    if test.is_timestamp(one) and test.is_timestamp(other) and (one.tz is None) == (other.tz is None):
        finest = max((one.unit, other.unit), key=_CODED_UNITS.index)
        return pa.timestamp(finest, one.tz if one.tz == other.tz else "UTC")
    if _is_list(one) and _is_list(other):
        inner = unified_type(one.value_type, other.value_type)
        if test.is_string(inner) and not (test.is_string(one.value_type) and test.is_string(other.value_type)):
            return pa.string()
        same = test.is_fixed_size_list(one) and test.is_fixed_size_list(other) and one.list_size == other.list_size
        return _array(inner, one.list_size if same else -1)
    return pa.string()


def _unified_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return max((one, other), key=lambda kind: kind.bit_width)
    bits = max(k.bit_width * (1 if pa.types.is_signed_integer(k) else 2) for k in (one, other))
    return _SIGNED.get(bits, pa.string())  # 64-bit ids with and without a sign: exact as text, and never as a float


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as text: dates by ISO 8601 (UTC), bytes as hexadecimal digits, lists and structures as JSON."""
    kind, test = column.type, pa.types
    if test.is_string(kind):
        return column
    if test.is_timestamp(kind):
        return pc.strftime(column.cast(pa.timestamp(kind.unit)), format="%Y-%m-%dT%H:%M:%S")
    if test.is_binary(kind):
        return _by_value(column, lambda value: value.hex())
    if test.is_nested(kind) or test.is_interval(kind):
        return _by_value(column, lambda value: json.dumps(value, default=str))
    return column.cast(pa.string())


def _by_value(column: pa.ChunkedArray, text: Callable[[Any], str]) -> pa.ChunkedArray:
    values = (None if value is None else text(value) for value in column.to_pylist())
    return pa.chunked_array([pa.array(values, pa.string())])


def merged_carried(schemas: Iterable[pa.Schema]) -> MergedColumns:
    """The carried columns over all tiles, in order of first appearance, each of a type that holds every value.

    Unit, description and UCD are those of the first tile that gives them. Where tiles give units that differ, none is
    declared for the column, its description names them, and a reason says so.
    """
    kinds: dict[str, list[pa.DataType]] = {}
    notes: dict[str, dict[bytes, list[str]]] = {}
    for field in (field for schema in schemas for field in schema):
        seen = kinds.setdefault(field.name, [])
        if field.type not in seen:
            seen.append(field.type)
        for key, text in _noted(field).items():
            said = notes.setdefault(field.name, {}).setdefault(key, [])
            if text not in said:
                said.append(text)
    reasons: list[str] = []
    fields = [_merged_field(name, kinds[name], notes.get(name, {}), reasons) for name in kinds]
    return MergedColumns(pa.schema(fields), tuple(reasons))


def _noted(field: pa.Field) -> dict[bytes, str]:
    given = field.metadata or {}
    said = {key: given.get(key, b"").decode("utf-8", "replace").strip() for key in (UNIT, DESCRIPTION, UCD)}
    if pa.types.is_duration(field.type) and not said[UNIT]:
        said[UNIT] = field.type.unit
    return {key: text for key, text in said.items() if text}


def _merged_field(
    name: str, kinds: Sequence[pa.DataType], notes: Mapping[bytes, Sequence[str]], reasons: list[str]
) -> pa.Field:
    kind = kinds[0]
    for other in kinds[1:]:
        kind = unified_type(kind, other)
    kind = plain_type(kind)
    given = [k for k in kinds if not pa.types.is_null(k)]
    if pa.types.is_string(kind) and any(not pa.types.is_string(plain_type(k)) for k in given):
        reasons.append(f"column {name} is {_either(given)} in different tiles; it is published as text")
    elif pa.types.is_float64(kind) and any(pa.types.is_integer(k) and k.bit_width == 64 for k in given):
        reasons.append(
            f"column {name} is {_either(given)} in different tiles; it is published as float64, which rounds whole "
            "numbers beyond 2^53"
        )
    said = {key: texts[0] for key, texts in notes.items()}
    distinct = _distinct_units(notes.get(UNIT, ()))
    said.setdefault(DESCRIPTION, DESCRIBED)
    if len(distinct) > 1:
        reasons.append(f"column {name} has the units {', '.join(distinct)} in different tiles; none is declared for it")
        said[DESCRIPTION] += f" (in {_either(distinct)}, by tile)"
        said[UNIT] = ""
    return pa.field(name, kind, metadata={key: text.encode() for key, text in said.items() if text})


def _either(names: Sequence[object]) -> str:
    return " or ".join(dict.fromkeys(map(str, names)))


def _distinct_units(texts: Iterable[str]) -> list[str]:
    """The first spelling of each unit."""
    found: dict[object, str] = {}
    for text in texts:
        found.setdefault(parsed_unit(text) or text, text)
    return list(found.values())


def parsed_unit(text: str) -> units.UnitBase | units.FunctionUnitBase | None:
    """The unit as astropy understands it, however it is spelled; None where it does not."""
    with quiet(units.UnitsWarning):  # a deprecated spelling is understood
        try:
            return units.Unit(text, parse_strict="raise")
        except (ValueError, TypeError, ArithmeticError):
            return None


def carried_names(names: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Carried columns by their own name -> the name under which they are published, all different to FITS and SQL.

    ``taken`` are galflow's columns. Of carried names that differ only in case the later ones end in ``_2``, ``_3``.
    """
    own = {name.lower() for name in taken}
    names = list(dict.fromkeys(names))
    # A name that can stay as it is stays: none is pushed aside by another's prefix or number.
    given: dict[str, str] = {}
    used = set(own)
    for name in names:
        if name.strip() and name.lower() not in used:
            given[name] = name
            used.add(name.lower())
    for name in names:
        if name not in given:
            given[name] = free_name(f"catalog_{name}" if name.lower() in own else name, used)
            used.add(given[name].lower())
    return {name: given[name] for name in names}


def free_name(name: str, used: Collection[str]) -> str:
    """The name, or the first of name_2, name_3, ... that is not among ``used``, which are in lower case."""
    name = name if name.strip() else "unnamed"
    number, free = 1, name
    while free.lower() in used:
        number += 1
        free = f"{name}_{number}"
    return free
