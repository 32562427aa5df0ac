"""What an expression says of each row of a catalogue: true, false, or unknown for want of a value.

Computed by pyarrow on whole columns. A missing value is null or NaN; what is computed of one is missing too, but for
``and`` and ``or`` where the other side decides (Kleene's logic, as in SQL). Integers are compared as integers, so that
64-bit ids stay what they are; arithmetic is in float64. This file knows no region and no star.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.errors import DataError
from galflow.spec.document import shown
from galflow.spec.expressions import Expression, column_of, constant_of

ALIASES = {"ra": "ra_deg", "dec": "dec_deg"}
"""Names under which the catalogue publishes what a tile's table has under another."""
Kind = Literal["integer", "float", "bool", "text", "nothing"]
_WORDS: dict[Kind, str] = {
    "integer": "a whole number", "float": "a number", "bool": "true or false", "text": "a text", "nothing": "empty",
}  # fmt: skip
_NUMBERS = ("integer", "float", "nothing")
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal", ast.Eq: "equal",
    ast.NotEq: "not_equal",
}  # fmt: skip
_CALCULATED: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power",
}  # fmt: skip
_BITS: dict[type[ast.operator], tuple[str, str]] = {
    ast.BitAnd: ("bit_wise_and", "and_kleene"), ast.BitOr: ("bit_wise_or", "or_kleene"),
    ast.BitXor: ("bit_wise_xor", "xor"),
}  # fmt: skip
"""Of whole numbers, and of what is true or false."""
_SHIFTS: dict[type[ast.operator], str] = {ast.LShift: "shift_left", ast.RShift: "shift_right"}
_FUNCTIONS = {
    "abs": "abs", "sqrt": "sqrt", "exp": "exp", "ln": "ln", "log10": "log10", "floor": "floor", "ceil": "ceil",
    "round": "round", "min": "min_element_wise", "max": "max_element_wise",
}  # fmt: skip
_NAMED = 40
"""Columns named in a message."""
_WIDE = pa.decimal128(20)
"""Holds every int64 and uint64."""


