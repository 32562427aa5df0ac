"""Rules on whole columns against Python on one row after another, and what is missing told apart from what is false."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from galflow.spec.expressions import parse_expression
from galflow.surveys.reading.rule_values import RuleError
from galflow.surveys.reading.rules import judge

BIG = 2**63 + 1
TABLE = pa.table(
    {
        "object_id": pa.array([BIG, BIG + 1, 6, 7], pa.uint64()),
        "ra_deg": [1.0, 2.0, 3.0, 4.0],
        "mag_i": [20.0, float("nan"), None, 25.0],
        "z": pa.array([0.01, 0.05, 0.05, None], pa.float32()),
        "flags": pa.array([0, 4, 5, None], pa.uint8()),
        "class": ["GALAXY", "STAR", None, "GALAXY"],
        "coded": pa.array(["a", "b", None, "a"]).dictionary_encode(),
        "good": [True, False, None, True],
        "empty": pa.nulls(4),
        "MAG AUTO": [1, 2, 3, 4],
        "when": pa.array([0, 1, 2, 3], pa.timestamp("s")),
    }
)


@pytest.mark.parametrize(
    ("text", "true", "missing"),
    [
        ("mag_i < 22", "1000", {"mag_i": "0110"}),
        ("not mag_i < 22", "0001", {"mag_i": "0110"}),
        ("0.02 < z < 0.08", "0110", {"z": "0001"}),
        ("flags & 4 == 0", "1000", {"flags": "0001"}),
        ("flags >> 2 & 1 == 1 or flags ^ 1 == 1", "1110", {"flags": "0001"}),
        ("(mag_i < 22) & (flags & 4 == 0)", "1000", {}),  # what is false needs no other value
        ("mag_i < 22 or z > 0.02", "1110", {"z": "0001"}),
        ("column('class') == 'GALAXY'", "1001", {"class": "0010"}),
        ("column('class') not in ('GALAXY', 'QSO')", "0100", {"class": "0010"}),
        ("coded in ['b']", "0100", {"coded": "0010"}),
        ("mag_i is null", "0110", {}),
        ("object_id == 9223372036854775809", "1000", {}),  # as an integer: its neighbour is the same float64
        ("object_id in (9223372036854775810, 7, -1)", "0101", {}),
        ("object_id > -1 and object_id % 2 == 1", "1001", {}),
        ("(column('MAG AUTO') + 1) % 2 == 0", "1010", {}),
        ("log10(mag_i - 20) > 0", "0001", {"mag_i": "0110"}),
        ("sqrt(ra - 2) >= 0", "0111", {"": "1000"}),  # ra is published for ra_deg
        ("-2.5 * ln(ra_deg) / ln(10) < -1", "0011", {}),
        ("abs(-ra) ** 2 >= 9 and min(ra, 9) < max(ra, 3.5)", "0010", {}),
        ("good", "1001", {"good": "0010"}),
        ("~good or good == 1", "1101", {"good": "0010"}),
        ("empty > 3 or empty == 'x' or not empty", "0000", {"empty": "1111"}),
        ("true", "1111", {}),
    ],
)
def test_what_a_rule_says_of_each_row(text: str, true: str, missing: dict[str, str]) -> None:
    verdict = judge(parse_expression(text), TABLE)
    assert "".join(str(int(v)) for v in verdict.true) == true
    assert {name: "".join(str(int(v)) for v in rows) for name, rows in verdict.missing.items()} == missing
    nothing = judge(parse_expression(text), TABLE.schema.empty_table())
    assert len(nothing.true) == 0, "a schema alone is judged, too"


def test_python_row_by_row_says_the_same() -> None:
    rng = np.random.default_rng(0)
    names = {"a": rng.normal(size=500), "b": rng.integers(0, 16, 500), "c": rng.choice(["x", "y"], 500)}
    text = "(a > 0.3 and b & 5 != 4 or c == 'x' and -1 < a * b - 2 < b) and not (b % 7 == 3 or c not in ('x', 'y'))"
    plain = [eval(text, {}, dict(zip(names, row, strict=True))) for row in zip(*names.values(), strict=True)]
    verdict = judge(parse_expression(text), pa.table(names))
    np.testing.assert_array_equal(verdict.true, np.array(plain, bool))
    assert 50 < verdict.true.sum() < 450


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "MAG_1 > 3",
            r"there is no column 'MAG_1'; did you mean mag_i\? The catalogue has object_id, ra",
        ),
        ("mag_i", "'mag_i' gives a number, not true or false; compare it"),
        ("mag_i > 'a'", "compares a number with a text; compare numbers with numbers"),
        ("mag_i and good", "'mag_i' is a number, where and, or and not need true or false"),
        ("mag_i & 4 == 0", "bits are those of whole numbers, not of a number"),
        ("object_id & -1 == 0", "negative numbers beside unsigned ones"),
        ("abs(column('class')) > 1", "abs needs numbers, not a text"),
        ("good < 3.5", "compares true or false with a number"),
        ("when > 3", r"column 'when' is of type timestamp\[s\], of which rules know nothing"),
    ],
)
def test_a_rule_that_does_not_fit_says_why(text: str, said: str) -> None:
    for table in (TABLE, TABLE.schema.empty_table()):
        with pytest.raises(RuleError, match=said):
            judge(parse_expression(text), table)
