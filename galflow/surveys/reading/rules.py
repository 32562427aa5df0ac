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
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.spec.document import shown
from galflow.spec.expressions import Expression, column_of, constant_of
from galflow.surveys.reading.rule_values import (
    KIND_WORDS,
    RuleError,
    Value,
    column_value,
    comparable,
    constant_value,
    without_nan,
    words_of,
)

ALIASES = {"ra": "ra_deg", "dec": "dec_deg"}
"""Names under which the catalogue publishes what a tile's table has under another."""
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
_ELEMENT_WISE = {"min": pc.min_element_wise, "max": pc.max_element_wise}
_NAMED = 40
"""Columns named in a message."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """Of each row, (N,) bool; where none of these, the rule is false."""

    true: np.ndarray
    missing: dict[str, np.ndarray]
    """The first column for want of which a row cannot be judged, or "" where a computed value is none -> rows."""


def judge(expression: Expression, table: pa.Table) -> Verdict:
    """What ``expression`` says of each row. RuleError where the table lacks a column, or kinds do not fit.

    A table without rows is judged like any other: so a schema can be checked before there is data.
    """
    return _Judge(table).verdict(expression)


class _Judge:
    """Computes expressions on one table."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._columns: dict[str, Value] = {}

    def verdict(self, expression: Expression) -> Verdict:
        found = self._of(expression.tree)
        if found.kind not in ("bool", "nothing"):
            raise RuleError(
                f"{shown(expression.text)} gives {KIND_WORDS[found.kind]}, not true or false",
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

    def _of(self, node: ast.expr) -> Value:
        constant = constant_of(node)
        if constant is not None:
            return constant_value(constant)
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
                return Value("bool", found)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.Call(func=ast.Name(id=function), args=arguments):
                return self._function(function, [self._of(argument) for argument in arguments])
        raise TypeError(f"parse_expression let {type(node).__name__} through")  # a mistake of galflow's own

    def _column(self, name: str) -> Value:
        if name not in self._columns:
            names = self._table.column_names
            there = name if name in names else ALIASES.get(name, name)
            if there not in names:
                raise _lacks(name, names)
            self._columns[name] = column_value(name, self._table.column(there))
        return self._columns[name]

    def _truth(self, node: ast.expr) -> Any:
        value = self._of(node)
        if value.kind == "nothing":
            return pc.cast(value.data, pa.bool_())
        if value.kind != "bool":
            raise RuleError(
                f"{words_of(node)} is {KIND_WORDS[value.kind]}, where and, or and not need true or false",
                "compare it with something, such as flags & 4 == 0",
            )
        return value.data

    def _number(self, value: Value, what: str) -> Any:
        """As float64."""
        if value.kind not in _NUMBERS:
            raise RuleError(f"{what} needs numbers, not {KIND_WORDS[value.kind]}", "correct the rule")
        return pc.cast(value.data, pa.float64(), safe=False)

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value("bool", pc.invert(self._truth(node.operand)))
        value = self._of(node.operand)
        if isinstance(node.op, ast.Invert):
            if value.kind == "nothing":
                return value
            if value.kind not in ("integer", "bool"):
                raise RuleError(f"~ needs whole numbers or true and false, not {KIND_WORDS[value.kind]}", "write not")
            inverted = pc.invert if value.kind == "bool" else pc.bit_wise_not
            return Value(value.kind, inverted(value.data))
        number = self._number(value, "a sign")
        return Value("float", pc.negate(number) if isinstance(node.op, ast.USub) else number)

    def _binary(self, node: ast.BinOp) -> Value:
        left, right, op = self._of(node.left), self._of(node.right), type(node.op)
        if op in _CALCULATED:
            numbers = (self._number(value, "arithmetic") for value in (left, right))
            return _computed(_CALCULATED[op], *numbers)
        if op is ast.Mod:
            return self._remainder(left, right)
        if left.kind == right.kind == "bool" and op in _BITS:
            return Value("bool", pc.call_function(_BITS[op][1], [left.data, right.data]))
        for value in (left, right):
            if value.kind not in ("integer", "nothing"):
                raise RuleError(
                    f"{words_of(node)}: bits are those of whole numbers, not of {KIND_WORDS[value.kind]}",
                    "write and, or, not to join comparisons, and put these in brackets beside & and |",
                )
        unsigned = any(value.data.type == pa.uint64() for value in (left, right))
        common = pa.uint64() if unsigned else pa.int64()
        function = _SHIFTS[op] if op in _SHIFTS else _BITS[op][0]
        try:
            whole = [pc.cast(value.data, common) for value in (left, right)]
        except pa.ArrowInvalid:
            raise RuleError(
                f"{words_of(node)}: negative numbers beside unsigned ones", "give bits as 4 or 0x4"
            ) from None
        return Value("integer", pc.call_function(function, whole))

    def _remainder(self, left: Value, right: Value) -> Value:
        """Of a division that rounds down, as in Python."""
        if left.kind == right.kind == "integer" and isinstance(right.data, pa.Scalar) and right.data.as_py() > 0:
            try:
                divisor = pc.cast(right.data, left.data.type)
            except pa.ArrowInvalid:
                return left  # smaller than the divisor
            rest = pc.subtract(left.data, pc.multiply(pc.divide(left.data, divisor), divisor))
            zero = pa.scalar(0, rest.type)
            return Value("integer", pc.if_else(pc.less(rest, zero), pc.add(rest, divisor), rest))
        a, b = (self._number(value, "arithmetic") for value in (left, right))
        return _computed("subtract", a, pc.multiply(b, pc.floor(pc.divide(a, b))))

    def _function(self, name: str, values: list[Value]) -> Value:
        numbers = [self._number(value, name) for value in values]
        if name in _ELEMENT_WISE:
            return Value("float", _ELEMENT_WISE[name](*numbers, skip_nulls=False))
        return _computed(name, *numbers)

    def _compare(self, node: ast.Compare) -> Value:
        left, found = self._of(node.left), None
        for op, other in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.Is | ast.IsNot):
                part = (pc.is_null if isinstance(op, ast.Is) else pc.is_valid)(left.data)
            elif isinstance(op, ast.In | ast.NotIn):
                part = self._among(node, left, other)
                part = pc.invert(part) if isinstance(op, ast.NotIn) else part
            else:
                right = self._of(other)
                pair = comparable(node, left, right, ordered=not isinstance(op, ast.Eq | ast.NotEq))
                part = pc.call_function(_COMPARED[type(op)], list(pair))
                left = right
            found = part if found is None else pc.and_kleene(found, part)
        return Value("bool", found)

    def _among(self, node: ast.Compare, left: Value, listed: ast.expr) -> Any:
        """Whether a value is in a list; null for null."""
        parts = []
        for element in getattr(listed, "elts", ()):
            pair = comparable(node, left, self._of(element), ordered=False)
            parts.append(pair)
        if all(pair[0].type == parts[0][0].type for pair in parts) and not isinstance(parts[0][0], pa.Scalar):
            wanted = pa.array([pair[1].as_py() for pair in parts], parts[0][0].type)
            within = pc.is_in(parts[0][0], value_set=wanted)
            return pc.if_else(pc.is_valid(left.data), within, pa.scalar(None, pa.bool_()))
        found = pc.equal(*parts[0])
        for pair in parts[1:]:
            found = pc.or_kleene(found, pc.equal(*pair))
        return found


def _computed(function: str, *numbers: Any) -> Value:
    calculate: Callable[..., Any] = getattr(pc, function)
    return Value("float", without_nan(calculate(*numbers)))


def _lacks(name: str, names: list[str]) -> RuleError:
    """That there is no such column, and which ones there are, the nearest first."""
    by_lower = {other.lower(): other for other in names}
    near = [by_lower[found] for found in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return RuleError(f"there is no column {name!r}", f"{hint}The catalogue has {', '.join(names[:_NAMED])}{more}")
