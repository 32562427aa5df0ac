"""VOTable files: astropy reads what was written, of every kind of column and in any number of pieces."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import votable
from astropy.table import Table

from galflow.catalog.schema import catalog_schema
from galflow.catalog.votable_file import write_votable
from galflow.errors import StoreError

TEXT = ["a<b & c>d", None, "K\u00f6ln \u4e2d\n2", "bell\x07"]
READ = ["a<b & c>d", "", "K\u00f6ln \u4e2d\n2", "bell\ufffd"]


def columns(n: int) -> dict[str, pa.Array]:
    """Of every kind that a survey may carry."""
    floats = [0.1, None, 1e-300, float("inf")]
    arrays = [[0.5, None, float("nan")], None, [1.0, 2.0, 3.0], [1e10, -1e-10, 0.0]]
    return {
        "mag": pa.array(floats[:n]),
        "narrow": pa.array([0.1, None, 3.4e38, -0.0][:n], pa.float32()),
        "count": pa.array([-(2**63), None, 2**63 - 1, 0][:n], pa.int64()),
        "large": pa.array([2**64 - 1, None, 0, 7][:n], pa.uint64()),
        "small": pa.array([2**62, None, 0, 7][:n], pa.uint64()),
        "true": pa.array([True, None, False, True][:n]),
        "text": pa.array(TEXT[:n]),
        "aper": pa.array(arrays[:n], pa.list_(pa.float64(), 3)),
        "bands": pa.array([[1, None], None, [3, 4], [5, 6]][:n], pa.list_(pa.int32(), 2)),
        "some": pa.array([[1, 2], None, [], [3]][:n], pa.list_(pa.int64())),
        "day": pa.array([0, None, 1, 2][:n], pa.date32()),
    }


def made(catalog, number: int, n: int) -> tuple[pa.Schema, pa.Table]:
    _, make = catalog
    carried = pa.table(columns(n))
    whole = make(n, "a", 2**62 + 10 * number).drop_columns(["wgan_anomaly"])
    for name in carried.column_names:
        whole = whole.append_column(name, carried.column(name))
    said = {"mag": {"unit": "mag", "ucd": "phot.mag", "description": "Kron < total"}}
    fields = [field.with_metadata(said.get(field.name)) for field in carried.schema]
    return catalog_schema([], [], pa.schema(fields), pa.int64(), False), whole


def test_astropy_reads_what_was_written(catalog, tmp_path: Path) -> None:
    schema, first = made(catalog, 0, 4)
    _, second = made(catalog, 1, 2)
    path = tmp_path / "c.vot"
    write_votable(partial(iter, [first, second]), schema, path, "anomalies")
    table = Table.read(path)
    assert table["object_id"].dtype == np.int64
    assert list(table["object_id"]) == [2**62 + i for i in range(4)] + [2**62 + 10, 2**62 + 11]
    np.testing.assert_array_equal(table["ra"], pa.concat_tables([first, second])["ra"].to_numpy())
    assert (str(table["mag"].unit), table["mag"].meta["ucd"], table["mag"].description) == (
        "mag",
        "phot.mag",
        "Kron < total",
    )
    rows = table[:4]
    for name in ("mag", "narrow", "count", "small", "true"):
        assert list(np.ma.getmaskarray(rows[name])) == [False, True, False, False], name
        kept = [value for value in first[name].to_pylist() if value is not None]
        assert [value.item() for value in np.asarray(rows[name])[[0, 2, 3]]] == kept, name
    assert list(rows["large"]) == [str(2**64 - 1), "", "0", "7"]
    assert list(rows["text"]) == READ
    np.testing.assert_array_equal(np.ma.filled(rows["aper"][0], np.nan), [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(np.ma.filled(rows["aper"][2:], np.nan), [[1, 2, 3], [1e10, -1e-10, 0]])
    np.testing.assert_array_equal(np.ma.filled(rows["bands"][[0, 3]], np.nan), [[1, np.nan], [5, 6]])
    assert list(rows["some"]) == ["[1, 2]", "", "[]", "[3]"]
    assert list(rows["day"]) == ["1970-01-01", "", "1970-01-02", "1970-01-03"]
    document = votable.parse(path, verify="exception")
    assert document.get_first_table().get_field_by_id("ra").ref == "icrs"


def test_nothing_is_written_over_and_no_row_is_a_table_too(catalog, tmp_path: Path) -> None:
    schema, table = made(catalog, 0, 1)
    path = tmp_path / "c.vot"
    write_votable(partial(iter, [table.slice(0, 0)]), schema, path, "anomalies")
    assert len(Table.read(path)) == 0
    with pytest.raises(StoreError, match="exists already"):
        write_votable(partial(iter, [table]), schema, path, "anomalies")
