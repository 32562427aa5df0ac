from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table

from galflow.catalog.fits_columns import fits_names, merged_widths, text_widths
from galflow.catalog.fits_table import FitsTableWriter, write_fits
from galflow.catalog.schema import conform
from galflow.errors import DataError, ModelError, StoreError

I64, U64 = np.iinfo(np.int64), np.iinfo(np.uint64)


def write(tmp_path: Path, kinds: dict[str, pa.DataType], rows: list[dict[str, Any]], needed: set[str]) -> Any:
    """The table that astropy reads, and the reasons; columns ``needed`` are not nullable."""
    schema = pa.schema([pa.field(name, kind, name not in needed) for name, kind in kinds.items()])
    parts = [pa.Table.from_pylist(rows[:1], schema=schema), pa.Table.from_pylist(rows[1:], schema=schema)]
    reasons = write_fits(lambda: parts, schema, tmp_path / "t.fits")
    return Table.read(tmp_path / "t.fits"), reasons


def values(column: Any) -> list[Any]:
    return column.tolist()


@pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()])
def test_whole_numbers_are_exact_and_nulls_masked(tmp_path: Path, kind: pa.DataType) -> None:
    limits = np.iinfo(kind.to_pandas_dtype())
    lowest = int(limits.min) + (1 if limits.min < 0 else 0)
    rows = [{"whole": int(limits.max), "some": None}, {"whole": int(limits.min), "some": lowest}]
    rows.append({"whole": 1, "some": int(limits.max)})
    table, reasons = write(tmp_path, {"whole": kind, "some": kind}, rows, {"whole"})
    assert values(table["whole"]) == [limits.max, limits.min, 1]
    assert values(table["some"]) == [None, lowest, limits.max]
    assert reasons == ()


def test_64_bit_ids_without_a_sign_are_exact(tmp_path: Path) -> None:
    kinds = {"object_id": pa.uint64(), "small": pa.uint64(), "large": pa.uint64()}
    rows = [
        {"object_id": U64.max, "small": I64.max, "large": U64.max - 1},
        {"object_id": 0, "small": None, "large": None},
        {"object_id": 2**63, "small": 0, "large": 5},
    ]
    table, _ = write(tmp_path, kinds, rows, {"object_id"})
    assert table["object_id"].dtype == np.uint64
    assert values(table["object_id"]) == [U64.max, 0, 2**63]
    assert values(table["small"]) == [I64.max, None, 0]
    assert values(table["large"].astype(str)) == [str(U64.max - 1), None, "5"]  # FITS has no such number beside a null


def test_every_kind_of_column_comes_back(tmp_path: Path) -> None:
    kinds = {
        "sure": pa.bool_(), "perhaps": pa.bool_(), "single": pa.float32(), "double": pa.float64(), "text": pa.string(),
        "pair": pa.list_(pa.int32(), 2), "grid": pa.list_(pa.list_(pa.float32(), 3), 2), "day": pa.date32(),
        "when": pa.timestamp("us"), "many": pa.list_(pa.float64()), "raw": pa.binary(),
        "set": pa.struct([("a", pa.int8())]), "empty": pa.list_(pa.int32(), 0),
    }  # fmt: skip
    full = {
        "sure": True, "perhaps": False, "single": 1.5, "double": -2.5, "text": "NGC 1275", "pair": [1, 2],
        "grid": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "day": datetime.date(2026, 2, 1),
        "when": datetime.datetime(2026, 2, 1, 12, 30), "many": [0.5, None], "raw": b"\xff",
        "set": {"a": 1}, "empty": [],
    }  # fmt: skip
    table, reasons = write(
        tmp_path, kinds, [{"sure": False}, full, {**full, "sure": True, "pair": [3, None]}], {"sure"}
    )
    assert reasons == ()
    assert values(table["sure"]) == [False, True, True]
    assert values(table["perhaps"]) == [None, 0, 0]
    assert values(table["single"]) == [None, 1.5, 1.5]
    assert values(table["pair"]) == [[None, None], [1, 2], [3, None]]
    assert values(table["grid"])[1:] == [[[1, 2, 3], [4, 5, 6]]] * 2
    assert np.ma.getmaskarray(table["grid"])[0].all()
    texts = {name: values(table[name].astype(str))[1] for name in ("text", "day", "when", "many", "raw", "set")}
    assert texts == {
        "text": "NGC 1275", "day": "2026-02-01", "when": "2026-02-01T12:30:00.000000", "many": "[0.5, null]",
        "raw": "ff", "set": '{"a": 1}',
    }  # fmt: skip
    assert np.ma.getmaskarray(table["text"]).tolist() == [True, False, False]
    header = fits.getheader(tmp_path / "t.fits", 1)
    assert header["TCOMM2"].endswith("(0 false, 1 true)")
    assert header["TDIM7"] == "(3,2)"


