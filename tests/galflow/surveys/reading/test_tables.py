import gzip
import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.table_metadata import ROLE, reasons_of, without_reasons
from galflow.surveys.reading.tables import read_catalog, rows_inside, with_positions

BIG = [2**53 + 1, 2**63 - 1, 7]
SKY = {"ra_deg": [10.0, 20.0, 30.0], "dec_deg": [-1.0, 0.0, 1.0]}


def write(path, columns, kind):
    """The columns as a file of that kind; its path."""
    path = path / f"catalog.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table(columns), path)
    elif kind.startswith("csv"):
        rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        content = ("\n".join(rows) + "\n").encode()
        path.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    else:
        fits.BinTableHDU.from_columns(
            [fits.Column(name, array=np.array(v), format=fits_format(np.array(v))) for name, v in columns.items()]
        ).writeto(path)
    return str(path)


def fits_format(values):
    return {"i": "K", "f": "D", "b": "L", "U": f"{values.dtype.itemsize // 4}A"}[values.dtype.kind]


@pytest.mark.parametrize("kind", ["fits", "csv", "csv.gz", "parquet"])
def test_ids_beyond_a_doubles_reach_stay_exact(tmp_path, kind):
    table = read_catalog(write(tmp_path, {"object_id": BIG, **SKY, "mag": [20.5, 21.5, 22.5]}, kind), {})
    assert table["object_id"].to_pylist() == BIG
    assert table["object_id"].type == pa.int64()
    assert table.column_names == ["object_id", "ra_deg", "dec_deg", "mag"]
    assert table["ra_deg"].to_pylist() == SKY["ra_deg"]


@pytest.mark.parametrize("kind", ["fits", "csv", "parquet"])
def test_unsigned_ids_stay_exact(tmp_path, kind):
    ids = np.array([2**64 - 1, 2**63 + 1, 3], dtype=np.uint64)
    if kind == "fits":
        path = str(tmp_path / "c.fits")
        column = fits.Column("object_id", array=ids, format="K", bzero=2**63)
        others = [fits.Column(name, array=np.array(values), format="D") for name, values in SKY.items()]
        fits.BinTableHDU.from_columns([column, *others]).writeto(path)
        assert fits.getheader(path, 1)["TZERO1"] == 2**63
    else:
        path = write(tmp_path, {"object_id": ids, **SKY}, kind)
    table = read_catalog(path, {})
    assert table["object_id"].type == pa.uint64()
    assert table["object_id"].to_pylist() == [2**64 - 1, 2**63 + 1, 3]


@pytest.mark.parametrize(
    ("ids", "kind", "text"),
    [
        ([1.0, 2.5, 3.0], "fits", "'object_id' are floating-point .*such as 2.5"),
        ([1.0, 2.0, 2.0**53 + 2], "parquet", "floating-point .double. and not all whole numbers below 2.53"),
        ([1.0, 2.5, 3.0], "csv", "such as 2.5; a float does not hold"),
        (["1e300", "2", "3"], "csv", "such as 1e.300"),
        ([True, False, True], "parquet", "of type bool; expected integers of up to 64 bits or text"),
    ],
)
def test_ids_that_are_no_integers_are_refused(tmp_path, ids, kind, text):
    with pytest.raises(SpecError, match=text):
        read_catalog(write(tmp_path, {"object_id": ids, **SKY}, kind), {})


@pytest.mark.parametrize("kind", ["fits", "parquet", "csv"])
def test_whole_numbers_stored_as_floats_are_ids(tmp_path, kind):
    table = read_catalog(write(tmp_path, {"object_id": [-7.0, 2.0**53, 3.0], **SKY}, kind), {})
    assert table["object_id"].type == pa.int64()
    assert table["object_id"].to_pylist() == [-7, 2**53, 3]
    assert "source_name" not in table.column_names


@pytest.mark.parametrize("kind", ["fits", "parquet", "csv"])
def test_text_ids_are_hashed_and_kept(tmp_path, kind):
    names = ["NGC 224", "M31x", "J0042+41"]
    table = read_catalog(write(tmp_path, {"name": names, **SKY}, kind), {"object_id": "name"})
    expected = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 2**63 for name in names]
    assert table["object_id"].to_pylist() == expected
    assert table["object_id"].type == pa.int64()
    assert table["source_name"].to_pylist() == names
    assert table.column_names == ["object_id", "source_name", "ra_deg", "dec_deg"]
    assert reasons_of(table) == []