class RuleError(DataError):
    """A rule does not fit a catalogue: a column that it does not have, or one of another kind."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"{problem}; {mend}")
        self.problem, self.mend = problem, mend


@dataclass(frozen=True, eq=False)
class Verdict:
    """Of each row, (N,) bool; where none of these, the rule is false."""

    true: np.ndarray
    missing: dict[str, np.ndarray]
    """The first column for want of which a row cannot be judged, or "" where a computed value is none -> rows."""


@dataclass(frozen=True, eq=False)
class _Value:
    kind: Kind
    data: Any
    """pyarrow array, or scalar of a constant; without NaN."""


def judge(expression: Expression, table: pa.Table) -> Verdict:
    """What ``expression`` says of each row. RuleError where the table lacks a column, or kinds do not fit.

    A table without rows is judged like any other: so a schema can be checked before there is data.
    """
    return _Judge(table).verdict(expression)


class _Judge:
    """Computes expressions on one table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._columns: dict[str, _Value] = {}

    def verdict(self, expression: Expression) -> Verdict:
        found = self._of(expression.tree)
        if found.kind not in ("bool", "nothing"):
            raise RuleError(
                f"{shown(expression.text)} gives {_WORDS[found.kind]}, not true or false",
                "compare it with something, such as mag_i < 22 or flags & 4 == 0",
            )
        count = len(self._table)
        if isinstance(found.data, pa.Scalar):
            return Verdict(np.full(count, bool(found.data.as_py())), {})
        true = np.asarray(pc.fill_null(found.data, False).to_numpy(zero_copy_only=False), dtype=bool)
        unknown = np.asarray(pc.is_null(found.data).to_numpy(zero_copy_only=False), dtype=bool)
        missing: dict[str, np.ndarray] = {}
        for name in expression.columns if unknown.any() else ():
            lacking = unknown & np.asarray(pc.is_null(self._column(name).data).to_numpy(zero_copy_only=False))
            if lacking.any():
                missing[name] = lacking
                unknown = unknown & ~lacking
        if unknown.any():
            missing[""] = unknown
        return Verdict(true, missing)

    def _of(self, node: ast.expr) -> _Value:
        constant = constant_of(node)
        if constant is not None:
            return _constant(constant)
        name = column_of(node)
        if name is not None:
            return self._column(name)
        match node:
            case ast.BoolOp(op=op, values=values):
                joined = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                parts = [self._truth(value) for value in values]
                found = parts[0]
                for part in parts[1:]:
                    found = joined(found, part)
                return _Value("bool", found)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.Call(func=ast.Name(id=function), args=arguments):
                return self._function(function, [self._of(argument) for argument in arguments])
        raise TypeError(f"parse_expression let {type(node).__name__} through")  # a mistake of galflow's own

    def _column(self, name: str) -> _Value:
        if name not in self._columns:
            names = self._table.column_names
            there = name if name in names else ALIASES.get(name, name)
            if there not in names:
                raise _lacks(name, names)
            self._columns[name] = _loaded(name, self._table.column(there))
        return self._columns[name]

    def _truth(self, node: ast.expr) -> Any:
        value = self._of(node)
        if value.kind == "nothing":
            return pc.cast(value.data, pa.bool_())
        if value.kind != "bool":
            raise RuleError(
                f"{_words(node)} is {_WORDS[value.kind]}, where and, or and not need true or false",
                "compare it with something, such as flags & 4 == 0",
            )
        return value.data

    def _number(self, value: _Value, what: str) -> Any:
        """As float64."""
        if value.kind not in _NUMBERS:
            raise RuleError(f"{what} needs numbers, not {_WORDS[value.kind]}", "correct the rule")
        return pc.cast(value.data, pa.float64(), safe=False)

    def _unary(self, node: ast.UnaryOp) -> _Value:
        if isinstance(node.op, ast.Not):
            return _Value("bool", pc.invert(self._truth(node.operand)))
        value = self._of(node.operand)
        if isinstance(node.op, ast.Invert):
            if value.kind == "nothing":
                return value
            if value.kind not in ("integer", "bool"):
                raise RuleError(f"~ needs whole numbers or true and false, not {_WORDS[value.kind]}", "write not")
            inverted = pc.invert if value.kind == "bool" else pc.bit_wise_not
            return _Value(value.kind, inverted(value.data))
        number = self._number(value, "a sign")
        return _Value("float", pc.negate(number) if isinstance(node.op, ast.USub) else number)

    def _binary(self, node: ast.BinOp) -> _Value:
        left, right, op = self._of(node.left), self._of(node.right), type(node.op)
        if op in _CALCULATED:
            numbers = (self._number(value, "arithmetic") for value in (left, right))
            return _computed(_CALCULATED[op], *numbers)
        if op is ast.Mod:
            return self._remainder(left, right)
        if left.kind == right.kind == "bool" and op in _BITS:
            return _Value("bool", pc.call_function(_BITS[op][1], [left.data, right.data]))
        for value in (left, right):
            if value.kind not in ("integer", "nothing"):
                raise RuleError(
                    f"{_words(node)}: bits are those of whole numbers, not of {_WORDS[value.kind]}",
                    "write and, or, not to join comparisons, and put these in brackets beside & and |",
                )
        unsigned = any(value.data.type == pa.uint64() for value in (left, right))
        common = pa.uint64() if unsigned else pa.int64()
        function = _SHIFTS[op] if op in _SHIFTS else _BITS[op][0]
        try:
            whole = [pc.cast(value.data, common) for value in (left, right)]
        except pa.ArrowInvalid:
            raise RuleError(f"{_words(node)}: negative numbers beside unsigned ones", "give bits as 4 or 0x4") from None
        return _Value("integer", pc.call_function(function, whole))

    def _remainder(self, left: _Value, right: _Value) -> _Value:
        """Of a division that rounds down, as in Python."""
        if left.kind == right.kind == "integer" and isinstance(right.data, pa.Scalar) and right.data.as_py() > 0:
            try:
                divisor = pc.cast(right.data, left.data.type)
            except pa.ArrowInvalid:
                return left  # smaller than the divisor
            rest = pc.subtract(left.data, pc.multiply(pc.divide(left.data, divisor), divisor))
            zero = pa.scalar(0, rest.type)
            return _Value("integer", pc.if_else(pc.less(rest, zero), pc.add(rest, divisor), rest))
        a, b = (self._number(value, "arithmetic") for value in (left, right))
        return _computed("subtract", a, pc.multiply(b, pc.floor(pc.divide(a, b))))

    def _function(self, name: str, values: list[_Value]) -> _Value:
        numbers = [self._number(value, name) for value in values]
        if name in ("min", "max"):
            found = getattr(pc, _FUNCTIONS[name])(*numbers, skip_nulls=False)
            return _Value("float", found)
        return _computed(_FUNCTIONS[name], *numbers)

    def _compare(self, node: ast.Compare) -> _Value:
        left, found = self._of(node.left), None
        for op, other in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.Is | ast.IsNot):
                part = (pc.is_null if isinstance(op, ast.Is) else pc.is_valid)(left.data)
            elif isinstance(op, ast.In | ast.NotIn):
                part = self._among(node, left, other)
                part = pc.invert(part) if isinstance(op, ast.NotIn) else part
            else:
                right = self._of(other)
                pair = _comparable(node, left, right, ordered=not isinstance(op, ast.Eq | ast.NotEq))
                part = pc.call_function(_COMPARED[type(op)], list(pair))
                left = right
            found = part if found is None else pc.and_kleene(found, part)
        return _Value("bool", found)

    def _among(self, node: ast.Compare, left: _Value, listed: ast.expr) -> Any:
        """Whether a value is in a list; null for null."""
        parts = []
        for element in getattr(listed, "elts", ()):
            pair = _comparable(node, left, self._of(element), ordered=False)
            parts.append(pair)
        if all(pair[0].type == parts[0][0].type for pair in parts) and not isinstance(parts[0][0], pa.Scalar):
            wanted = pa.array([pair[1].as_py() for pair in parts], parts[0][0].type)
            within = pc.is_in(parts[0][0], value_set=wanted)
            return pc.if_else(pc.is_valid(left.data), within, pa.scalar(None, pa.bool_()))
        found = pc.equal(*parts[0])
        for pair in parts[1:]:
            found = pc.or_kleene(found, pc.equal(*pair))
        return found


