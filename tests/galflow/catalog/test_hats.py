"""HATS with a stand-in for its pixels where the package is absent, and read by the package where it is there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from galflow.catalog.hats import (
    HATS_MAX_ORDER,
    HATS_ORDER,
    Margin,
    Partition,
    PixelCounts,
    Spill,
    write_hats,
    write_pixels,
)
from galflow.catalog.parquet import read_catalog, schema_of
from galflow.errors import DataError, SpecError, StoreError


def mock_spatial_index(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """A mock of hats' HEALPix: 12 strips of right ascension, each halved in ra and dec down to order 29."""
    x = ((ra % 30) / 30 * 2**HATS_ORDER).astype(np.int64)
    y = ((dec + 90) / 180.001 * 2**HATS_ORDER).astype(np.int64)
    index = np.zeros(len(ra), np.int64)
    for bit in range(HATS_ORDER):
        index |= ((x >> bit) & 1) << (2 * bit) | ((y >> bit) & 1) << (2 * bit + 1)
    return index + ((ra // 30).astype(np.int64) << (2 * HATS_ORDER))


@pytest.fixture
def written(catalog, tmp_path: Path) -> Callable[..., tuple[list[Path], int]]:
    """Writes tables with the mock, and returns the files by name and how many rows were left out."""
    schema, _ = catalog

    def write(tables: list[pa.Table], rows_per_pixel: int) -> tuple[list[Path], int]:
        (tmp_path / "scratch").mkdir()
        root = tmp_path / "out"
        done = write_pixels(
            lambda: iter(tables), schema, mock_spatial_index, lambda o, p: root / f"{o:02}/{p}.parquet",
            rows_per_pixel, tmp_path / "scratch",
        )  # fmt: skip
        files = sorted(root.rglob("*.parquet"))
        assert [(int(f.parent.name), int(f.stem)) for f in files] == sorted(done.parts, key=lambda p: (p[0], str(p[1])))
        assert done.rows == sum(read_catalog(f).num_rows for f in files)
        assert list((tmp_path / "scratch").iterdir()) == []
        return files, done.without_position

    return write


def test_every_row_with_a_position_is_in_the_file_of_its_pixel_once(catalog, written) -> None:
    schema, make = catalog
    tables = [make(50, tile, 1000 * i) for i, tile in enumerate("abc", 1)]
    missing = tables[1].set_column(3, "dec", pa.array([*[None] * 2, *tables[1]["dec"].to_pylist()[2:]], pa.float64()))
    beyond = tables[2].set_column(3, "dec", pa.array([91.0, *tables[2]["dec"].to_pylist()[1:]]))
    files, left_out = written([tables[0], missing, beyond, make(0)], 20)
    assert left_out == 3
    assert len(files) > 150 / 20
    found = []
    for file in files:
        part = read_catalog(file)
        index = part["_healpix_29"].to_numpy()
        assert len(part) <= 20
        assert (np.diff(index) >= 0).all()
        np.testing.assert_array_equal(index, mock_spatial_index(part["ra"].to_numpy(), part["dec"].to_numpy()))
        assert set(index >> 2 * (HATS_ORDER - int(file.parent.name))) == {int(file.stem)}
        found += part["object_id"].to_pylist()
        assert schema_of(file).names == [*schema.names, "_healpix_29"]
    expected = {1000 * i + n for i in (1, 2, 3) for n in range(50)} - {2000, 2001, 3000}
    assert sorted(found) == sorted(expected)


def test_rows_at_one_place_keep_their_order_and_may_fill_the_finest_pixel(catalog, written) -> None:
    _, make = catalog

    def heap(first: int) -> pa.Table:
        table = make(30, "a", first)
        table = table.set_column(2, "ra", pa.array([10.0] * 30))
        return table.set_column(3, "dec", pa.array([20.0] * 30))

    (file,), _ = written([heap(0), heap(30)], 20)
    assert file.parent.name == str(HATS_MAX_ORDER)
    assert read_catalog(file)["object_id"].to_pylist() == list(range(60))


def test_the_partition_is_the_coarsest_that_holds_the_limit() -> None:
    rng = np.random.default_rng(2)
    crowded = rng.integers(0, 4**HATS_ORDER >> 8, 3000)  # within one pixel of order 4
    sparse = rng.integers(0, 12 * 4**HATS_ORDER, 500)
    index = np.concatenate([crowded, sparse])
    counted = PixelCounts()
    counted.add(crowded)
    counted.add(sparse)
    assert counted.counts.sum() == len(index)
    partition = Partition.choose(counted, 100)
    files = partition.of(index)
    sizes = np.bincount(files, minlength=len(partition.parts))
    assert sizes.max() <= 100
    assert sizes.min() > 0
    for number, (order, pixel) in enumerate(partition.parts):
        inside = index >> (2 * (HATS_ORDER - order)) == pixel
        np.testing.assert_array_equal(files[inside], number)
        if order:  # its parent would be too full
            assert (index >> (2 * (HATS_ORDER - order + 1)) == pixel >> 2).sum() > 100
    with pytest.raises(DataError, match="hold other rows the second time"):
        Partition(((4, 3), (5, 16))).of(np.array([3 << 50, 11 * 4**HATS_ORDER]))


def test_rows_put_aside_come_back_in_their_order(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("n", pa.int64(), nullable=False, metadata={"unit": "pix"}), ("t", pa.string())])
    spill = Spill(tmp_path, schema)
    for part, numbers in ((0, [1, 2]), (3, [9]), (0, [3])):
        spill.add(part, pa.table({"n": numbers, "t": [str(n) for n in numbers]}, schema=schema))
    assert spill.take(0).to_pylist() == [{"n": n, "t": str(n)} for n in (1, 2, 3)]
    assert [path.name for path in tmp_path.iterdir()] == ["3.arrows"]


def test_without_any_position_there_is_nothing_to_write(catalog, written) -> None:
    _, make = catalog
    with pytest.raises(DataError, match="none of 2 rows has a position on the sky"):
        written([make(2).set_column(2, "ra", pa.nulls(2, pa.float64()))], 10)


def test_the_margin_holds_the_rows_beyond_each_border_once(catalog, tmp_path: Path) -> None:
    """The mock's cells of order 6, in which the eight around a cell are found by its corners' places."""
    schema, make = catalog
    shift = 2 * (HATS_ORDER - 6)

    def neighbours(index: np.ndarray) -> np.ndarray:
        cell, base = index >> shift, index >> 2 * HATS_ORDER
        x, y = (sum(((cell >> 2 * b + axis) & 1) << b for b in range(6)) for axis in (0, 1))
        found = []
        for dx, dy in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            nx, ny = x + dx, y + dy
            inside = (nx >= 0) & (nx < 64) & (ny >= 0) & (ny < 64)
            code = sum(((nx >> b) & 1) << 2 * b | ((ny >> b) & 1) << 2 * b + 1 for b in range(6))
            found.append(np.where(inside, (base << 2 * HATS_ORDER) + (code << shift), -1))
        return np.stack(found, axis=1)

    rng = np.random.default_rng(8)
    tables = [make(300, tile, 1000 * i) for i, tile in enumerate("ab")]
    tables = [
        t.set_column(2, "ra", pa.array(rng.uniform(0, 60, 300))).set_column(
            3, "dec", pa.array(rng.uniform(-60, 60, 300))
        )
        for t in tables
    ]
    (tmp_path / "scratch").mkdir()
    places = {kind: lambda o, p, kind=kind: tmp_path / kind / f"{o}-{p}.parquet" for kind in ("main", "margin")}
    done = write_pixels(
        lambda: iter(tables), schema, mock_spatial_index, places["main"], 40, tmp_path / "scratch",
        Margin(places["margin"], neighbours),
    )  # fmt: skip
    assert list((tmp_path / "scratch").iterdir()) == []
    whole = pa.concat_tables(tables)
    index = mock_spatial_index(whole["ra"].to_numpy(), whole["dec"].to_numpy())
    around = neighbours(index)
    total = 0
    for order, pixel in done.parts:
        cut = 2 * (HATS_ORDER - order)
        near = ((around >> cut == pixel) & (around >= 0)).any(1) & (index >> cut != pixel)
        path = places["margin"](order, pixel)
        assert path.exists() == near.any() == ((order, pixel) in done.margin_parts)
        if near.any():
            found = read_catalog(path)
            assert sorted(found["object_id"].to_pylist()) == sorted(whole["object_id"].to_numpy()[near])
            assert (np.diff(found["_healpix_29"].to_numpy()) >= 0).all()
            assert schema_of(path) == schema_of(places["main"](order, pixel))
            total += len(found)
    assert total == done.margin_rows > 0


def test_without_the_package_it_is_said_what_to_install(
    catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema, make = catalog
    monkeypatch.setitem(sys.modules, "hats.io", None)
    with pytest.raises(SpecError, match=r"install galflow\[hats\]"):
        write_hats(lambda: [make(2)], schema, tmp_path / "hats")
    assert list(tmp_path.iterdir()) == []


def test_the_catalogue_is_read_by_hats(catalog, tmp_path: Path) -> None:
    hats = pytest.importorskip("hats", reason="the extra galflow[hats] is not installed")
    schema, make = catalog
    tables = [make(120, "a", 0), make(80, "b", 500)]
    tables[1] = tables[1].set_column(2, "ra", pa.array([None, *tables[1]["ra"].to_pylist()[1:]], pa.float64()))
    assert write_hats(lambda: iter(tables), schema, tmp_path / "anomalies", rows_per_pixel=40) == 1
    catalogue = hats.read_hats(tmp_path / "anomalies")
    assert catalogue.catalog_info.total_rows == 199
    files = sorted((tmp_path / "anomalies" / "dataset").rglob("Npix=*.parquet"))
    assert len(files) == len(catalogue.get_healpix_pixels()) > 1
    parts = [read_catalog(f) for f in files]
    assert max(len(p) for p in parts) <= 40
    assert sorted(i for p in parts for i in p["object_id"].to_pylist()) == [*range(120), *range(501, 580)]
    assert "_healpix_29" in catalogue.schema.names
    around = catalogue.filter_by_cone(150.0, 2.0, 600.0)
    assert 0 < len(around.get_healpix_pixels()) <= len(files)
    with pytest.raises(StoreError, match="exists already"):
        write_hats(lambda: tables, schema, tmp_path / "anomalies")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["anomalies", "anomalies_margin_10arcsec"]
    margin = hats.read_hats(tmp_path / "anomalies_margin_10arcsec")
    assert len(margin.get_healpix_pixels()) > 1
    assert (margin.catalog_info.catalog_type, margin.catalog_info.margin_threshold) == ("margin", 10.0)
    assert margin.catalog_info.primary_catalog == "anomalies"
    write_hats(lambda: iter(tables), schema, tmp_path / "one")  # whose only pixel has no neighbour
    empty = hats.read_hats(tmp_path / "one_margin_10arcsec")
    assert (len(empty.get_healpix_pixels()), empty.schema.names) == (0, catalogue.schema.names)


MEASURE = """
import sys, tempfile
from pathlib import Path
import numpy as np, pyarrow as pa
from galflow.catalog.fits_table import write_fits
from galflow.catalog.hats import write_pixels
from galflow.catalog.schema import catalog_schema

n, count = 50_000, int(sys.argv[1])
schema = catalog_schema(["s"], [], pa.schema([("name", pa.string())]), pa.int64(), False)
ids = np.arange(n)
texts = {name: ["text"] * n for name in ("survey", "release", "tile", "outcome", "run_id", "name")}
table = pa.table({"object_id": ids, "id_in_tile": ids, "row": ids, **texts, "is_primary": [True] * n,
                  "flags": pa.array([0] * n, pa.uint32())})

def tables():
    for i in range(count):
        ra = np.random.default_rng(i).uniform(0, 360, n)
        yield table.append_column("ra", pa.array(ra)).append_column("dec", pa.array(ra / 4 - 45))

def mock_index(ra, dec):
    return (ra / 360 * 12 * 4**29).astype(np.int64)

with tempfile.TemporaryDirectory() as folder:
    write_fits(tables, schema, Path(folder, "c.fits"))
    Path(folder, "scratch").mkdir()
    write_pixels(tables, schema, mock_index, lambda o, p: Path(folder, f"{o}-{p}"), 60_000, Path(folder, "scratch"))
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 1024)
"""


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_of_fits_and_hats_does_not_grow_with_the_number_of_tables(tmp_path: Path) -> None:
    """40 tables are nearly 200 MB in memory."""

    def start(tables: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", MEASURE, str(tables)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)

    with start(40) as many, start(4) as few:
        peaks = [float(process.communicate()[0]) for process in (many, few)]
    assert peaks[0] - peaks[1] < 80