def test_rows_without_an_id_are_left_out_with_the_reason_and_repeated_ones_are_kept(tmp_path):
    for ids in ([1, None, 3], [1.0, None, 3.0]):
        table = read_catalog(write(tmp_path, {"object_id": pa.array(ids), **SKY}, "parquet"), {})
        assert table["object_id"].to_pylist() == [1, 3]
        assert table["ra_deg"].to_pylist() == [10.0, 30.0]
        (reason,) = reasons_of(table)
        assert "1 rows have no id in column 'object_id' and are left out, first row 1" in reason
    with pytest.raises(DataError, match="no row has an id in column 'object_id'"):
        read_catalog(write(tmp_path, {"object_id": pa.nulls(3), **SKY}, "parquet"), {})
    repeated = read_catalog(write(tmp_path, {"object_id": [5, 5, 3], **SKY}, "csv"), {})
    assert repeated["object_id"].to_pylist() == [5, 5, 3]  # cutting records the second row as DUPLICATE_ID


def test_columns_are_mapped_and_pixels_counted_from_zero(tmp_path):
    path = write(tmp_path, {"ID": [1, 2, 3], "X_IMAGE": [1.0, 2.0, 3.5], "Y_IMAGE": [4, 5, 6], "x": [0, 0, 0]}, "csv")
    table = read_catalog(path, {"object_id": "ID", "x": "X_IMAGE", "y": "Y_IMAGE"}, origin=1)
    assert table.column_names == ["object_id", "x", "y", "x_in_file"]
    assert table["x"].to_pylist() == [0.0, 1.0, 2.5]
    assert table["y"].to_pylist() == [3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"object_id": "ID"}, "no column 'ID' for object_id; it has object_id, ra_deg"),
        ({"object": "object_id"}, "names 'object'"),
        ({"x": "ra_deg", "ra_deg": "nope"}, "no column 'nope' for ra_deg"),
    ],
)
def test_columns_that_are_not_there(tmp_path, columns, text):
    path = write(tmp_path, {"object_id": [1, 2, 3], **SKY}, "csv")
    with pytest.raises(SpecError, match=text):
        read_catalog(path, columns)


def test_a_catalogue_without_positions_is_refused(tmp_path):
    with pytest.raises(SpecError, match="ra_deg and dec_deg, or x and y"):
        read_catalog(write(tmp_path, {"object_id": [1], "ra_deg": [2.0]}, "csv"), {})


@pytest.mark.parametrize("kind", ["fits", "parquet"])
def test_positions_that_are_no_numbers_are_null_and_keep_their_rows(tmp_path, kind):
    columns = {"object_id": [1, 2, 3, 4], "ra_deg": [1.0, np.nan, -99.0, 4.0], "dec_deg": [1.0, 2.0, -99.0, np.inf]}
    table = read_catalog(write(tmp_path, columns, kind), {})
    assert table["ra_deg"].to_pylist() == [1.0, None, None, None]
    assert table["dec_deg"].to_pylist() == [1.0, None, None, None]


def test_fits_columns_of_all_kinds(tmp_path):
    path = tmp_path / "c.fits"
    fits.BinTableHDU.from_columns(
        [
            fits.Column("object_id", array=np.array([1, 2]), format="J"),
            fits.Column("x", array=np.array([1.0, 2.0], dtype=np.float32), format="E"),
            fits.Column("y", array=np.array([1.0, 2.0]), format="D"),
            fits.Column("name", array=np.array(["a ", "bc"]), format="4A"),
            fits.Column("flags", array=np.array([5, -1]), format="I", null=-1),
            fits.Column("mags", array=np.arange(6.0).reshape(2, 3), format="3D"),
            fits.Column("star", array=np.array([True, False]), format="L"),
        ]
    ).writeto(path)
    table = read_catalog(str(path), {})
    assert table["name"].to_pylist() == ["a", "bc"]
    assert table["flags"].to_pylist() == [5, None]
    assert table["mags"].to_pylist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert table["star"].to_pylist() == [True, False]


def test_damaged_and_unknown_files(tmp_path):
    write(tmp_path, {"object_id": list(range(2000)), "x": [0.0] * 2000, "y": [0.0] * 2000}, "fits")
    content = (tmp_path / "catalog.fits").read_bytes()
    (tmp_path / "short.fits").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"short.fits is truncated"):
        read_catalog(str(tmp_path / "short.fits"), {})
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"bad.parquet cannot be read as parquet"):
        read_catalog(str(tmp_path / "bad.parquet"), {})
    with pytest.raises(SpecError, match=r"expected a name ending in .fits"):
        read_catalog(str(tmp_path / "catalog.docx"), {})


