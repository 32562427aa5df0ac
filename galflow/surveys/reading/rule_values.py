"""Values in rules: columns and constants as one of a few kinds, and how two of them are compared exactly.

A missing value is null, never NaN. Integers stay integers, so that 64-bit ids are compared as what they are.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError
from galflow.spec.document import shown

Kind = Literal["integer", "float", "bool", "text", "nothing"]
KIND_WORDS: dict[Kind, str] = {
    "integer": "a whole number", "float": "a number", "bool": "true or false", "text": "a text", "nothing": "empty",
}  # fmt: skip
_WIDE = pa.decimal128(20)
"""Holds every int64 and uint64."""


class RuleError(DataError):
    """A rule does not fit a catalogue: a column that it does not have, or one of another kind."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"{problem}; {mend}")
        self.problem, self.mend = problem, mend


@dataclass(frozen=True, eq=False)
class Value:
    """A column, a constant, or what is computed of them."""

    kind: Kind
    data: Any
    """pyarrow array, or scalar of a constant; without NaN."""


def words_of(node: ast.expr) -> str:
    """A part of a rule, for a message."""
    return shown(ast.unparse(node), 80)


def constant_value(value: bool | int | float | str) -> Value:
    """A number, a text, true or false."""
    if isinstance(value, bool):
        return Value("bool", pa.scalar(value, pa.bool_()))
    if isinstance(value, int):
        return Value("integer", pa.scalar(value, pa.uint64() if value >= 2**63 else pa.int64()))
    if isinstance(value, float):
        return Value("float", pa.scalar(value, pa.float64()))
    return Value("text", pa.scalar(value, pa.string()))


def column_value(name: str, column: pa.ChunkedArray) -> Value:
    """A column as one of the kinds; RuleError for one that is none."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    kind = column.type
    if pa.types.is_boolean(kind):
        return Value("bool", column.combine_chunks())
    if pa.types.is_integer(kind):
        return Value("integer", pc.cast(column, pa.uint64() if kind == pa.uint64() else pa.int64()).combine_chunks())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Value("float", without_nan(pc.cast(column, pa.float64()).combine_chunks()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Value("text", pc.cast(column, pa.string()).combine_chunks())
    if pa.types.is_null(kind):
        return Value("nothing", pa.nulls(len(column), pa.float64()))
    raise RuleError(
        f"column {name!r} is of type {kind}, of which rules know nothing",
        "they take numbers, texts, and true or false; select by another column",
    )


def without_nan(values: Any) -> Any:
    """Null for NaN."""
    return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)


def comparable(node: ast.expr, left: Value, right: Value, *, ordered: bool) -> tuple[Any, Any]:
    """Both sides in one type in which the comparison is exact. ``ordered``: by less and greater."""
    kinds = {left.kind, right.kind}
    if "nothing" in kinds:
        common = next((v.data.type for v in (left, right) if v.kind != "nothing"), pa.float64())
        return tuple(pc.cast(v.data, common) if v.kind != "nothing" else _nulls(v, common) for v in (left, right))
    if kinds == {"text"} or (kinds == {"bool"} and not ordered):
        return left.data, right.data
    if "text" in kinds or kinds == {"bool"} or kinds == {"bool", "float"}:
        raise RuleError(
            f"{words_of(node)} compares {KIND_WORDS[left.kind]} with {KIND_WORDS[right.kind]}",
            "compare numbers with numbers and texts with texts; 'M31' in quotes is a text",
        )
    a, b = left.data, right.data
    if "float" in kinds:
        return pc.cast(a, pa.float64(), safe=False), pc.cast(b, pa.float64(), safe=False)
    a, b = (pc.cast(v.data, pa.int64()) if v.kind == "bool" else v.data for v in (left, right))
    return (a, b) if a.type == b.type else (pc.cast(a, _WIDE), pc.cast(b, _WIDE))


def _nulls(value: Value, kind: pa.DataType) -> Any:
    return pa.nulls(len(value.data), kind)
