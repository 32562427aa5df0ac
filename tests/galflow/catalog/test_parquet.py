from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dask
import dask.dataframe
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import votable
from astropy.table import Table

from galflow.catalog.parquet import read_catalog, schema_of, to_parquet
from galflow.catalog.schema import catalog_schema
from galflow.errors import DataError, IntegrityError, StoreError


@pytest.fixture
def folder(catalog, tmp_path: Path) -> Path:
    """Two files of one catalogue, with columns that are null in one of them, and no magnitude at all in either."""
    schema, make = catalog
    first = make(4).append_column("n_exposures", pa.array([1, 2, None, 4], pa.int32()))
    first = first.append_column("split", pa.array(["train", None, None, "reference"]))
    (tmp_path / "part-00000.parquet").write_bytes(to_parquet(first, schema))
    (tmp_path / "part-00001.parquet").write_bytes(to_parquet(make(3, "b", 7), schema))
    return tmp_path


def test_the_same_rows_give_the_same_bytes_and_the_schema_comes_back(catalog) -> None:
    schema, make = catalog
    table = make(7)
    data = to_parquet(table, schema)
    chunked = pa.concat_tables([table.slice(0, 2), table.slice(2, 1), table.slice(3)])
    assert to_parquet(chunked, schema) == data
    coded = table.set_column(table.column_names.index("tile"), "tile", table["tile"].dictionary_encode())
    assert to_parquet(coded, schema) == data
    assert schema_of(data).equals(schema, check_metadata=True)
    assert schema_of(to_parquet(table.slice(0, 0), schema)).equals(schema, check_metadata=True)
    back = read_catalog(data)
    assert back.select(table.column_names).to_pylist() == table.to_pylist()
    assert to_parquet(back, schema) == data
    with pytest.raises(DataError, match="which the catalogue's schema lacks"):
        to_parquet(table.append_column("extra", pa.array([1] * 7)), schema)


def test_ids_beyond_int64_stay_exact() -> None:
    schema = catalog_schema([], [], pa.schema([]), pa.uint64(), with_names=False)
    ids = pa.array([2**64 - 1, 2**64 - 2], pa.uint64())
    texts = {name: pa.array(["t"] * 2) for name in ("survey", "release", "tile", "outcome", "run_id")}
    rest = {"row": pa.array([0, 1]), "is_primary": pa.array([True] * 2), "flags": pa.array([0] * 2, pa.uint32())}
    data = to_parquet(pa.table({"object_id": ids, "id_in_tile": ids, **texts, **rest}), schema)
    assert pd.read_parquet(io.BytesIO(data))["object_id"].tolist() == [2**64 - 1, 2**64 - 2]


def by_pandas(folder: Path) -> Any:
    frame = pd.read_parquet(folder)
    return frame["object_id"].tolist(), frame["n_exposures"].tolist(), len(frame.columns)


def by_arrow(folder: Path) -> Any:
    table = pyarrow.dataset.dataset(folder).to_table()
    return table["object_id"].to_pylist(), table["n_exposures"].to_pylist(), table.num_columns


def by_polars(folder: Path) -> Any:
    frame = pl.read_parquet(folder)
    return frame["object_id"].to_list(), frame["n_exposures"].to_list(), frame.width


def by_duckdb(folder: Path) -> Any:
    with duckdb.connect() as connection:
        rows = connection.sql(f"SELECT * FROM '{folder}/*.parquet' ORDER BY tile, row")
        names = rows.columns
        ids, exposures = rows.project("object_id, n_exposures").fetchnumpy().values()
    return ids.tolist(), exposures.tolist(), len(names)


def by_dask(folder: Path) -> Any:
    with dask.config.set(scheduler="synchronous"):
        frame = dask.dataframe.read_parquet(folder).compute()
    return frame["object_id"].tolist(), frame["n_exposures"].tolist(), len(frame.columns)


@pytest.mark.parametrize("opened", [by_pandas, by_arrow, by_polars, by_duckdb, by_dask])
@pytest.mark.filterwarnings("ignore:.*:pandas.errors.PandasDeprecationWarning")
def test_tools_open_the_folder_as_it_is(catalog, folder: Path, opened: Callable[[Path], Any]) -> None:
    ids, exposures, columns = opened(folder)
    assert ids == [*(2**62 + i for i in range(4)), 7, 8, 9]
    assert [None if n is None or n != n else int(n) for n in exposures] == [1, 2, None, 4, None, None, None]
    assert columns == len(catalog[0])


def test_questions_in_sql_find_the_numbers(folder: Path) -> None:
    with duckdb.connect() as connection:
        (found,) = connection.sql(
            f"SELECT count(*) FROM '{folder}/*.parquet' WHERE is_primary AND wgan_anomaly > -100 AND mag_auto IS NULL"
        ).fetchall()[0]
        types = dict(
            connection.sql(f"SELECT column_name, column_type FROM (DESCRIBE FROM '{folder}/*.parquet')").fetchall()
        )
    assert found == 7
    assert types["mag_auto"] == "DOUBLE"
    assert types["flags"] == "UINTEGER"
    assert types["anomaly_rank"] == "BIGINT"