def test_positions_are_completed_both_ways():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [50.5, 40.5]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    pixels = pa.table({"object_id": [1, 2, 3], "x": [49.5, 0.0, None], "y": [39.5, 79.0, 3.0], "mag": [1, 2, 3]})
    both = with_positions(pixels, wcs)
    assert both.column_names == ["object_id", "ra_deg", "dec_deg", "x", "y", "mag"]
    assert both["ra_deg"][0].as_py() == pytest.approx(150.0)
    assert both["dec_deg"][1].as_py() == pytest.approx(2 + 39.5 * 0.2 / 3600, abs=1e-8)
    assert both["ra_deg"][2].as_py() is None
    back = with_positions(both.drop_columns(["x", "y"]), wcs)
    assert back["x"][0].as_py() == pytest.approx(49.5, abs=1e-6)
    assert back["x"][2].as_py() is None
    assert with_positions(pixels, None)["ra_deg"].null_count == 3
    assert rows_inside(both, (80, 100))["object_id"].to_pylist() == [1, 2]


def sky_wcs():
    """A gnomonic WCS of 0.2 arcsec pixels with its reference at pixel (49.5, 39.5), RA 150, Dec 2."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [50.5, 40.5]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    return wcs


def test_sky_positions_overrule_the_pixels_of_another_image(tmp_path):
    path = write(
        tmp_path,
        {"object_id": [1, 2], "ra_deg": [150.0, 150.0], "dec_deg": [2.0, 2.0], "x": [5000, 6000.5], "y": [7000, 1]},
        "csv",
    )
    table = read_catalog(path, {}, origin=1)
    assert table.column_names == ["object_id", "ra_deg", "dec_deg", "x_in_file", "y_in_file"]
    placed = with_positions(table, sky_wcs())
    np.testing.assert_allclose(placed["x"].to_numpy(), 49.5, atol=1e-6)
    np.testing.assert_allclose(placed["y"].to_numpy(), 39.5, atol=1e-6)
    assert placed["x_in_file"].to_pylist() == [5000.0, 6000.5]
    assert placed.column_names == ["object_id", "ra_deg", "dec_deg", "x", "y", "x_in_file", "y_in_file"]
    assert with_positions(placed, sky_wcs()).column_names == placed.column_names
    without = with_positions(table, None)
    assert without["x"].to_pylist() == [4999.0, 5999.5]
    assert ROLE not in without_reasons(table).schema.field("x_in_file").metadata


def test_named_pixels_serve_rows_without_a_sky_position(tmp_path):
    columns = {"object_id": [1, 2], "ra_deg": [150.0, -999.0], "dec_deg": [2.0, -999.0], "X": [3.0, 4.0], "Y": [5, 6]}
    table = read_catalog(write(tmp_path, columns, "csv"), {"x": "X", "y": "Y"})
    placed = with_positions(table, sky_wcs())
    np.testing.assert_allclose(placed["x"].to_numpy(), [49.5, 4.0], atol=1e-6)
    np.testing.assert_allclose(placed["y"].to_numpy(), [39.5, 6.0], atol=1e-6)
    assert placed["dec_deg"][1].as_py() == pytest.approx(2 - 33.5 * 0.2 / 3600, abs=1e-7)
    assert placed["x_in_file"].to_pylist() == [3.0, 4.0]


def test_unnamed_pixels_serve_where_no_row_has_a_sky_position(tmp_path):
    columns = {"object_id": [1, 2], "ra_deg": [-99, -99], "dec_deg": [-99, -99], "x": [3.0, 4.0], "y": [5, 6]}
    placed = with_positions(read_catalog(write(tmp_path, columns, "csv"), {}), sky_wcs())
    assert placed["x"].to_pylist() == [3.0, 4.0]
    assert placed["ra_deg"].null_count == 0


def test_positions_honour_the_frame_of_the_wcs():
    wcs = sky_wcs()
    wcs.wcs.ctype = ["GLAT-TAN", "GLON-TAN"]
    wcs.wcs.crval = [30.0, 120.0]
    table = pa.table({"object_id": [1], "x": [49.5], "y": [39.5]})
    placed = with_positions(table, wcs)
    centre = SkyCoord(l=120, b=30, unit="deg", frame="galactic").icrs
    assert placed["ra_deg"][0].as_py() == pytest.approx(centre.ra.deg)
    assert placed["dec_deg"][0].as_py() == pytest.approx(centre.dec.deg)


@pytest.mark.parametrize("kind", ["fits", "csv", "parquet"])
def test_a_catalogue_without_rows(tmp_path, kind):
    columns = {"object_id": np.array([], int), "ra_deg": np.array([], float), "dec_deg": np.array([], float)}
    table = read_catalog(write(tmp_path, columns, kind), {})
    placed = with_positions(table, sky_wcs())
    assert placed.num_rows == 0
    assert placed["object_id"].type == pa.int64()
    assert placed["x"].type == placed["ra_deg"].type == pa.float64()
    assert rows_inside(placed, (10, 10)).num_rows == 0


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, 0, 1], "fits", [True, False, True]),
        (["T", "f", "yes"], "csv", [True, False, True]),
        ([True, None, False], "parquet", [True, None, False]),
        ([1.0, 0.0, np.nan], "parquet", [True, False, None]),
        (["true", "false", "true"], "csv", [True, False, True]),
    ],
)
def test_a_surveys_own_primary_flag(tmp_path, values, kind, expected):
    path = write(tmp_path, {"object_id": [1, 2, 3], **SKY, "best": values}, kind)
    table = read_catalog(path, {"is_primary": "best"})
    assert table["is_primary"].to_pylist() == expected
    assert "best" not in table.column_names


def test_a_primary_flag_that_is_none(tmp_path):
    path = write(tmp_path, {"object_id": [1, 2, 3], **SKY, "best": [1, 2, 0]}, "csv")
    table = read_catalog(path, {"is_primary": "best"})
    assert table["is_primary"].to_pylist() == [True, None, False]
    assert "1 cells of column 'best' are no booleans, such as 2" in reasons_of(table)[0]
    with pytest.raises(SpecError, match=r"holds such as .10\.0.; expected booleans"):
        read_catalog(path, {"is_primary": "ra_deg"})


def test_users_columns_keep_their_names_notes_and_places(tmp_path):
    fields = [
        pa.field("object_id", pa.int64()),
        pa.field("ra_deg", pa.float64(), metadata={"unit": "deg"}),
        pa.field("dec_deg", pa.float64(), metadata={"unit": "deg", "description": "declination"}),
        pa.field("mag r (AB)", pa.float32(), metadata={"unit": "mag", "ucd": "phot.mag;em.opt.R"}),
        pa.field("source_name", pa.string()),
    ]
    whole = pa.table([[1], [2.0], [3.0], [20.5], ["mine"]], schema=pa.schema(fields))
    pq.write_table(whole, tmp_path / "c.parquet")
    table = with_positions(read_catalog(str(tmp_path / "c.parquet"), {}), sky_wcs())
    assert table.schema.field("mag r (AB)").metadata == {b"unit": b"mag", b"ucd": b"phot.mag;em.opt.R"}
    assert table.schema.field("ra_deg").metadata == {b"unit": b"deg", b"ucd": b"pos.eq.ra"}
    assert table.schema.field("dec_deg").metadata[b"description"] == b"declination"
    assert table["source_name"].to_pylist() == ["mine"]
    as_ids = read_catalog(str(tmp_path / "c.parquet"), {"object_id": "source_name"})
    assert as_ids["source_name"].to_pylist() == ["mine"]
    assert as_ids["object_id_in_file"].to_pylist() == [1]


@pytest.mark.parametrize("kind", ["fits", "csv", "parquet"])
def test_the_first_rows_alone(tmp_path, kind):
    count = 300
    columns = {"object_id": np.arange(count), "ra_deg": np.full(count, 1.5), "dec_deg": np.full(count, 1.5)}
    table = read_catalog(write(tmp_path, columns, kind), {}, head=3)
    assert table["object_id"].to_pylist() == [0, 1, 2]
    assert read_catalog(write(tmp_path, {k: v[:2] for k, v in columns.items()}, "csv"), {}, head=50).num_rows == 2


def test_a_wcs_that_cannot_be_used_is_a_data_error():
    wcs = sky_wcs()
    wcs.wcs.cdelt = [0.0, 0.0]
    with pytest.raises(DataError, match="the WCS gives no positions"):
        with_positions(pa.table({"object_id": [1], "ra_deg": [150.0], "dec_deg": [2.0]}), wcs)