def test_what_a_cell_loses_is_told_and_costs_the_cell(tmp_path: Path) -> None:
    kinds = {"name": pa.string(), "n": pa.int32(), "largeur (µm)": pa.float64(), "largeur__m_": pa.float64()}
    rows = [
        {"name": "Sérsic\n", "n": -(2**31), "largeur (µm)": 1.0, "largeur__m_": 2.0},
        {"name": "x" * 5000, "n": 7, "largeur (µm)": 3.0},
        {"name": "plain"},
    ]
    table, reasons = write(tmp_path, kinds, rows, set())
    first, second, third = values(table["name"].astype(str))
    assert first == "S\\xe9rsic\\n"
    assert second == "x" * 1021 + "..."
    assert third == "plain"
    assert values(table["n"]) == [None, 7, None]
    assert table.colnames[2:] == ["largeur___m_", "largeur__m_"]
    assert reasons == (
        "FITS: column name: 1 text(s) that are not printable ASCII are written out with backslashes",
        "FITS: column name: 1 text(s) too long for FITS end in ...",
        "FITS: column n: 1 value(s) equal the number that FITS has for null here, and read as missing",
        "FITS: column 'largeur (µm)' is named largeur___m_",
    )


def test_names_in_fits_are_plain_and_different_in_any_case() -> None:
    assert fits_names(["mag", "mag r", "mag-r", "MAG_R", "é", ""]) == {
        "mag": "mag", "mag r": "mag_r_2", "mag-r": "mag_r_3", "MAG_R": "MAG_R", "é": "e", "": "unnamed",
    }  # fmt: skip


def test_astropy_finds_units_descriptions_and_the_coordinates(catalog, tmp_path: Path) -> None:
    schema, make = catalog
    parts = [make(5), make(3, "b/22", 7).append_column("mag_auto", pa.array([20.5, None, 21.0]))]
    assert write_fits(lambda: iter(parts), schema, tmp_path / "c.fits") == ()
    table = Table.read(tmp_path / "c.fits")
    assert table.colnames == schema.names
    assert table["object_id"].tolist() == [*(2**62 + i for i in range(5)), 7, 8, 9]
    assert table["tile"].astype(str).tolist() == ["a"] * 5 + ["b/22"] * 3
    assert table["mag_auto"].unit == "mag"
    assert table["bpd_glow"].unit == "bit"
    assert table["flags"].dtype == np.uint32
    assert table["is_primary"].dtype == bool
    assert table["anomaly_rank"].mask.all()
    ra = [value for part in parts for value in part["ra"].to_pylist()]
    assert SkyCoord.guess_from_table(table).ra.deg.tolist() == ra
    with fits.open(tmp_path / "c.fits") as file:
        file.verify("exception")
        header = file["GALFLOW"].header
        number = schema.names.index("ra") + 1
        assert [header[f"{key}{number}"] for key in ("TTYPE", "TUNIT", "TUCD", "TCOMM")] == [
            "ra", "deg", "pos.eq.ra;meta.main", "right ascension (ICRS)",
        ]  # fmt: skip
        flags = schema.names.index("flags") + 1
        assert header[f"TCOMM{flags}"] == schema.field("flags").metadata[b"description"].decode()
    assert (tmp_path / "c.fits").stat().st_size % 2880 == 0


