"""What a person writes to select rows, as SQL: the expressions of galflow.spec.expressions, translated node by node.

The SQL holds numbered columns, operators and the names of parameters, and nothing else: every number and text of the
person's is a parameter, which the database never parses. What an expression means is what
galflow.surveys.reading.rules computes: a missing value is null, what is computed of one is missing too, integers are
compared as integers, arithmetic is in float64, and NaN counts as missing.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from galflow.errors import SpecError
from galflow.explore.columns import ExploredColumns, Value
from galflow.spec.document import shown
from galflow.spec.expressions import Expression, column_of, constant_of, is_null, parse_expression

KIND_WORDS: dict[Value, str] = {
    "integer": "a whole number", "float": "a number", "boolean": "true or false", "text": "a text", "nothing": "empty",
    "other": "neither number nor text",
}  # fmt: skip
_NUMBERS = ("integer", "float", "nothing")
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=", ast.NotEq: "<>",
}  # fmt: skip
_CALCULATED: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_BITS: dict[type[ast.operator], str] = {ast.BitAnd: "&", ast.BitOr: "|"}
_SHIFTS: dict[type[ast.operator], str] = {ast.LShift: "<<", ast.RShift: ">>"}
_FUNCTIONS = {
    "abs": "abs({})", "sqrt": "sqrt({})", "exp": "exp({})", "ln": "ln({})", "log10": "log10({})", "floor": "floor({})",
    "ceil": "ceil({})", "round": "round_even({}, 0)",
}  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """What rows must fulfil."""

    sql: str = "true"
    """True, false or null of a row; columns are those of ``source``."""
    steps: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Values that are needed twice, (name, SQL), each step made of the columns and of the steps before it."""
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def source(self, table: str) -> str:
        """What stands behind FROM."""
        for step in self.steps:
            table = f"(SELECT *, {', '.join(f'{sql} AS {name}' for name, sql in step)} FROM {table})"
        return table


@dataclass(frozen=True)
class _Term:
    """A part of an expression."""

    sql: str
    value: Value
    computed: bool = False
    """A float that may be NaN for want of a value."""
    unsigned: bool = False


def condition_of(text: str, columns: ExploredColumns, unsigned: frozenset[str] = frozenset()) -> Condition:
    """What an expression demands; SpecError for one that is wrong, or names a column that is not there.

    ``unsigned``: columns whose bits are those of an uint64. An empty text demands nothing.
    """
    if not text.strip():
        return Condition()
    expression = parse_expression(text)
    return _Translation(expression, columns, unsigned).condition()


