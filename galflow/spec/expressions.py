"""Expressions on the columns of a catalogue, as people write them to select objects: ``mag_i < 22 and flags & 4 == 0``.

The text is parsed by Python's own parser (``ast``), and of the tree only the few nodes named here are let through:
names of columns, numbers, texts, comparisons, arithmetic, and the functions of ``FUNCTIONS``. Nothing is ever evaluated
as Python, no attribute is looked up, and no function can read a file, so that a text out of a web form does no harm.
This file knows no table; galflow.surveys.reading.rules computes what an expression says.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import re
from dataclasses import dataclass
from typing import NoReturn

from galflow.errors import SpecError
from galflow.spec.document import shown

FUNCTIONS = {
    "abs": 1, "sqrt": 1, "exp": 1, "ln": 1, "log10": 1, "floor": 1, "ceil": 1, "round": 1, "min": 2, "max": 2,
}  # fmt: skip
"""Name -> how many numbers it takes."""
COLUMN = "column"
"""``column('MAG AUTO')`` is the column of that name, where the name is none that could stand alone."""
LONGEST, DEEPEST = 1000, 40
"""Characters of an expression, and levels of nesting."""
LARGEST_INTEGER, LARGEST_SHIFT = 2**64 - 1, 63
_TEXTS = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBERS = re.compile(r"(?<!\w)\.?[0-9][\w.]*")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9_]*\.?[0-9_]*([eE][0-9_]*)?")
_OPERATORS = (
    ast.And, ast.Or, ast.Not, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.Pow, ast.USub, ast.UAdd, ast.Invert,
    ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift, ast.RShift, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq,
    ast.In, ast.NotIn, ast.Is, ast.IsNot,
)  # fmt: skip
_WORDS = {"true": True, "false": False, "null": None}
"""Names that stand for a value, as YAML and SQL write them."""
_SAID_OTHERWISE = {
    "log": "write log10 or ln", "isin": "write x in (1, 2, 3)", "isnull": "write x is null", "isnan": "write x is null",
}  # fmt: skip
_HERE_PLAIN = "expected a column, a number, a text, or what joins them: and, or, not, < == in & + and the like"


@dataclass(frozen=True)
class Expression:
    """An expression of which every node is one of those allowed."""

    text: str
    tree: ast.expr
    columns: tuple[str, ...]
    """Names of the columns that it needs, each once, in the order in which they stand in it."""


def parse_expression(text: str) -> Expression:
    """The expression that ``text`` is; SpecError says what is wrong with it and at which character."""
    if len(text) > LONGEST:
        raise SpecError(f"an expression of {len(text):,} characters; at most {LONGEST:,} are taken: divide it in rules")
    plain = re.sub(r"\s", " ", text)
    if not plain.strip():
        raise SpecError("an empty expression; write such as mag_i < 22, or leave it out")
    _require_lexical(plain)
    begin = len(plain) - len(plain.lstrip())
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except SyntaxError as error:
        at = begin + error.offset - 1 if error.offset else len(plain)  # 0: it ends too early
        _refuse(plain, at, _why_no_syntax(plain, error))
    except (ValueError, MemoryError, RecursionError):
        raise SpecError(f"{shown(text)} is nested too deeply; write it in fewer levels, or as several rules") from None
    checked = _Checked(plain, begin)
    checked.visit(tree, 0)
    return Expression(text, tree, tuple(dict.fromkeys(checked.columns)))


def _require_lexical(text: str) -> None:
    """Refuse what Python's parser would warn of: backslashes, and letters that follow a number at once."""
    for bad in ("\\", "\0"):
        if bad in text:
            _refuse(text, text.index(bad), "a backslash or control character; leave it out")
    for number in _NUMBERS.finditer(_TEXTS.sub(lambda found: " " * len(found[0]), text)):
        if not _NUMBER.fullmatch(number[0]):
            name = f"write {COLUMN}({number[0]!r}) if it is a column's name"
            _refuse(text, number.start(), f"a number with letters at its end; write a space between them, or {name}")


def _why_no_syntax(text: str, error: SyntaxError) -> str:
    words = re.findall(r"(?<![\w.])[A-Za-z]+(?!\w)", _TEXTS.sub(" ", text))
    allowed = {"and", "or", "not", "in", "is", "True", "False", "None"}
    reserved = [word for word in words if keyword.iskeyword(word) and word not in allowed]
    if reserved:
        return f"{reserved[0]!r} is a reserved word; write {COLUMN}({reserved[0]!r}) if it is a column's name"
    if any(word in ("AND", "OR", "NOT", "IN", "IS") for word in words):
        return "and, or, not, in, is are written in lower case"
    if re.search(r"(?<![<>=!])=(?!=)", _TEXTS.sub(" ", text)):
        return "to compare write ==, not ="
    if "&&" in text or "||" in text or "!" in text.replace("!=", ""):
        return "write and, or, not instead of &&, ||, !"
    if "`" in text:
        return f"write {COLUMN}('name') for a column's name that cannot stand alone"
    return f"{error.msg}; {_HERE_PLAIN}"


def _refuse(text: str, at: int, why: str) -> NoReturn:
    near = text[at : at + 24].strip()
    place = f"at character {at + 1}, {near!r}" if near else "at its end"
    raise SpecError(f"{shown(text)}: {place}: {why}")