@pytest.mark.parametrize("number", [0, 1])
def test_astropy_reads_units_and_finds_the_coordinates(folder: Path, number: int) -> None:
    path = folder / f"part-0000{number}.parquet"
    table = Table.read(path, format="parquet.votable")
    written = read_catalog(path)
    assert table.colnames == written.column_names
    assert {name: str(table[name].unit) for name in ("ra", "dec", "x", "bpd_glow", "mag_auto")} == {
        "ra": "deg", "dec": "deg", "x": "pix", "bpd_glow": "bit", "mag_auto": "mag",
    }  # fmt: skip
    assert table["mag_auto"].description == "Kron"
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"
    assert table["object_id"].tolist() == written["object_id"].to_pylist()
    positions = SkyCoord.guess_from_table(table)
    np.testing.assert_array_equal(positions.ra.deg, written["ra"].to_numpy())
    np.testing.assert_array_equal(positions.dec.deg, written["dec"].to_numpy())
    assert Table.read(path, format="parquet").colnames == written.column_names


def test_astropy_reads_columns_of_which_some_cells_are_null(catalog, tmp_path: Path) -> None:
    kinds = {"star": pa.bool_(), "note": pa.string(), "raw": pa.binary(), "seen": pa.list_(pa.int32())}
    kinds |= {"n": pa.uint64(), "fluxes": pa.list_(pa.float32(), 2)}
    schema = catalog_schema([], [], pa.schema(list(kinds.items())), pa.int64(), with_names=False)
    rows: dict[str, list[Any]] = {
        "star": [True, None], "note": [None, "a"], "raw": [None, b"ab"], "seen": [[1, 2], None], "n": [None, 2],
        "fluxes": [[1.0, 2.0], [3.0, 4.0]],
    }  # fmt: skip
    table = catalog[1](2).drop_columns("wgan_anomaly")
    for name, kind in kinds.items():
        table = table.append_column(name, pa.array(rows[name], kind))
    (tmp_path / "c.parquet").write_bytes(to_parquet(table, schema))
    back = Table.read(tmp_path / "c.parquet", format="parquet.votable")
    assert back["star"].tolist() == [True, None]
    assert back["note"].tolist() == ["None", "a"]  # astropy's own way with a missing text
    assert back["seen"][0].tolist() == [1, 2]
    assert back["fluxes"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_the_votable_document_says_what_the_columns_are(catalog) -> None:
    """By the IVOA's note: data-less, the first table's fields those of the file, in its order."""
    carried = pa.schema(
        [
            pa.field("e<mag>", pa.float32(), metadata={"unit": "mag(?", "description": 'with & and "quotes"\x00'}),
            ("fluxes", pa.list_(pa.list_(pa.float32(), 3), 2)),
            ("seen", pa.list_(pa.int32())),
            ("day", pa.date32()),
        ]
    )
    schema = catalog_schema([], [], carried, pa.int64(), with_names=False)
    content = pq.read_metadata(io.BytesIO(to_parquet(catalog[1](1).drop_columns("wgan_anomaly"), schema))).metadata
    assert content[b"IVOA.VOTable-Parquet.version"] == b"1.0"
    document = content[b"IVOA.VOTable-Parquet.content"]
    fields = votable.parse_single_table(io.BytesIO(document)).fields
    assert [field.name for field in fields] == schema.names
    root = ElementTree.fromstring(document)
    assert root.find(".//{*}DATA") is None
    assert [f.attrib["name"] for f in root.iterfind(".//{*}FIELD[@ref='icrs']")] == ["ra", "dec"]
    assert [c.attrib for c in root.iterfind(".//{*}COOSYS")] == [{"ID": "icrs", "system": "ICRS"}]
    said = {f.attrib["name"]: f.attrib for f in root.iterfind(".//{*}FIELD")}
    assert (said["fluxes"]["datatype"], said["fluxes"]["arraysize"]) == ("float", "3x2")
    assert (said["seen"]["datatype"], said["seen"]["arraysize"]) == ("int", "*")
    assert (said["day"]["datatype"], said["day"]["arraysize"]) == ("unicodeChar", "*")
    assert "unit" not in said["flags"]


def test_damaged_or_absent_files_are_named(catalog, tmp_path: Path) -> None:
    schema, make = catalog
    for read in (read_catalog, schema_of):
        with pytest.raises(IntegrityError, match="the bytes given cannot be read as Parquet"):
            read(to_parquet(make(2), schema)[:-100])
        with pytest.raises(StoreError, match=r"no catalogue at .*none\.parquet"):
            read(tmp_path / "none.parquet")
