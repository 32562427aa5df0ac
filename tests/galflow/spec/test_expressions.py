"""Expressions out of a form: what selects is taken, whatever else Python could do is refused with its place."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from galflow.errors import SpecError
from galflow.spec.expressions import DEEPEST, LONGEST, parse_expression
from galflow.surveys.reading.rule_values import RuleError
from galflow.surveys.reading.rules import Verdict, judge


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("mag_i < 22 and flags & 4 == 0", ("mag_i", "flags")),
        ("0.02 < z < 0.08", ("z",)),
        ("column('class') in ('GALAXY', 'QSO') or not ok", ("class", "ok")),
        ("z is not null\n  and z > 0x1F", ("z",)),
        ("log10(mass) > 10 and max(a, b) ** 2 >= -1e-3 and true", ("mass", "a", "b")),
        ("é > 1", ("é",)),
    ],
)
def test_the_columns_that_it_needs_in_their_order(text: str, columns: tuple[str, ...]) -> None:
    assert parse_expression(text).columns == columns


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('id')",
        "().__class__.__bases__[0].__subclasses__()",
        "open('/etc/passwd').read() == ''",
        "eval('1')",
        "exec('import os')",
        "getattr(mag, 'x')",
        "(lambda: 1)()",
        "[c for c in mag]",
        "{1: 2}[1] > 0",
        "mag[0] > 1",
        "f'{mag}' == 'x'",
        "(x := 3) > 1",
        "await mag",
        "yield mag",
        "mag if ok else 1",
        "min(*mag)",
        "abs(x=mag) > 1",
        "print(mag)",
        "column.__globals__",
        "column(name) > 1",
        "b'x' == mag",
        "1j > mag",
        "... is null",
        "9 ** 9 // 2 > 1",
        "1 << 9999 > mag",
        "import os",
        "mag > 1; import os",
        "mag\x00 > 1",
    ],
)
def test_what_is_no_selection_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        parse_expression(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mag = 3", r"at character 5, '= 3': to compare write ==, not ="),
        ("class == 'QSO'", r"at character 1, .*: 'class' is a reserved word; write column\('class'\)"),
        ("z > 1 AND mag < 3", r"at character 7, 'AND mag < 3': and, or, not, in, is are written in lower case"),
        ("z > 1 && mag < 3", r"write and, or, not instead of &&"),
        ("`MAG AUTO` > 1", r"write column\('name'\)"),
        ("mag <", r"'mag <': at its end: invalid syntax; expected a column, a number, a text"),
        ("2mass > 3", r"at character 1, .*: a number with letters at its end; .* column\('2mass'\)"),
        ("log(z) > 1", r"there is no function 'log'; write log10 or ln"),
        ("sqr(z) > 1", r"there is no function 'sqr'; did you mean sqrt\?"),
        ("open(z)", r"there is no function 'open'; known are column, abs, sqrt"),
        ("é > é.x", r"at character 5, 'é.x': a name with dots; write column\('é.x'\)"),
        ("z == null", r"at character 6, 'null': null is compared by is null"),
        ("z is 3", r"at character 6, '3': after is or is not stands null"),
        ("z in mag", r"at character 6, 'mag': after in stands a list"),
        ("z in (1, mag)", r"at character 10, .*: a list holds numbers or texts alone"),
        ("max(z) > 1", "max takes 2 values, not 1"),
        ("", "an empty expression"),
        ("z > 99999999999999999999", "an integer beyond 64 bits"),
        ("z > 1 or " * 200 + "ok", f"at most {LONGEST:,} are taken"),
        ("not " * (DEEPEST + 1) + "ok", f"nested deeper than {DEEPEST} levels"),
        ("(" * 300 + "ok" + ")" * 300, "too many nested parentheses|nested too deeply"),
    ],
)
def test_it_says_what_is_wrong_and_where(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        parse_expression(text)


PIECES = r"""
mag z flags ok name column ( ) , [ ] { } + - * / % ** // & | ^ ~ << >> < <= > >= == != = := and or not in is null true
None 0 1 -1 4 2.5 1e400 0x10 'a' "b" ' " \ # ; : . .. @ ! ` $ ? é if else for lambda class import log10 abs min max
18446744073709551615 9223372036854775808 1or __class__ f'{z}' b'x' ☃ 1_0 07
"""
OPERANDS = "mag z flags ok name é 1 4 'a' -2.5 (mag) log10(z) null true"
JOINS = "+ - * / % ** & | ^ < <= > >= == != and or << in is"


def test_whatever_is_typed_is_an_expression_or_an_error_in_words() -> None:
    table = pa.table(
        {
            **{"mag": [20.0, None, float("nan")], "z": pa.array([0.1, -1, 2], pa.float32()), "name": ["a", None, "b"]},
            **{"flags": pa.array([1, 2**64 - 1, None], pa.uint64()), "ok": [True, False, None], "é": pa.nulls(3)},
        }
    )
    draw = random.Random(1)
    pieces, operands, joins = [*PIECES.split(), "\t", "\u2028", "\0"], OPERANDS.split(), JOINS.split()
    outcomes = {"refused": 0, "misfit": 0, "judged": 0}
    for number in range(1500):
        if number % 2:
            words = [draw.choice(operands)]
            for _ in range(draw.randint(1, 4)):
                words += [draw.choice(joins), draw.choice(operands)]
        else:
            words = draw.choices(pieces, k=draw.randint(1, 8))
        try:
            verdict = judge(parse_expression(draw.choice(["", " "]).join(words)), table)
        except RuleError:
            outcomes["misfit"] += 1
        except SpecError:
            outcomes["refused"] += 1
        else:
            outcomes["judged"] += 1
            assert isinstance(verdict, Verdict)
            unknown = sum(verdict.missing.values(), start=verdict.true.astype(int))
            assert unknown.max() <= 1, "a row is true or lacks one thing"
    assert min(outcomes.values()) > 50, outcomes