def _words(node: ast.expr) -> str:
    return shown(ast.unparse(node), 80)


def _constant(value: bool | int | float | str) -> _Value:
    if isinstance(value, bool):
        return _Value("bool", pa.scalar(value, pa.bool_()))
    if isinstance(value, int):
        return _Value("integer", pa.scalar(value, pa.uint64() if value >= 2**63 else pa.int64()))
    if isinstance(value, float):
        return _Value("float", pa.scalar(value, pa.float64()))
    return _Value("text", pa.scalar(value, pa.string()))


def _loaded(name: str, column: pa.ChunkedArray) -> _Value:
    """A column as one of the kinds; RuleError for one that is none."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    kind = column.type
    if pa.types.is_boolean(kind):
        return _Value("bool", column.combine_chunks())
    if pa.types.is_integer(kind):
        return _Value("integer", pc.cast(column, pa.uint64() if kind == pa.uint64() else pa.int64()).combine_chunks())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _Value("float", _without_nan(pc.cast(column, pa.float64()).combine_chunks()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _Value("text", pc.cast(column, pa.string()).combine_chunks())
    if pa.types.is_null(kind):
        return _Value("nothing", pa.nulls(len(column), pa.float64()))
    raise RuleError(
        f"column {name!r} is of type {kind}, of which rules know nothing",
        "they take numbers, texts, and true or false; select by another column",
    )


def _without_nan(values: Any) -> Any:
    """Null for NaN."""
    return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)


def _computed(function: str, *numbers: Any) -> _Value:
    calculate: Callable[..., Any] = getattr(pc, function)
    return _Value("float", _without_nan(calculate(*numbers)))


def _comparable(node: ast.expr, left: _Value, right: _Value, *, ordered: bool) -> tuple[Any, Any]:
    """Both sides in one type in which the comparison is exact. ``ordered``: by less and greater."""
    kinds = {left.kind, right.kind}
    if "nothing" in kinds:
        common = next((v.data.type for v in (left, right) if v.kind != "nothing"), pa.float64())
        return tuple(pc.cast(v.data, common) if v.kind != "nothing" else _nulls(v, common) for v in (left, right))
    if kinds == {"text"} or (kinds == {"bool"} and not ordered):
        return left.data, right.data
    if "text" in kinds or kinds == {"bool"} or kinds == {"bool", "float"}:
        raise RuleError(
            f"{_words(node)} compares {_WORDS[left.kind]} with {_WORDS[right.kind]}",
            "compare numbers with numbers and texts with texts; 'M31' in quotes is a text",
        )
    a, b = left.data, right.data
    if "float" in kinds:
        return pc.cast(a, pa.float64(), safe=False), pc.cast(b, pa.float64(), safe=False)
    a, b = (pc.cast(v.data, pa.int64()) if v.kind == "bool" else v.data for v in (left, right))
    return (a, b) if a.type == b.type else (pc.cast(a, _WIDE), pc.cast(b, _WIDE))


def _nulls(value: _Value, kind: pa.DataType) -> Any:
    return pa.nulls(len(value.data), kind)


def _lacks(name: str, names: list[str]) -> RuleError:
    """That there is no such column, and which ones there are, the nearest first."""
    by_lower = {other.lower(): other for other in names}
    near = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return RuleError(f"there is no column {name!r}", f"{hint}The catalogue has {', '.join(names[:_NAMED])}{more}")