class _Translation:
    """One expression on its way to SQL."""

    def __init__(self, expression: Expression, columns: ExploredColumns, unsigned: frozenset[str]) -> None:
        self._expression, self._columns, self._unsigned = expression, columns, unsigned
        self._parameters: dict[str, Any] = {}
        self._steps: list[tuple[tuple[str, str], ...]] = []

    def condition(self) -> Condition:
        found = self._of(self._expression.tree)
        if found.value not in ("boolean", "nothing"):
            raise SpecError(
                f"{shown(self._expression.text)} gives {KIND_WORDS[found.value]}, not true or false; compare it with "
                "something, such as mag_i < 22 or flags & 4 == 0"
            )
        return Condition(found.sql, tuple(self._steps), self._parameters)

    def _of(self, node: ast.expr) -> _Term:
        constant = constant_of(node)
        if constant is not None:
            return self._constant(constant)
        name = column_of(node)
        if name is not None:
            return self._column(name)
        match node:
            case ast.BoolOp(op=op, values=values):
                joined = " AND " if isinstance(op, ast.And) else " OR "
                return _Term(f"({joined.join(self._truth(value) for value in values)})", "boolean")
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.Call(func=ast.Name(id=function), args=arguments):
                return self._function(function, [self._of(argument) for argument in arguments])
        raise TypeError(f"parse_expression let {type(node).__name__} through")  # a mistake of galflow's own

    def _bound(self, value: Any, kind: str) -> str:
        name = f"p{len(self._parameters)}"
        self._parameters[name] = value
        return f"CAST(${name} AS {kind})"

    def _constant(self, value: bool | int | float | str) -> _Term:
        if isinstance(value, bool):
            return _Term(self._bound(value, "BOOLEAN"), "boolean")
        if isinstance(value, int):
            wide = value >= 2**63
            return _Term(self._bound(value, "UBIGINT" if wide else "BIGINT"), "integer", unsigned=wide)
        if isinstance(value, float):
            return _Term(self._bound(value, "DOUBLE"), "float")
        return _Term(self._bound(value, "VARCHAR"), "text")

    def _column(self, name: str) -> _Term:
        column = self._columns.named(name)
        if column.value == "other":
            raise SpecError(f"column {name!r} is {KIND_WORDS['other']}; select by another column")
        return _Term(column.sql, column.value, unsigned=name in self._unsigned)

    def _named(self, sql: str) -> str:
        """A name for a value that is needed twice."""
        name = f"s{len(self._steps)}"
        self._steps.append(((name, sql),))
        return name

    def _known(self, term: _Term) -> str:
        """A value that is null where it is missing."""
        if not term.computed:
            return term.sql
        name = self._named(term.sql)
        return f"(CASE WHEN isnan({name}) THEN NULL ELSE {name} END)"

    def _truth(self, node: ast.expr) -> str:
        term = self._of(node)
        if term.value == "nothing":
            return "CAST(NULL AS BOOLEAN)"
        if term.value != "boolean":
            raise SpecError(
                f"{_words(node)} is {KIND_WORDS[term.value]}, where and, or and not need true or false; compare it "
                "with something, such as flags & 4 == 0"
            )
        return term.sql

    def _number(self, term: _Term, what: str) -> str:
        if term.value not in _NUMBERS:
            raise SpecError(f"{what} needs numbers, not {KIND_WORDS[term.value]}; correct the expression")
        return term.sql if term.computed else f"CAST({term.sql} AS DOUBLE)"

    def _unary(self, node: ast.UnaryOp) -> _Term:
        if isinstance(node.op, ast.Not):
            return _Term(f"(NOT {self._truth(node.operand)})", "boolean")
        term = self._of(node.operand)
        if isinstance(node.op, ast.Invert):
            if term.value not in ("integer", "boolean", "nothing"):
                raise SpecError(f"~ needs whole numbers or true and false, not {KIND_WORDS[term.value]}; write not")
            sql = f"(NOT {term.sql})" if term.value == "boolean" else f"(~{_whole(term, term.unsigned)})"
            return _Term(sql, term.value, unsigned=term.unsigned)
        number = self._number(term, "a sign")
        return _Term(f"(-{number})" if isinstance(node.op, ast.USub) else number, "float", computed=True)

    def _binary(self, node: ast.BinOp) -> _Term:
        left, right, op = self._of(node.left), self._of(node.right), type(node.op)
        if op in _CALCULATED:
            a, b = (self._number(term, "arithmetic") for term in (left, right))
            return _Term(f"({a} {_CALCULATED[op]} {b})", "float", computed=True)
        if op is ast.Pow:
            a, b = (self._number(term, "arithmetic") for term in (left, right))
            return _Term(f"pow({a}, {b})", "float", computed=True)
        if op is ast.Mod:
            return self._remainder(node, left, right)
        if left.value == right.value == "boolean" and op not in _SHIFTS:
            words = {ast.BitAnd: "AND", ast.BitOr: "OR", ast.BitXor: "<>"}
            return _Term(f"({left.sql} {words[op]} {right.sql})", "boolean")
        for term in (left, right):
            if term.value not in ("integer", "nothing"):
                raise SpecError(
                    f"{_words(node)}: bits are those of whole numbers, not of {KIND_WORDS[term.value]}; write and, or, "
                    "not to join comparisons, and put these in brackets beside & and |"
                )
        unsigned = left.unsigned or right.unsigned
        a, b = _whole(left, unsigned), _whole(right, unsigned)
        if op is ast.BitXor:
            return _Term(f"xor({a}, {b})", "integer", unsigned=unsigned)
        sign = _SHIFTS.get(op) or _BITS[op]
        return _Term(f"({a} {sign} {b})", "integer", unsigned=unsigned)

    def _remainder(self, node: ast.BinOp, left: _Term, right: _Term) -> _Term:
        """Of a division that rounds down, as in Python."""
        divisor = constant_of(node.right)
        if left.value == "integer" and type(divisor) is int and divisor > 0:
            a, b = f"CAST({left.sql} AS HUGEINT)", f"CAST({right.sql} AS HUGEINT)"
            return _Term(f"(({a} % {b} + {b}) % {b})", "integer")
        a, b = (self._named(self._number(term, "arithmetic")) for term in (left, right))
        return _Term(f"({a} - {b} * floor({a} / {b}))", "float", computed=True)

    def _function(self, name: str, terms: list[_Term]) -> _Term:
        numbers = [self._number(term, name) for term in terms]
        if name in _FUNCTIONS:
            return _Term(_FUNCTIONS[name].format(*numbers), "float", computed=True)
        a, b = (self._named(number) for number in numbers)
        # least() and greatest() of DuckDB pass over null, and NaN is its largest number.
        missing = f"{a} IS NULL OR {b} IS NULL OR isnan({a}) OR isnan({b})"
        chosen = f"{'least' if name == 'min' else 'greatest'}({a}, {b})"
        return _Term(f"(CASE WHEN {missing} THEN NULL ELSE {chosen} END)", "float", computed=True)

    def _compare(self, node: ast.Compare) -> _Term:
        left, parts = self._of(node.left), []
        for op, other in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.Is | ast.IsNot):
                assert is_null(other)
                parts.append(f"({self._known(left)} IS {'NOT ' * isinstance(op, ast.IsNot)}NULL)")
                continue
            if isinstance(op, ast.In | ast.NotIn):
                among = self._among(node, left, other)
                parts.append(f"(NOT {among})" if isinstance(op, ast.NotIn) else among)
                continue
            right = self._of(other)
            a, b = self._comparable(node, left, right, ordered=not isinstance(op, ast.Eq | ast.NotEq))
            parts.append(f"({a} {_COMPARED[type(op)]} {b})")
            left = right
        return _Term(f"({' AND '.join(parts)})", "boolean")

    def _among(self, node: ast.Compare, left: _Term, listed: ast.expr) -> str:
        """Whether a value is in a list; null for null."""
        pairs = [
            self._comparable(node, left, self._of(element), ordered=False) for element in getattr(listed, "elts", ())
        ]
        return f"({' OR '.join(f'{a} = {b}' for a, b in pairs)})"

    def _comparable(self, node: ast.Compare, left: _Term, right: _Term, *, ordered: bool) -> tuple[str, str]:
        """Both sides in one type in which the comparison is exact. ``ordered``: by less and greater."""
        kinds = {left.value, right.value}
        a, b = self._known(left), self._known(right)
        if "nothing" in kinds:
            return "CAST(NULL AS BOOLEAN)", "CAST(NULL AS BOOLEAN)"
        if kinds == {"text"} or (kinds == {"boolean"} and not ordered):
            return a, b
        if "text" in kinds or kinds in ({"boolean"}, {"boolean", "float"}):
            raise SpecError(
                f"{_words(node)} compares {KIND_WORDS[left.value]} with {KIND_WORDS[right.value]}; compare numbers "
                "with numbers and texts with texts; 'M31' in quotes is a text"
            )
        if "float" in kinds:
            return tuple(s if t.computed else f"CAST({s} AS DOUBLE)" for s, t in ((a, left), (b, right)))  # type: ignore[return-value]
        return tuple(f"CAST({s} AS BIGINT)" if t.value == "boolean" else s for s, t in ((a, left), (b, right)))  # type: ignore[return-value]


def _whole(term: _Term, unsigned: bool) -> str:
    return f"CAST({term.sql} AS {'UBIGINT' if unsigned else 'BIGINT'})"


def _words(node: ast.expr) -> str:
    """A part of an expression, for a message."""
    return shown(ast.unparse(node), 80)
