import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from galflow.errors import DataError, SpecError
from galflow.surveys.tables import read_catalog, rows_inside, with_positions

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
    return {"i": "K", "f": "D", "U": f"{values.dtype.itemsize // 4}A"}[values.dtype.kind]


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
        ([1.0, 2.0, 3.0], "fits", "'object_id' are floating-point"),
        ([1.0, 2.0, 3.0], "parquet", "floating-point .double"),
        ([1.0, 2.5, 3.0], "csv", "such as '1.0'; text and floating-point"),
        (["1", "2", "x7"], "csv", "such as 'x7'"),
        (["J1", "J2", "J3"], "fits", "of type string; expected integers"),
        (["1", "2", "3"], "parquet", "of type string; expected integers"),
    ],
)
def test_ids_that_are_no_integers_are_refused(tmp_path, ids, kind, text):
    with pytest.raises(SpecError, match=text):
        read_catalog(write(tmp_path, {"object_id": ids, **SKY}, kind), {})


def test_missing_ids_are_data_errors_and_repeated_ones_are_kept(tmp_path):
    with pytest.raises(DataError, match="row 1 has no id"):
        read_catalog(write(tmp_path, {"object_id": pa.array([1, None, 3]), **SKY}, "parquet"), {})
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
        read_catalog(str(tmp_path / "catalog.xml"), {})


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
