from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pytest
from astropy.table import Table

from galflow.catalog.columns import concat_parts
from galflow.catalog.write import read_catalog, to_parquet_bytes, write_fits, write_hats
from galflow.errors import DataError, IntegrityError, ModelError, SpecError, StoreError


@pytest.fixture
def table(make_part) -> pa.Table:
    return concat_parts([make_part("a", 4, score="wgan_anomaly"), make_part("b", 3, score="vae_elbo")])


def test_parquet_round_trip_and_the_same_bytes_however_chunked(table, tmp_path):
    data = to_parquet_bytes(table)
    assert read_catalog(data).equals(table)
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2, 1), table.slice(3)])
    assert chunked["row"].num_chunks == 3
    assert to_parquet_bytes(chunked) == data
    coded = table.set_column(table.column_names.index("tile"), "tile", table["tile"].dictionary_encode())
    assert to_parquet_bytes(coded) == data
    assert to_parquet_bytes(table.slice(1)) != data
    folder = tmp_path / "Norder=3"
    folder.mkdir()
    (folder / "part.parquet").write_bytes(data)
    assert read_catalog(folder / "part.parquet").equals(table)


def test_damaged_or_absent_catalogues_are_named(table, tmp_path):
    with pytest.raises(IntegrityError, match="the bytes given cannot be read as Parquet"):
        read_catalog(to_parquet_bytes(table)[:-100])
    with pytest.raises(StoreError, match=r"no catalogue at .*none\.parquet"):
        read_catalog(tmp_path / "none.parquet")


@pytest.mark.parametrize("id_type", [pa.int64(), pa.uint64()])
def test_fits_keeps_ids_exact_and_nulls_masked(make_part, tmp_path, id_type):
    table = concat_parts([make_part("a", 4, score="s", id_type=id_type), make_part("b/22", 3, id_type=id_type)])
    table = table.append_column("n_exposures", pa.array([999999, None, 3, 4, 5, 6, None], pa.int32()))
    table = table.append_column("is_star", pa.array([True, None, False, True, True, True, True]))
    table = table.append_column("nothing", pa.nulls(7))
    write_fits(table, tmp_path / "c.fits")
    back = Table.read(tmp_path / "c.fits")
    assert back.colnames == table.column_names
    assert [int(i) for i in back["object_id"]] == table["object_id"].to_pylist()
    assert back["object_id"].dtype.kind == np.dtype(id_type.to_pandas_dtype()).kind
    assert [t.strip() for t in back["tile"].astype(str)] == table["tile"].to_pylist()
    np.testing.assert_array_equal(back["ra_deg"], table["ra_deg"].to_numpy())
    for name in ("s", "n_exposures", "is_star", "nothing"):
        expected = table[name].is_null().to_numpy()
        np.testing.assert_array_equal(np.ma.getmaskarray(back[name]), expected, err_msg=name)
        known = [bool(v) if name == "is_star" else v for v in np.asarray(back[name])[~expected].tolist()]
        assert known == [v for v in table[name].to_pylist() if v is not None]
    assert back["flags"].dtype == np.uint32
    with pytest.raises(StoreError, match="exists already"):
        write_fits(table, tmp_path / "c.fits")


def test_what_fits_cannot_hold_is_refused(table, tmp_path):
    path = tmp_path / "c.fits"
    for name, values, said in [
        ("name", ["Sérsic"] * 7, "not ASCII"),
        ("list", [[1]] * 7, "column list is list<.*>, which no FITS column holds"),
        ("big", pa.array([2**63 + 1, None, 1, 1, 1, 1, 1], pa.uint64()), "nulls and values beyond int64"),
    ]:
        with pytest.raises(DataError, match=said):
            write_fits(table.append_column(name, pa.array(values)), path)
    assert not path.exists()


def test_no_format_takes_a_nan_for_a_score(table, tmp_path):
    bad = table.append_column("glow_typicality", pa.array([np.nan] * 7))
    with pytest.raises(ModelError, match="glow_typicality passes off 7"):
        to_parquet_bytes(bad)
    with pytest.raises(ModelError, match="glow_typicality passes off 7"):
        write_fits(bad, tmp_path / "c.fits")
    assert read_catalog(to_parquet_bytes(bad, carried=["glow_typicality"])).num_rows == 7


@pytest.mark.skipif(importlib.util.find_spec("hats") is not None, reason="the package hats is installed")
def test_hats_output_without_the_package_says_what_to_install(table, tmp_path):
    with pytest.raises(SpecError, match=r"install galflow\[hats\]"):
        write_hats(table, tmp_path / "hats")
    assert not (tmp_path / "hats").exists()


def test_hats_catalogue_is_read_by_hats(make_part, tmp_path):
    hats = pytest.importorskip("hats", reason="the extra galflow[hats] is not installed")
    table = make_part("a", 200, score="wgan_anomaly")
    write_hats(table, tmp_path / "anomalies", rows_per_pixel=40)
    catalog = hats.read_hats(tmp_path / "anomalies")
    assert catalog.catalog_info.total_rows == 200
    files = sorted((tmp_path / "anomalies" / "dataset").rglob("Npix=*.parquet"))
    assert len(files) == len(catalog.get_healpix_pixels()) > 1
    parts = [read_catalog(f) for f in files]
    assert max(len(p) for p in parts) <= 40
    assert sorted(i for p in parts for i in p["object_id"].to_pylist()) == table["object_id"].to_pylist()
    assert "_healpix_29" in catalog.schema.names
    around = catalog.filter_by_cone(150.0, 2.0, 600.0)
    assert 0 < len(around.get_healpix_pixels()) <= len(files)
    with pytest.raises(StoreError, match="exists already"):
        write_hats(table, tmp_path / "anomalies")
    with pytest.raises(DataError, match="0 of 0 rows have no position"):
        write_hats(table.slice(0, 0), tmp_path / "empty")