def test_the_bytes_are_those_that_astropy_would_write(tmp_path: Path) -> None:
    columns = {"a": np.array([1, -2, 3], np.int32), "b": np.array([0.5, np.nan, 2]), "c": np.array([b"xy", b"", b"z"])}
    Table(columns).write(tmp_path / "astropy.fits")
    schema = pa.schema([pa.field("a", pa.int32(), False), pa.field("b", pa.float64()), pa.field("c", pa.string())])
    rows = pa.table({"a": [1, -2, 3], "b": [0.5, None, 2.0], "c": ["xy", None, "z"]}, schema=schema)
    write_fits(lambda: [rows], schema, tmp_path / "ours.fits")
    ours, theirs = (fits.open(tmp_path / f"{name}.fits") for name in ("ours", "astropy"))
    with ours, theirs:
        assert ours[1].data.tobytes() == theirs[1].data.tobytes()


def test_no_rows_are_a_table_too(catalog, tmp_path: Path) -> None:
    schema, make = catalog
    write_fits(lambda: [make(0)], schema, tmp_path / "none.fits")
    assert Table.read(tmp_path / "none.fits").colnames == schema.names
    write_fits(list, schema, tmp_path / "nothing.fits")
    assert len(Table.read(tmp_path / "nothing.fits")) == 0


def test_widths_of_parts_are_merged(catalog) -> None:
    schema, make = catalog
    one, other = (text_widths(conform(make(2, tile), schema)) for tile in ("long tile", "é"))
    assert (one["tile"], other["tile"], one["cutout"]) == (9, 4, 1)
    assert merged_widths(one, other)["tile"] == merged_widths(other, one)["tile"] == 9
    assert set(one) == {field.name for field in schema if field.type == pa.string()}


def test_rows_that_do_not_come_leave_no_file(catalog, tmp_path: Path) -> None:
    schema, make = catalog
    path = tmp_path / "c.fits"
    widths = text_widths(conform(make(2), schema))
    with (
        pytest.raises(DataError, match=r"c\.fits was begun for 5 rows and got 2; expected as many as its header says"),
        FitsTableWriter(path, schema, 5, widths) as writer,
    ):
        writer.add(make(2))
    assert not path.exists()
    bad = make(2).append_column("bpd_glow", pa.array([np.nan, 1.0]))
    with pytest.raises(ModelError, match="bpd_glow passes off 1"):
        write_fits(lambda: [bad], schema, path)
    assert not path.exists()
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="exists already; nothing is overwritten"):
        write_fits(lambda: [make(2)], schema, path)
    assert path.read_bytes() == b"mine"


def test_numbers_that_the_widths_did_not_tell_of_are_named(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.uint64())])
    with (
        pytest.raises(DataError, match="column id holds values that its FITS format 1K does not"),
        FitsTableWriter(tmp_path / "c.fits", schema, 1, {}) as writer,
    ):
        writer.add(pa.table({"id": [2**64 - 1]}, schema=schema))


@pytest.mark.full
def test_more_columns_than_fits_numbers_cost_those_beyond(tmp_path: Path) -> None:
    schema = pa.schema([(f"c{i}", pa.int16()) for i in range(1001)])
    rows = pa.table({name: [1] for name in schema.names}, schema=schema)
    reasons = write_fits(lambda: [rows], schema, tmp_path / "wide.fits")
    assert reasons == ("FITS: holds 999 columns at most; left out: c999, c1000",)
    with fits.open(tmp_path / "wide.fits") as file:
        assert file[1].header["TFIELDS"] == 999
