from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.io.votable.ucd import check_ucd

from galflow.catalog.carried import merged_carried
from galflow.catalog.parquet import schema_of, to_parquet
from galflow.catalog.schema import catalog_schema, conform, is_carried
from galflow.cutouts.flags import Flag
from galflow.errors import DataError, ModelError, SpecError


def test_columns_come_in_the_designs_order() -> None:
    schema = catalog_schema(
        ["wgan_anomaly", "vae_elbo"],
        ["loglike_glow", "bpd_glow", "llr_glow_sersic"],
        pa.schema([("MAG", pa.float32())]),
        pa.uint64(),
        with_names=True,
    )
    assert schema.names == [
        *(
            "object_id",
            "source_name",
            "id_in_tile",
            "ra",
            "dec",
            "survey",
            "release",
            "tile",
            "row",
            "cutout",
            "x",
            "y",
        ),
        *("is_primary", "split", "wgan_anomaly", "wgan_anomaly_sigma", "wgan_anomaly_p"),
        *("vae_elbo", "vae_elbo_sigma", "vae_elbo_p", "anomaly_score", "anomaly_score_sigma"),
        *("anomaly_score_p", "anomaly_rank", "anomaly_q", "anomaly_fdp"),
        *("anomaly_alike_p", "anomaly_tail_p", "anomaly_tail_q"),
        *("triage", "artefact_p", "blend_p", "star_p", "galaxy_p", "interesting_p"),
        *("loglike_glow", "bpd_glow", "llr_glow_sersic", "flags", "outcome", "run_id", "MAG"),
    ]
    assert schema.field("object_id").type == schema.field("id_in_tile").type == pa.uint64()
    never_null = [field.name for field in schema if not field.nullable]
    assert never_null == [
        *("object_id", "id_in_tile", "survey", "release", "tile", "row", "is_primary", "flags", "outcome", "run_id")
    ]
    assert [field.name for field in schema if is_carried(field)] == ["MAG"]
    without = catalog_schema([], [], pa.schema([]), pa.int64(), with_names=False)
    assert "source_name" not in without.names


def test_every_column_has_a_valid_unit_a_description_and_a_valid_ucd(catalog) -> None:
    schema, _ = catalog
    for field in schema:
        said = {key.decode(): text.decode() for key, text in field.metadata.items()}
        assert said["description"], field.name
        if not is_carried(field):
            assert check_ucd(said["ucd"], check_controlled_vocabulary=True), field.name
            for standard in ("fits", "vounit"):
                units.Unit(said["unit"], format=standard)
    assert schema.field("mag_auto").metadata == {
        b"unit": b"mag", b"description": b"Kron", b"ucd": b"phot.mag", b"origin": b"catalogue",
    }  # fmt: skip
    assert schema.field("file_name").metadata[b"description"] == b"from the survey's catalogue"
    flags = schema.field("flags").metadata[b"description"].decode()
    assert all(f"{flag.value} {flag.name}" in flags for flag in Flag)
    assert schema.field("ra").metadata[b"unit"] == schema.field("dec").metadata[b"unit"] == b"deg"
    assert schema.field("bpd_glow").metadata[b"unit"] == b"bit"


def test_a_schema_that_would_be_ambiguous_is_refused() -> None:
    none = pa.schema([])
    for scores, carried in ([["a", "A"], none], [["row"], none], [["a"], pa.schema([("RA", pa.float64())])]):
        with pytest.raises(SpecError, match=r"a second column '(A|row|RA)'.*differ only in case"):
            catalog_schema(scores, [], carried, pa.int64(), False)
    with pytest.raises(SpecError, match="a second column '_healpix_29'"):
        catalog_schema([], [], pa.schema([("_healpix_29", pa.int64())]), pa.int64(), False)
    with pytest.raises(SpecError, match="object ids cannot be double"):
        catalog_schema([], [], none, pa.float64(), False)
    with pytest.raises(SpecError, match="'elbo_vae' names no likelihood; expected loglike_MODEL"):
        catalog_schema([], ["elbo_vae"], none, pa.int64(), False)


def test_a_table_takes_the_schemas_order_and_types(catalog) -> None:
    schema, make = catalog
    table = make(3)
    table = table.set_column(0, "object_id", table["object_id"]).select(list(reversed(table.column_names)))
    table = table.append_column("anomaly_q", pa.nulls(3)).append_column("mag_auto", pa.array([1, 2, None], pa.int32()))
    table = table.append_column("split", pa.array(["train", None, "reference"]).dictionary_encode())
    table = table.append_column("n_exposures", pa.array([1, 2, 3], pa.int64()))
    table = table.append_column("file_name", pa.array([5, None, 6]))
    out = conform(table, schema)
    assert out.schema.equals(schema, check_metadata=True)
    assert out["mag_auto"].to_pylist() == [1.0, 2.0, None]
    assert out["split"].to_pylist() == ["train", None, "reference"]
    assert out["n_exposures"].to_pylist() == [1, 2, 3]
    assert out["file_name"].to_pylist() == ["5", None, "6"]
    assert out["anomaly_q"].null_count == out["cutout"].null_count == 3
    assert conform(table.slice(0, 0), schema).schema.equals(schema, check_metadata=True)


