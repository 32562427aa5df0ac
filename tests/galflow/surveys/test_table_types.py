from __future__ import annotations

import datetime as dt
import itertools

import pyarrow as pa
import pytest

from galflow.errors import DataError
from galflow.surveys.table_metadata import reasons_of, with_reasons
from galflow.surveys.table_types import as_type, concat_tables, unified_type

EXAMPLES = [
    pa.array([1, None], pa.int32()),
    pa.array([1, -5], pa.int64()),
    pa.array([1, 2**64 - 1], pa.uint64()),
    pa.array([1, 255], pa.uint8()),
    pa.array([1.5, None], pa.float32()),
    pa.array([1e300, 0.1]),
    pa.array([True, None]),
    pa.array(["a", None]),
    pa.array(["a", "b"], pa.large_string()),
    pa.array(["a", "b"]).dictionary_encode(),
    pa.nulls(2),
    pa.array([dt.date(2020, 1, 2), None]),
    pa.array([dt.datetime(2020, 1, 2, 3, 4), None], pa.timestamp("us")),
    pa.array([dt.datetime(2020, 1, 2, 3, 4)] * 2, pa.timestamp("ns", "UTC")),
    pa.array([dt.time(3, 4), None]),
    pa.array([[1, 2], None], pa.list_(pa.int64())),
    pa.array([[1.5, 2.5]] * 2, pa.list_(pa.float32(), 2)),
    pa.array([{"a": 1}, None]),
    pa.array([b"\xff\xfe", None]),
    pa.array([1, 2], pa.decimal128(20, 0)),
]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([pa.int64(), pa.float64()], pa.float64()),
        ([pa.int32(), pa.int64(), pa.int8()], pa.int64()),
        ([pa.uint8(), pa.int8()], pa.int16()),
        ([pa.uint32(), pa.int64()], pa.int64()),
        ([pa.uint64(), pa.int64()], pa.string()),
        ([pa.int64(), pa.float32()], pa.float64()),
        ([pa.float32(), pa.float64()], pa.float64()),
        ([pa.bool_(), pa.int32()], pa.int64()),
        ([pa.null(), pa.int32(), pa.null()], pa.int32()),
        ([pa.null(), pa.null()], pa.null()),
        ([pa.date32(), pa.string()], pa.string()),
        ([pa.date32(), pa.timestamp("s")], pa.timestamp("s")),
        ([pa.timestamp("s"), pa.timestamp("ns")], pa.timestamp("ns")),
        ([pa.int64(), pa.large_string()], pa.string()),
        ([pa.bool_(), pa.float64()], pa.string()),
        ([pa.list_(pa.int64(), 3), pa.list_(pa.float64(), 3)], pa.list_(pa.float64(), 3)),
        ([pa.list_(pa.int64(), 3), pa.list_(pa.float64(), 2)], pa.list_(pa.float64())),
        ([], pa.null()),
    ],
)
def test_a_type_that_holds_both(types: list[pa.DataType], expected: pa.DataType) -> None:
    assert unified_type(types) == expected
    assert unified_type(reversed(types)) == expected


def test_every_pair_of_types_can_be_put_together() -> None:
    for one, other in itertools.product(EXAMPLES, EXAMPLES):
        tables = [pa.table({"object_id": [i, i + 1], "value": value}) for i, value in ((0, one), (10, other))]
        whole = concat_tables(tables)
        assert whole.num_rows == 4
        assert whole["value"].null_count == one.null_count + other.null_count, (one.type, other.type)


def test_no_digit_is_lost_and_text_reads_as_it_was() -> None:
    kind = unified_type([pa.uint64(), pa.int64()])
    assert as_type(pa.chunked_array([[2**63 - 1]]), kind).to_pylist() == [str(2**63 - 1)]
    numbers = [pa.table({"object_id": [1], "n": [2**53 + 1]}), pa.table({"object_id": [2], "n": [0.5]})]
    assert "column 'n' holds integers beyond 2^53 beside floats" in reasons_of(concat_tables(numbers))[0]
    lists = pa.chunked_array([[[1, 2], None]])
    assert as_type(lists, pa.string()).to_pylist() == ["[1, 2]", None]


def test_columns_in_order_of_appearance_with_the_first_notes_and_all_reasons() -> None:
    unit = {"unit": "mag"}
    one = pa.table([[1], [20]], schema=pa.schema([("object_id", pa.int64()), pa.field("m", pa.int64(), metadata=unit)]))
    other = pa.table(
        [[2], ["x"], [20.5]],
        schema=pa.schema([("object_id", pa.int64()), ("name", pa.string()), ("m", pa.float64())]),
    )
    whole = concat_tables([with_reasons(one, ["a row is lost"]), with_reasons(other, ["a cell is lost"])])
    assert whole.to_pylist() == [{"object_id": 1, "m": 20.0, "name": None}, {"object_id": 2, "m": 20.5, "name": "x"}]
    assert whole.schema.field("m").metadata == {b"unit": b"mag"}
    assert reasons_of(whole) == ["a row is lost", "a cell is lost"]


def test_units_and_ids_that_differ_are_told() -> None:
    def table(unit: str, **columns: list[object]) -> pa.Table:
        plain = pa.table({"object_id": [1], "flux": [1.0], **columns})
        fields = [f.with_metadata({"unit": unit}) if f.name == "flux" else f for f in plain.schema]
        return pa.Table.from_arrays(plain.columns, schema=pa.schema(fields))

    told = reasons_of(concat_tables([table("nJy"), table("mJy", source_name=["a"])]))
    assert "column 'flux' is in nJy and mJy in different catalogues" in told[0]
    assert "1 of 2 catalogues have text as object ids" in told[1]


def test_ids_stay_integers() -> None:
    small = pa.table({"object_id": pa.array([5], pa.uint64())})
    signed = pa.table({"object_id": [-5]})
    large = pa.table({"object_id": pa.array([2**63], pa.uint64())})
    assert concat_tables([small, signed])["object_id"].to_pylist() == [5, -5]
    assert concat_tables([small, large])["object_id"].type == pa.uint64()
    with pytest.raises(DataError, match="which no 64-bit integer holds"):
        concat_tables([signed, large])
    with pytest.raises(DataError, match="no table was given"):
        concat_tables([])
