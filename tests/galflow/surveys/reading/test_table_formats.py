"""Catalogues as VOTable, HDF5 and HATS, written by those who define them: the numbers, the ids, the units come back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from galflow.errors import DataError, SpecError
from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.reading.files import checksum
from galflow.surveys.reading.fits_options import FitsTilesOptions
from galflow.surveys.reading.table_files import load_table
from galflow.surveys.reading.table_metadata import reasons_of
from galflow.surveys.reading.tables import read_catalog

IDS = [2**53 + 1, 7, 9]
RA, DEC = [150.1, 150.2, 359.9], [2.0, -2.0, 0.0]
COLUMNS = {"object_id": "ID", "ra_deg": "RA", "dec_deg": "DEC"}


def table() -> Table:
    made = Table({"ID": np.array(IDS, np.int64), "RA": RA, "DEC": DEC})
    made["RA"].unit = made["DEC"].unit = "deg"
    made["flux"] = MaskedColumn([1.5, 2.5, 3.5], mask=[False, True, False], unit="nJy", description="of the whole")
    made["name"] = ["a", "été", "c"]
    made["shape"] = np.arange(6.0).reshape(3, 2)
    made["flux"].meta["ucd"] = "phot.flux"
    return made


def check(uri: str, *, masked: bool = True, described: bool = True, **how: object) -> pa.Table:
    read = read_catalog(uri, COLUMNS, **how)  # type: ignore[arg-type]
    assert read["object_id"].to_pylist() == IDS
    np.testing.assert_array_equal(read["ra_deg"].to_numpy(), RA)
    assert read["name"].to_pylist() == ["a", "été", "c"]
    assert read["shape"].to_pylist()[2] == [4.0, 5.0]
    assert read["flux"].to_pylist()[::2] == [1.5, 3.5]
    if masked:
        assert read["flux"].to_pylist()[1] is None
    if described:
        assert read.schema.field("flux").metadata[b"unit"] == b"nJy"
        assert read.schema.field("flux").metadata[b"description"] == b"of the whole"
    assert not reasons_of(read)
    assert load_table(uri, how.get("extension"), head=2).num_rows == 2  # type: ignore[arg-type]
    return read


@pytest.mark.parametrize("kind", ["tabledata", "binary", "binary2"])
def test_a_votable_of_each_serialisation(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "cat.vot"
    table().write(path, format="votable", tabledata_format=kind)
    check(str(path))
    (tmp_path / "cat.xml").write_bytes(path.read_bytes())
    check(str(tmp_path / "cat.xml"), extension=0)
    with pytest.raises(DataError, match="has no table 'other'"):
        load_table(str(path), "other")


def test_a_damaged_votable_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "cat.vot"
    table().write(path, format="votable")
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match=r"cat.vot cannot be read as VOTable \(.*fetch it again"):
        load_table(str(path))


def test_an_ecsv_with_masked_and_described_columns(tmp_path: Path) -> None:
    plain = table()
    del plain["shape"]
    plain.write(tmp_path / "cat.ecsv", format="ascii.ecsv")
    read = read_catalog(str(tmp_path / "cat.ecsv"), COLUMNS)
    assert read["object_id"].to_pylist() == IDS
    assert read["flux"].to_pylist() == [1.5, None, 3.5]
    assert read.schema.field("flux").metadata[b"unit"] == b"nJy"


def test_a_table_of_records_in_hdf5(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed (pip install 'galflow[hdf5]')")
    path = tmp_path / "cat.hdf5"
    written = table()
    written["flux"] = np.array([1.5, 2.5, 3.5])
    written["flux"].unit, written["flux"].description = "nJy", "of the whole"
    written["name"] = [b"a", "été".encode(), b"c"]
    written.write(path, path="deep/objects", serialize_meta=True)
    check(str(path), masked=False, extension="deep/objects")
    with pytest.raises(DataError, match=r"has no 'other'; it has deep. Change catalog.extension"):
        load_table(str(path), "other")


def test_columns_of_a_group_in_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed (pip install 'galflow[hdf5]')")
    path = tmp_path / "cat.h5"
    with h5py.File(path, "w") as file:
        for name in ("ID", "RA", "DEC", "shape"):
            file[name] = np.asarray(table()[name])
        file["flux"] = [1.5, 2.5, 3.5]
        file["flux"].attrs["unit"] = "nJy"
        file["name"] = ["a", "été", "c"]
        file["images"] = np.zeros((3, 16, 16))
    read = check(str(path), masked=False, described=False)
    assert "images" not in read.column_names
    assert read.schema.field("flux").metadata == {b"unit": b"nJy"}
    with h5py.File(path, "a") as file:
        file["other"] = np.zeros(7)
    read = read_catalog(str(path), COLUMNS)
    assert any("'other' is left out, it has 7 rows where others have 3" in reason for reason in reasons_of(read))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"cat.h5 cannot be read as HDF5"):
        load_table(str(path))


def test_hdf5_without_its_library_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SpecError, match=r"is HDF5, which needs h5py; install it: pip install 'galflow\[hdf5\]'"):
        load_table(str(tmp_path / "cat.h5"))


def partition(folder: Path, pixel: int, rows: slice) -> None:
    path = folder / "Norder=0" / "Dir=0" / f"Npix={pixel}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = {"_healpix_29": pa.array(range(3))[rows], "ID": pa.array(IDS)[rows], "RA": pa.array(RA)[rows]}
    pq.write_table(pa.table(part | {"DEC": pa.array(DEC)[rows], "flux": pa.array([1.5, None, 3.5])[rows]}), path)


@pytest.mark.parametrize("below", ["dataset", "cosmos/dataset", "."])
def test_a_hats_folder_is_one_catalogue(below: str, tmp_path: Path) -> None:
    root = tmp_path / "cat_hats"
    partition(root / below, 3, slice(0, 2))
    partition(root / below, 11, slice(2, 3))
    if below.startswith("cosmos"):
        partition(root / "cosmos_10arcs_margin" / "dataset", 3, slice(0, 3))
    read = read_catalog(str(root), COLUMNS)
    assert sorted(read["object_id"].to_pylist()) == sorted(IDS)
    assert "_healpix_29" not in read.column_names
    assert dict(zip(read["object_id"].to_pylist(), read["flux"].to_pylist(), strict=True))[7] is None
    assert load_table(str(root), head=1).num_rows == 1
    before = checksum(f"file://{root}")
    partition(root / below, 11, slice(1, 3))
    assert checksum(f"file://{root}") != before


def test_a_folder_that_is_no_hats_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no HATS catalogue: no file Norder=\*/Dir=\*/Npix=\*.parquet lies below"):
        load_table(str(tmp_path / "nothing"))
    for name in "ab":
        partition(tmp_path / "two" / name / "dataset", 3, slice(0, 2))
    with pytest.raises(DataError, match="several lie below it: a, b; name the folder of one"):
        load_table(str(tmp_path / "two"))


def test_a_survey_with_such_catalogues(tmp_path: Path) -> None:
    """A HATS folder for the one tile, and a VOTable for each tile."""
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CDELT1": -1e-4, "CDELT2": 1e-4})
    header["CRPIX1"] = header["CRPIX2"] = 32
    fits.PrimaryHDU(np.ones((64, 64), np.float32), header).writeto(tmp_path / "a.fits")
    placed = Table({"ID": np.array(IDS, np.int64), "RA": [150.0, 150.001, 151.0], "DEC": [0.0, 0.001, 0.0]})
    placed.write(tmp_path / "a.vot", format="votable")
    path = tmp_path / "cat_hats" / "dataset" / "Norder=0" / "Dir=0" / "Npix=6.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({name: placed[name].tolist() for name in placed.colnames}), path)
    for bands, where, ids in (({"r": "a.fits"}, "cat_hats", IDS[:2]), ({"r": "{tile}.fits"}, "{tile}.vot", IDS)):
        options = {"root": str(tmp_path), "bands": bands, "catalog": {"path": where, "columns": COLUMNS}}
        survey = FitsTiles("s", "1", FitsTilesOptions.model_validate(options))
        (tile,) = survey.tiles()
        assert survey.inspect([tile]) == []
        rows = survey.catalog(tile)
        assert rows["object_id"].to_pylist() == ids, "what HATS has elsewhere is not of this tile"
        np.testing.assert_allclose(rows["x"].to_numpy()[:2], [31, 21], atol=1e-3)
