"""What an expression selects in the database is what the rules of a specification select, row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from galflow.errors import SpecError
from galflow.explore.columns import ExploredColumns
from galflow.explore.conditions import condition_of
from galflow.explore.database import TABLE, connect
from galflow.explore.orders import Orders
from galflow.explore.query import Selection
from galflow.explore.rows import Rows
from galflow.spec.expressions import parse_expression
from galflow.surveys.reading.rules import judge

RNG = np.random.default_rng(3)
COUNT = 400


def _some_missing(values: np.ndarray | list[str], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind, mask=RNG.random(COUNT) < 0.1)


CATALOG = pa.table(
    {
        "id": pa.array(RNG.integers(2**62, 2**63 - 1, COUNT), pa.int64()),
        "unsigned": pa.array(RNG.integers(0, 2**64 - 1, COUNT, dtype=np.uint64), pa.uint64()),
        "mag": _some_missing(RNG.normal(21, 3, COUNT), pa.float64()),
        "size": _some_missing(RNG.normal(0, 2, COUNT), pa.float32()),
        "flags": _some_missing(RNG.integers(0, 16, COUNT), pa.uint32()),
        "signed": _some_missing(RNG.integers(-9, 9, COUNT), pa.int32()),
        "type": _some_missing(RNG.choice(["GALAXY", "QSO", "it's; DROP TABLE rows --"], COUNT).tolist(), pa.string()),
        "good": _some_missing(RNG.random(COUNT) < 0.5, pa.bool_()),
        'MAG "AUTO"': _some_missing(RNG.normal(20, 1, COUNT), pa.float64()),
        "rowid": pa.array(np.arange(COUNT)[::-1], pa.int64()),
    }
)
BIG = CATALOG["id"][7].as_py()


@pytest.fixture(scope="module")
def rows() -> Rows:
    connection = connect()
    columns = ExploredColumns(CATALOG.schema)
    connection.register("given", CATALOG.rename_columns([c.sql for c in columns.values()]))
    connection.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM given")
    return Rows(connection, columns, Orders(None, None))


@pytest.mark.parametrize(
    "text",
    [
        "mag < 22",
        "20 < mag <= 22.5 and flags & 4 == 0",
        "not (mag < 22) or size > 0",
        "mag is null",
        "mag is not null and not good",
        "sqrt(size) > 1",
        "sqrt(size) is null",
        "not sqrt(size) > 1",
        "ln(abs(size)) < 0 or log10(size) > 0.1",
        "min(mag, size) > 1",
        "max(mag, size * 10) is null",
        "min(sqrt(size), ln(size)) < 0.5",
        "size ** 0.5 < 1 or size ** 2 > 4",
        "1 / (signed * 1.0) > 0",
        "signed % 4 == 3",
        "signed % 2.5 < 1",
        "size % signed > 0.5",
        "-signed > 3",
        "flags ^ 5 == 1",
        "flags | 3 == 7",
        "flags << 2 == 12 or flags >> 1 == 2",
        "~flags & 3 == 3",
        f"id == {BIG}",
        f"id > {BIG - 1} and id < {BIG + 1}",
        "unsigned > 9223372036854775807",
        "unsigned & 1 == 1",
        "unsigned > signed",
        "signed == size or signed < size",
        "type == 'GALAXY'",
        "type in ('QSO', \"it's; DROP TABLE rows --\")",
        "type not in ('QSO', 'STAR')",
        "signed in (1, 2, 3.5)",
        "signed not in (1, -2)",
        "type < 'H'",
        "good",
        "good == true and not (good & (mag < 20))",
        "good ^ (mag < 21)",
        "good > 0",
        "column('MAG \"AUTO\"') - mag < 1",
        "rowid < 50",
        "floor(mag) == 20 or ceil(mag) == 20 or round(mag) == 19",
        "exp(mag * 100) > 1e300",
        "true",
        "sqrt(mag - 20) + sqrt(23 - mag) is null",
    ],
)
def test_selects_what_the_rules_select(rows: Rows, text: str) -> None:
    wanted = judge(parse_expression(text), CATALOG).true
    found = rows.masks.of(Selection(where=text))
    assert found is not None
    np.testing.assert_array_equal(found, wanted)
    if text not in ("true", "exp(mag * 100) > 1e300"):
        assert 0 < wanted.sum() < COUNT


def test_no_word_of_a_persons_stands_in_the_sql() -> None:
    columns = ExploredColumns(CATALOG.schema)
    text = 'type == "it\'s; DROP TABLE rows --" and column(\'MAG "AUTO"\') > 17.25 and flags in (3, 1234)'
    condition = condition_of(text, columns)
    for word in ("DROP", "it's", "MAG", "17", "1234", "type"):
        assert word not in condition.sql + condition.source(TABLE)
    assert {"it's; DROP TABLE rows --", 17.25, 3, 1234} == set(condition.parameters.values())


def test_a_deeply_nested_expression_stays_small() -> None:
    text = "mag"
    for _ in range(18):
        text = f"min({text}, 30)"
    assert len(condition_of(f"{text} < 20", ExploredColumns(CATALOG.schema)).source(TABLE)) < 10_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("magg < 22", "there is no column 'magg'; did you mean mag?"),
        ("mag + 1", "gives a number, not true or false"),
        ("type > 2", "compares a text with a whole number"),
        ("mag and good", "'mag' is a number, where and, or and not need true or false"),
        ("mag & 4 == 0", "bits are those of whole numbers, not of a number"),
        ("-type < 2", "a sign needs numbers, not a text"),
        ("mag < 22; DROP TABLE rows", "at character 9"),
        ("__import__('os')", "there is no function"),
    ],
)
def test_says_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        condition_of(text, ExploredColumns(CATALOG.schema))
    assert said in str(error.value)


def test_bits_beyond_64_are_an_error_in_words(rows: Rows) -> None:
    with pytest.raises(SpecError, match="cannot be computed"):
        rows.masks.of(Selection(where="id << 8 > 0"))


def test_the_database_reaches_nothing(rows: Rows, tmp_path: object) -> None:
    for sql in (f"SELECT * FROM read_text('{__file__}')", "INSTALL httpfs", f"COPY {TABLE} TO '{tmp_path}/x.csv'",
                "ATTACH '/tmp/other.db'", "SET enable_external_access = true"):  # fmt: skip
        with pytest.raises(Exception, match=r"(?i)permission|locked|disabled|cannot"):
            rows.masks.arrow(sql)
    assert rows.count == COUNT
