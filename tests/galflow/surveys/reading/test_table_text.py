from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from galflow.errors import DataError
from galflow.surveys.reading.table_metadata import reasons_of
from galflow.surveys.reading.table_text import natural, read_text_table


def read(text: str | bytes, uri: str = "c.csv", *as_text: str, head: int | None = None) -> pa.Table:
    content = text.encode() if isinstance(text, str) else text
    return read_text_table(content, uri, as_text=frozenset(as_text), head=head)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-2", "+3"], pa.int64()),
        (["1", str(2**64 - 1)], pa.uint64()),
        (["1", "2.5", "nan"], pa.float64()),
        (["1e3", "--", "None"], pa.float64()),
        (["1", str(2**70)], pa.string()),
        (["0x10", "0x20"], pa.string()),
        (["1", "x"], pa.string()),
        (["True", "false"], pa.bool_()),
        (["2020-01-02", "1999-12-31"], pa.date32()),
        (["2020-01-02T03:04:05", "2020-01-02"], pa.timestamp("s")),
        (["2020-01-02 03:04:05.25"], pa.timestamp("us")),
        (["2020-01-02", "later"], pa.string()),
        (["--", "None"], pa.string()),
        ([None, None], pa.null()),
    ],
)
def test_text_takes_the_narrowest_type_of_all_its_values(values: list[str | None], kind: pa.DataType) -> None:
    assert natural(pa.chunked_array([pa.array(values, pa.string())])).type == kind


def test_the_type_does_not_hang_on_the_first_rows() -> None:
    rows = "".join(f"{i},{i}\n" for i in range(200_000)) + "200000,0.5\n"
    table = read("id,n\n" + rows)
    assert table["n"].type == pa.float64()
    assert table["n"][-1].as_py() == 0.5


def test_a_row_of_another_length_costs_itself() -> None:
    table = read('id,"a b",ç\n1,2,3\n4,5\n6,7,8,9\n# a remark\n10,"x, y",12\n')
    assert table.to_pylist() == [{"id": 1, "a b": "2", "ç": 3}, {"id": 10, "a b": "x, y", "ç": 12}]
    assert reasons_of(table) == [
        "c.csv: 2 rows are left out, which have not the 3 fields of the header, such as '4,5' (2 fields)"
    ]
    with pytest.raises(DataError, match=r"no row of the 2 fields that its header names; its first is '1' .1 fields"):
        read("a,b\n1\n2\n")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("\ufeffid,naïve\n1,é\n".encode(), "naïve"),
        ("id,naïve\n1,é\n".encode("latin-1"), "naïve"),
        ("id,naïve\n1,é\n".encode("utf-16"), "naïve"),
        ("id,naïve\r\n1,é\r\n".encode(), "naïve"),
    ],
)
def test_encodings(content: bytes, name: str) -> None:
    table = read(content)
    assert table.column_names == ["id", name]
    assert table[name].to_pylist() == ["é"]


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("id;mag;s\n1;2,5;a,b\n2;3;c\n", "c.csv"),
        ("id\tmag\ts\n1\t2.5\ta,b\n2\t3\tc\n", "c.tsv"),
        ("id|mag|s\n1|2.5|a,b\n2|3|c\n", "c.csv"),
        ('# made by hand\n#\n\nid,mag,s\n1,2.5,"a,b"\n2,3,c\n', "c.csv"),
        ('# id,mag,s\n1,2.5,"a,b"\n2,3,c\n', "c.csv"),
        ('id,mag,s\n1,2.5,"a,b",\n2,3,c,\n', "c.csv"),
        ('id , mag,s\n1,2.5,"a,b"\n2, 3,c', "c.csv"),
    ],
)
def test_delimiters_comments_and_loose_ends(text: str, uri: str) -> None:
    table = read(text, uri).select(["id", "mag", "s"])
    assert table.to_pylist() == [{"id": 1, "mag": 2.5, "s": "a,b"}, {"id": 2, "mag": 3.0, "s": "c"}]
    assert reasons_of(table) == []


def test_names_that_repeat_or_are_missing() -> None:
    assert read("a,a,a_2,,\n1,2,3,4,5\n").column_names == ["a", "a_3", "a_2", "column_4", "column_5"]


def test_a_header_alone_is_a_table_without_rows() -> None:
    assert read("id,mag\n").num_rows == 0
    assert read("# id,mag\n").column_names == ["id", "mag"]
    with pytest.raises(DataError, match=r"c.csv is empty; expected a header line"):
        read("")


def test_columns_asked_for_as_text_stay_text() -> None:
    table = read("id,n\n007,1\n008,2\n", "c.csv", "id")
    assert table["id"].to_pylist() == ["007", "008"]
    assert table["n"].type == pa.int64()


ECSV = """# %ECSV 1.0
# ---
# delimiter: ','
# datatype:
# - {name: id, datatype: string, description: the name}
# - {name: ra, unit: rad, datatype: float64, meta: !!omap [{ucd: pos.eq.ra}]}
# - {name: n, datatype: int16}
# - {name: ok, datatype: bool}
# - {name: v, datatype: string, subtype: 'float64[2]'}
# - {name: bad, datatype: int64}
# schema: astropy-2.0
id,ra,n,ok,v,bad
01,1,2,True,"[1.5,2.5]",3
02,2,,False,"[3.5,4.5]",x
"""


def test_ecsv_declares_types_units_and_descriptions() -> None:
    table = read(ECSV, "c.ecsv")
    assert table["id"].to_pylist() == ["01", "02"]
    assert table["ra"].type == pa.float64()
    assert table.schema.field("ra").metadata == {b"unit": b"rad", b"ucd": b"pos.eq.ra"}
    assert table.schema.field("id").metadata[b"description"] == b"the name"
    assert table["n"].type == pa.int16()
    assert table["n"].to_pylist() == [2, None]
    assert table["ok"].to_pylist() == [True, False]
    assert table["v"].to_pylist() == [[1.5, 2.5], [3.5, 4.5]]
    assert table["bad"].to_pylist() == ["3", "x"]
    blanks = ECSV.replace("# delimiter: ','\n", "").replace(',"', ' "').replace('",', '" ')
    with pytest.raises(DataError):
        read(blanks.replace("{name: id", "{name id"), "c.ecsv")


def test_dates_are_dates() -> None:
    assert read("t\n2020-01-02\n").to_pylist() == [{"t": dt.date(2020, 1, 2)}]