def test_what_is_no_number_is_null_in_a_carried_column_and_refused_in_a_score(catalog) -> None:
    schema, make = catalog
    odd = pa.array([np.nan, np.inf, 1.0])
    assert conform(make(3).append_column("mag_auto", odd), schema)["mag_auto"].to_pylist() == [None, np.inf, 1.0]
    for name in ("bpd_glow", "x", "anomaly_q"):
        with pytest.raises(ModelError, match=f"column {name} passes off 2 NaN or infinite"):
            conform(make(3).append_column(name, odd), schema)


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("row", pa.array(["1", "2"]), r"column row is string and does not fit the catalogue's int64 .*expected int64"),
        ("flags", pa.array([-1, 2]), r"column flags is int64 and does not fit the catalogue's uint32"),
        ("tile", pa.array([1, 2]), r"column tile is int64 and does not fit the catalogue's string"),
        ("tile", pa.array(["a", None]), r"column tile has 1 null\(s\), first in row 1; expected a string in every row"),
        ("row", pa.array([1.0, 2.0]), r"column row is double and does not fit the catalogue's int64"),
        ("ra", pa.array([2**60, 1]), r"column ra is int64 and does not fit the catalogue's double"),
        ("is_primary", pa.array([1, 0]), r"column is_primary is int64 and does not fit the catalogue's bool"),
        ("n_exposures", pa.array([2**40, 1]), r"column n_exposures is int64 and does not fit the catalogue's int32"),
        ("mag_auto", pa.array(["faint", "20"]), r"column mag_auto is string and does not fit the catalogue's double"),
        ("ra_deg", pa.array([1.0, 2.0]), r"column\(s\) ra_deg, which the catalogue's schema lacks"),
    ],
)
def test_what_does_not_fit_is_refused_with_column_and_types(catalog, name, values, said) -> None:
    schema, make = catalog
    table = make(2)
    if name in table.column_names:
        table = table.drop_columns(name)
    with pytest.raises(DataError, match=said):
        conform(table.append_column(name, values), schema)


def test_a_column_that_lacks_or_comes_twice_is_named(catalog) -> None:
    schema, make = catalog
    with pytest.raises(DataError, match=r"lacks column is_primary \(bool\), which may not be null"):
        conform(make(2).drop_columns("is_primary"), schema)
    with pytest.raises(DataError, match=r"has the column\(s\) row twice"):
        conform(make(2).append_column("row", pa.array([1, 2])), schema)


SAMPLES: list[tuple[pa.DataType, list[object]]] = [
    (pa.bool_(), [True, None]),
    (pa.int8(), [1, -2]),
    (pa.int64(), [1, 2**53 + 1]),
    (pa.uint64(), [2**64 - 1]),
    (pa.float16(), [np.float16(1)]),
    (pa.float32(), [1.5]),
    (pa.string(), ["a", None]),
    (pa.large_string(), ["x"]),
    (pa.string_view(), ["x"]),
    (pa.null(), [None, None]),
    (pa.list_(pa.int32(), 2), [[1, 2], None]),
    (pa.list_(pa.float64()), [[0.5]]),
    (pa.struct([("a", pa.int64())]), [{"a": 1}]),
    (pa.binary(), [b"\xff"]),
    (pa.binary(2), [b"ab"]),
    (pa.timestamp("s"), [0]),
    (pa.timestamp("us", "UTC"), [0]),
    (pa.date32(), [1]),
    (pa.date64(), [86_400_000]),
    (pa.time32("s"), [1]),
    (pa.duration("s"), [1]),
    (pa.decimal128(5, 2), [1]),
]


def test_every_type_that_the_tiles_of_a_column_have_fits_what_was_merged() -> None:
    """Whatever two tiles hold, the column that merged_carried makes of them takes both, value by value."""
    samples = [
        *(pa.array(values, kind) for kind, values in SAMPLES),
        pa.array(["x"]).dictionary_encode(),
        pa.array([[[1.0, 2.0]]], pa.list_(pa.list_(pa.float64(), 2), 1)),
    ]
    for one in samples:
        for other in samples:
            merged = merged_carried([pa.schema([("c", one.type)]), pa.schema([("c", other.type)])])
            schema = catalog_schema([], [], merged.schema, pa.int64(), False)
            carried = pa.schema([field for field in schema if is_carried(field)])
            for values in (one, other):
                out = conform(pa.table({"c": values}), carried)
                assert schema_of(to_parquet(out, carried)).equals(carried, check_metadata=True)
                assert out["c"].null_count == values.null_count, (one.type, other.type, values)