class _Checked:
    """Walks a tree once: refuses every node that is not allowed, and notes the columns."""

    def __init__(self, text: str, begin: int) -> None:
        self._text, self._begin = text, begin
        self.columns: list[str] = []

    def _no(self, node: ast.AST, why: str) -> NoReturn:
        # Python counts the bytes of UTF-8.
        byte = int(getattr(node, "col_offset", 0))
        before = self._text.strip().encode()[:byte].decode(errors="ignore")
        _refuse(self._text, self._begin + len(before), why)

    def visit(self, node: ast.expr, depth: int) -> None:
        """Check a node and all below it."""
        if depth > DEEPEST:
            self._no(node, f"nested deeper than {DEEPEST} levels; write it as several rules")
        match node:
            case ast.Name() | ast.Constant() if is_null(node):
                self._no(node, "null is compared by is null or is not null")
            case ast.Name(id=name):
                if name not in _WORDS:
                    self.columns.append(name)
            case ast.Constant():
                self._constant(node)
            case ast.BoolOp(values=values):
                self._all(values, depth)
            case ast.UnaryOp(operand=operand):
                self.visit(operand, depth + 1)
            case ast.BinOp(left=left, op=op, right=right):
                self._operator(node, op)
                if isinstance(op, ast.LShift | ast.RShift):
                    self._shift(right)
                self._all((left, right), depth)
            case ast.Compare(left=left, ops=ops, comparators=others):
                self._compare(node, left, ops, others, depth)
            case ast.Call():
                self._call(node, depth)
            case ast.Attribute():
                name = ast.unparse(node) if isinstance(node.value, ast.Name) else "r.mag"
                self._no(node, f"a name with dots; write {COLUMN}({name!r}) if that is the column's name")
            case _:
                self._no(node, f"{type(node).__name__} is not taken here; {_HERE_PLAIN}")

    def _all(self, nodes: tuple[ast.expr, ...] | list[ast.expr], depth: int) -> None:
        for node in nodes:
            self.visit(node, depth + 1)

    def _operator(self, node: ast.expr, op: ast.AST) -> None:
        if not isinstance(op, _OPERATORS):
            self._no(node, f"the operator {type(op).__name__} is not taken here; {_HERE_PLAIN}")

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool) and value > LARGEST_INTEGER:
            self._no(node, "an integer beyond 64 bits; give a smaller one")
        if not (value is None or isinstance(value, bool | int | float | str)):
            self._no(node, f"a value of type {type(value).__name__}; expected a number, a text, true, false or null")

    def _shift(self, by: ast.expr) -> None:
        good = isinstance(by, ast.Constant) and type(by.value) is int and 0 <= by.value <= LARGEST_SHIFT
        if not good:
            self._no(by, f"a shift is by a whole number between 0 and {LARGEST_SHIFT}")

    def _compare(
        self, node: ast.expr, left: ast.expr, ops: list[ast.cmpop], others: list[ast.expr], depth: int
    ) -> None:
        self.visit(left, depth + 1)
        for op, other in zip(ops, others, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                self._list(other)
            elif isinstance(op, ast.Is | ast.IsNot):
                if not is_null(other):
                    self._no(other, "after is or is not stands null; to compare write == or !=")
            else:
                self.visit(other, depth + 1)
        if len(ops) > 1 and any(isinstance(op, ast.In | ast.NotIn | ast.Is | ast.IsNot) for op in ops):
            self._no(node, "in and is stand in no chain of comparisons; put them in brackets")

    def _list(self, node: ast.expr) -> None:
        if not isinstance(node, ast.List | ast.Tuple | ast.Set) or not node.elts:
            self._no(node, "after in stands a list, such as (1, 2, 3) or ('GALAXY', 'QSO')")
        for element in node.elts:
            if constant_of(element) is None:
                self._no(element, "a list holds numbers or texts alone")
            inner = element.operand if isinstance(element, ast.UnaryOp) else element
            if isinstance(inner, ast.Constant):
                self._constant(inner)

    def _call(self, node: ast.Call, depth: int) -> None:
        if not isinstance(node.func, ast.Name):
            self._no(node, f"only these functions are known: {COLUMN}, {', '.join(FUNCTIONS)}")
        name = node.func.id
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            self._no(node, f"{name} takes values alone, separated by commas")
        if name == COLUMN:
            self.columns.append(self._column(node))
            return
        if name not in FUNCTIONS:
            near = difflib.get_close_matches(name, FUNCTIONS, n=1)
            hint = _SAID_OTHERWISE.get(name) or (f"did you mean {near[0]}?" if near else "")
            known = f"known are {COLUMN}, {', '.join(FUNCTIONS)}"
            self._no(node, f"there is no function {shown(name, 40)}; {hint or known}")
        if len(node.args) != FUNCTIONS[name]:
            self._no(node, f"{name} takes {FUNCTIONS[name]} value{'s' * (FUNCTIONS[name] > 1)}, not {len(node.args)}")
        self._all(node.args, depth)

    def _column(self, node: ast.Call) -> str:
        named = node.args[0] if len(node.args) == 1 else None
        if not isinstance(named, ast.Constant) or not isinstance(named.value, str):
            self._no(node, f"{COLUMN} takes the name of a column as a text, such as {COLUMN}('MAG AUTO')")
        return named.value


def is_null(node: ast.expr) -> bool:
    """Whether a node is ``null`` or ``None``."""
    return (isinstance(node, ast.Constant) and node.value is None) or (
        isinstance(node, ast.Name) and _WORDS.get(node.id, False) is None
    )


def column_of(node: ast.expr) -> str | None:
    """The column that a node names; None: it is none."""
    if isinstance(node, ast.Name):
        return None if node.id in _WORDS else node.id
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == COLUMN:
        argument = node.args[0]
        return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None
    return None


def constant_of(node: ast.expr) -> bool | int | float | str | None:
    """The value of a number, a text, ``true`` or ``false``, signed or not; None: it is none of these."""
    if isinstance(node, ast.Name):
        return _WORDS.get(node.id)
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, bool | int | float | str) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = constant_of(node.operand)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value if isinstance(node.op, ast.USub) else value
    return None
