from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galflow.errors import DataError
from galflow.surveys.reading.table_files import load_table
from galflow.surveys.reading.table_metadata import reasons_of
from galflow.surveys.reading.table_parquet import read_parquet_table


def written(table: pa.Table, **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


VOTABLE = """<?xml version="1.0"?>
<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="ra" datatype="double" unit="rad" ucd="pos.eq.ra"><DESCRIPTION> right
 ascension </DESCRIPTION></FIELD><FIELD name="n" datatype="long" unit="None"/></TABLE></RESOURCE></VOTABLE>"""
ASTROPY = (
    "datatype:\n- {name: ra, unit: rad, datatype: float64, description: right ascension, meta: {ucd: pos.eq.ra}}\n"
)


@pytest.mark.parametrize(
    ("key", "text"), [("IVOA.VOTable-Parquet.content", VOTABLE), ("table_meta_yaml", ASTROPY), ("", "")]
)
def test_columns_are_described_in_three_ways(key: str, text: str) -> None:
    notes = {"unit": "rad", "description": "right ascension", "ucd": "pos.eq.ra"}
    plain = pa.table({"ra": [1.0], "n": [2]})
    if key:
        plain = plain.replace_schema_metadata({key: text})
    else:
        fields = [plain.schema.field("ra").with_metadata(notes), plain.schema.field("n")]
        plain = pa.Table.from_arrays(plain.columns, schema=pa.schema(fields))
    table = read_parquet_table(written(plain), "c.parquet")
    expected = {name.encode(): text.encode() for name, text in notes.items()}
    assert table.schema.field("ra").metadata == expected
    assert not table.schema.field("n").metadata
    assert table.schema.metadata is None


def test_a_damaged_description_costs_the_units() -> None:
    plain = pa.table({"ra": [1.0]}).replace_schema_metadata({"IVOA.VOTable-Parquet.content": VOTABLE[:200]})
    table = read_parquet_table(written(plain), "c.parquet")
    assert table["ra"].to_pylist() == [1.0]
    assert "c.parquet: the description of columns in it cannot be read (ParseError" in reasons_of(table)[0]


def test_a_damaged_column_is_left_out() -> None:
    values = list(range(1000))
    content = bytearray(
        written(pa.table({"id": values, "n": values, "s": ["a"] * 1000}), use_dictionary=False, compression="gzip")
    )
    place = pq.ParquetFile(io.BytesIO(bytes(content))).metadata.row_group(0).column(1)
    start = place.data_page_offset + 60
    content[start : start + 200] = b"\xff" * 200
    table = read_parquet_table(bytes(content), "c.parquet")
    assert table.column_names == ["id", "s"]
    assert "c.parquet: column 'n' is left out, it cannot be read" in reasons_of(table)[0]


def test_names_that_repeat_and_types_as_they_are_stored() -> None:
    plain = pa.Table.from_arrays(
        [pa.array([1]), pa.array([2]), pa.array(["x"]).dictionary_encode(), pa.array(["y"], pa.large_string())],
        names=["a", "a", "c", "l"],
    )
    table = read_parquet_table(written(plain), "c.parquet")
    assert table.to_pylist() == [{"a": 1, "a_2": 2, "c": "x", "l": "y"}]
    assert table.schema.types == [pa.int64(), pa.int64(), pa.string(), pa.string()]


def test_what_is_no_table_is_a_data_error(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for name, content, text in (
        ("a.parquet", b"PAR1nothing", "cannot be read as parquet"),
        ("a.csv.gz", b"\x1f\x8bno", "a.csv.gz is truncated or corrupt"),
        ("b.csv.gz", b"plain", "b.csv.gz is truncated or corrupt"),
        ("a.csv", b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=text):
            load_table(str(tmp_path / name))
