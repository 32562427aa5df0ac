from __future__ import annotations

import pyarrow as pa
import pytest

from galflow.catalog.carried import as_text, carried_names, merged_carried, parsed_unit, unified_type

S, I64, F64 = pa.string(), pa.int64(), pa.float64()


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pa.int32(), pa.float32(), F64),
        (pa.int16(), I64, I64),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.uint32(), pa.int32(), I64),
        (pa.uint64(), pa.uint16(), pa.uint64()),
        (pa.uint64(), I64, S),  # never through a float
        (pa.bool_(), pa.int16(), I64),
        (pa.bool_(), F64, F64),
        (F64, S, S),
        (pa.null(), pa.date32(), pa.date32()),
        (pa.null(), pa.null(), F64),
        (pa.large_string(), S, S),
        (pa.dictionary(pa.int8(), S), S, S),
        (pa.list_(pa.int32(), 3), pa.list_(pa.float32(), 3), pa.list_(F64, 3)),
        (pa.list_(pa.int32(), 3), pa.list_(pa.int32(), 4), pa.list_(pa.int32())),
        (pa.list_(F64), F64, S),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), S),
        (pa.float16(), pa.float16(), pa.float32()),
    ],
)
def test_a_type_that_holds_the_values_of_both_tiles(one: pa.DataType, other: pa.DataType, both: pa.DataType) -> None:
    assert unified_type(one, other) == both
    assert unified_type(other, one) == both


def test_columns_of_all_tiles_come_in_order_of_first_appearance_with_what_is_said_of_them() -> None:
    merged = merged_carried(
        [
            pa.schema([("mag", pa.float32()), pa.field("size", F64, metadata={"unit": "arcsec"})]),
            pa.schema(
                [pa.field("mag", pa.float32(), metadata={"unit": "mag", "ucd": "phot.mag"}), ("star", pa.null())]
            ),
            pa.schema([("label", S), ("star", pa.bool_())]),
        ]
    )
    assert merged.schema.names == ["mag", "size", "star", "label"]
    assert merged.schema.types == [pa.float32(), F64, pa.bool_(), S]
    assert merged.schema.field("mag").metadata == {
        b"unit": b"mag", b"ucd": b"phot.mag", b"description": b"from the survey's catalogue",
    }  # fmt: skip
    assert merged.reasons == ()


def test_units_that_differ_between_tiles_are_declared_for_none_and_told() -> None:
    def with_unit(name: str, unit: str) -> pa.Schema:
        return pa.schema([pa.field(name, F64, metadata={"unit": unit, "description": "flux in r"})])

    same = merged_carried([with_unit("flux", "uJy"), with_unit("flux", "microjansky"), with_unit("flux", "µJy")])
    assert same.schema.field("flux").metadata[b"unit"] == b"uJy"
    assert same.reasons == ()
    mixed = merged_carried([with_unit("flux", "uJy"), with_unit("flux", "nJy")])
    assert b"unit" not in mixed.schema.field("flux").metadata
    assert mixed.schema.field("flux").metadata[b"description"] == b"flux in r (in uJy or nJy, by tile)"
    assert mixed.reasons == ("column flux has the units uJy, nJy in different tiles; none is declared for it",)


def test_types_that_differ_between_tiles_are_told_where_values_change() -> None:
    merged = merged_carried(
        [
            pa.schema([("z", F64), ("n", I64), ("k", pa.int32()), ("t", pa.duration("ms"))]),
            pa.schema([("z", S), ("n", F64), ("k", F64)]),
        ]
    )
    assert merged.schema.types == [S, F64, F64, I64]
    assert merged.schema.field("t").metadata[b"unit"] == b"ms"
    assert merged.reasons == (
        "column z is double or string in different tiles; it is published as text",
        "column n is int64 or double in different tiles; it is published as float64, which rounds whole numbers beyond "
        "2^53",
    )


def test_names_that_galflow_has_are_prefixed_and_those_that_differ_in_case_numbered() -> None:
    own = ["object_id", "ra", "dec"]
    names = carried_names(["RA", "MAG", "mag", "mag_2", "catalog_RA", "", "Mag"], own)
    assert names == {
        "RA": "catalog_RA_2", "MAG": "MAG", "mag": "mag_3", "mag_2": "mag_2", "catalog_RA": "catalog_RA",
        "": "unnamed", "Mag": "Mag_4",
    }  # fmt: skip
    assert len({name.lower() for name in [*names.values(), *own]}) == len(names) + len(own)


def test_what_has_no_type_of_its_own_is_readable_as_text() -> None:
    def text(values: list[object], kind: pa.DataType) -> list[str | None]:
        return as_text(pa.chunked_array([pa.array(values, kind)])).to_pylist()

    assert text([0, None], pa.timestamp("s")) == ["1970-01-01T00:00:00", None]
    assert text([1500], pa.timestamp("ms", "+02:00")) == ["1970-01-01T00:00:01.500"]
    assert text([[1.5, None], None], pa.list_(F64)) == ["[1.5, null]", None]
    assert text([{"a": 1}], pa.struct([("a", I64)])) == ['{"a": 1}']
    assert text([b"\xff\x00"], pa.binary()) == ["ff00"]
    assert text([2**63], pa.uint64()) == [str(2**63)]


def test_units_are_understood_in_any_spelling_and_never_an_error() -> None:
    assert parsed_unit("µJy") == parsed_unit("uJy")
    for text in ("counts", "ADU", "'", "mag(", "10**", "\udcff", "3 4"):
        parsed_unit(text)
