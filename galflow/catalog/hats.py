"""The catalogue as HATS: one Parquet file per HEALPix pixel, by way of files on disk that gather each pixel's rows.

Tables come one after another, twice: first the rows of each small pixel are counted and the partition is chosen, then
rows are put aside by pixel, and each pixel is sorted and written. In memory are one table and one pixel's rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.catalog.hats_margin import MARGIN_ARCSEC, MarginRows, Neighbours, healpix_neighbours
from galflow.catalog.hats_metadata import HATS_ORDER, write_columns_of, write_hats_metadata
from galflow.catalog.own_columns import Column
from galflow.catalog.parquet import to_parquet
from galflow.catalog.schema import HEALPIX_COLUMN, conform
from galflow.errors import DataError, SpecError, StoreError
from galflow.scores.part_columns import floats

HATS_ROWS_PER_PIXEL = 1_000_000
HATS_MAX_ORDER = 10
"""The finest partition, 12 square arcminutes: finer files would hold little in any survey."""
_BASE_PIXELS = 12
"""Of order 0; each splits into four of the next order."""
_HEALPIX = Column(
    HEALPIX_COLUMN, pa.int64(), "HEALPix pixel of order 29, nested (ICRS)", ucd="pos.healpix", nullable=False
).field()

Indices = npt.NDArray[np.int64]
Tables = Callable[[], Iterable[pa.Table]]
SpatialIndex = Callable[[npt.NDArray[np.float64], npt.NDArray[np.float64]], npt.ArrayLike]
"""(n,) right ascensions and declinations in degrees -> (n,) HEALPix pixels of order 29, nested."""


class PixelCounts:
    """How many rows lie in each HEALPix pixel of order ``HATS_MAX_ORDER``: 50 MB, however many rows come."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BASE_PIXELS << (2 * HATS_MAX_ORDER), np.int32)

    def add(self, index: Indices) -> None:
        """Count rows by their (n,) pixels of order 29."""
        pixels, counts = np.unique(index >> (2 * (HATS_ORDER - HATS_MAX_ORDER)), return_counts=True)
        self.counts[pixels] += counts.astype(np.int32)


@dataclass(frozen=True)
class Partition:
    """Which file each row goes to: HEALPix pixels that do not overlap, in the order of the nested numbering."""

    parts: tuple[tuple[int, int], ...]
    """HEALPix order and pixel of each file."""

    @classmethod
    def choose(cls, counted: PixelCounts, limit: int) -> Partition:
        """Each file the largest pixel that holds at most ``limit`` rows; one of the finest order may hold more."""
        by_order = [counted.counts]
        for _ in range(HATS_MAX_ORDER):
            by_order.insert(0, by_order[0].reshape(-1, 4).sum(axis=1, dtype=np.int64))
        found: list[tuple[int, int]] = []
        pixels = np.arange(_BASE_PIXELS)
        for order, counts in enumerate(by_order):
            pixels = pixels[counts[pixels] > 0]
            fits = counts[pixels] <= limit if order < HATS_MAX_ORDER else np.ones(len(pixels), bool)
            found += ((order, int(pixel)) for pixel in pixels[fits])
            pixels = (pixels[~fits, None] * 4 + np.arange(4)).ravel()
        return cls(tuple(sorted(found, key=lambda part: part[1] << (2 * (HATS_ORDER - part[0])))))

    def find(self, index: Indices) -> Indices:
        """(n,) numbers of the files for (n,) pixels of order 29; -1 for a pixel that lies in none."""
        starts, stops = (
            np.array([(pixel + more) << (2 * (HATS_ORDER - order)) for order, pixel in self.parts], np.int64)
            for more in (0, 1)
        )
        files = np.searchsorted(starts, index, side="right") - 1
        return np.where((files < 0) | (index >= stops[files]), -1, files)

    def of(self, index: Indices) -> Indices:
        """``find`` of rows that were counted. Raises DataError for a row that lies in none."""
        files = self.find(index)
        if (files < 0).any():
            raise DataError("the tables hold other rows the second time; expected the same tables each time")
        return files


class Spill:
    """Rows put aside on disk, part by part: what is added to one part comes back in the order in which it was added."""

    def __init__(self, folder: Path, schema: pa.Schema, prefix: str = "") -> None:
        self._folder = folder
        self._prefix = prefix
        self._schema = pa.schema([field.remove_metadata() for field in schema])
        self._options = pa.ipc.IpcWriteOptions(compression="zstd")

    def _path(self, part: int) -> Path:
        return self._folder / f"{self._prefix}{part}.arrows"

    def holds(self, part: int) -> bool:
        """Whether anything was put aside for it."""
        return self._path(part).exists()

    def add(self, part: int, rows: pa.Table) -> None:
        """Append rows to a part: one Arrow stream after the other in its file."""
        bare = rows.cast(self._schema)
        with (
            self._path(part).open("ab") as file,
            pa.ipc.new_stream(file, self._schema, options=self._options) as stream,
        ):
            stream.write_table(bare)

    def take(self, part: int) -> pa.Table:
        """All rows of a part, whose file is removed."""
        found = []
        with pa.OSFile(str(self._path(part))) as file:
            size = file.size()
            while file.tell() < size:
                found.append(pa.ipc.open_stream(file).read_all())
        self._path(part).unlink()
        return pa.concat_tables(found)


@dataclass(frozen=True)
class WrittenPixels:
    """What was written."""

    parts: tuple[tuple[int, int], ...]
    """HEALPix order and pixel of each file."""
    rows: int
    without_position: int
    """Rows left out: HATS has no place for them."""
    margin_parts: tuple[tuple[int, int], ...] = ()
    """Pixels that have rows beyond their border, and how many rows that are."""
    margin_rows: int = 0


@dataclass(frozen=True)
class Margin:
    """Where rows beyond each pixel's border go, and how they are found."""

    path_of: Callable[[int, int], Path]
    neighbours: Neighbours


def write_pixels(
    tables: Tables,
    schema: pa.Schema,
    spatial_index: SpatialIndex,
    path_of: Callable[[int, int], Path],
    rows_per_pixel: int,
    scratch: Path,
    margin: Margin | None = None,
) -> WrittenPixels:
    """Write the rows of ``tables()``, which is called twice, as one file per pixel, sorted by ``_healpix_29``.

    ``path_of`` gives the file of a pixel by order and number; ``scratch`` is an empty folder with room for all rows.
    With a ``margin`` also the rows around each pixel, sorted likewise. Raises DataError if no row has a position.
    """
    total, counted = 0, PixelCounts()
    for table in tables():
        total += len(table)
        counted.add(_placed(table, spatial_index)[1])
    placed = int(counted.counts.sum(dtype=np.int64))
    if not placed:
        raise DataError(
            f"none of {total} rows has a position on the sky, and HATS needs one; "
            "leave hats out of the formats to publish"
        )
    partition = Partition.choose(counted, rows_per_pixel)
    del counted
    full = schema.append(_HEALPIX)
    spill, beyond = Spill(scratch, full), Spill(scratch, full, "margin-")
    for table in tables():
        _put_aside(spill, partition, conform(table, schema), spatial_index, beyond, margin)
    written = sum(_write_part(spill, number, path_of(*part), full) for number, part in enumerate(partition.parts))
    if written != placed:
        raise DataError(f"{placed} rows were counted and {written} came; expected the same tables each time")
    if margin is None:
        return WrittenPixels(partition.parts, written, total - placed)
    near = [number for number in range(len(partition.parts)) if beyond.holds(number)]
    around = sum(_write_part(beyond, number, margin.path_of(*partition.parts[number]), full) for number in near)
    return WrittenPixels(
        partition.parts, written, total - placed, tuple(partition.parts[number] for number in near), around
    )


def _write_part(spill: Spill, number: int, path: Path, schema: pa.Schema) -> int:
    rows = spill.take(number)
    by_place = np.argsort(rows[HEALPIX_COLUMN].to_numpy(), kind="stable")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_parquet(rows.take(pa.array(by_place)), schema))
    return len(rows)


def _put_aside(
    spill: Spill,
    partition: Partition,
    table: pa.Table,
    spatial_index: SpatialIndex,
    beyond: Spill,
    margin: Margin | None,
) -> None:
    rows, index = _placed(table, spatial_index)
    if not len(rows):
        return
    files = partition.of(index)
    placed = table.take(pa.array(rows)).append_column(_HEALPIX, pa.array(index))
    _put_by_file(spill, placed, files)
    if margin is not None:
        found = MarginRows.find(index, files, margin.neighbours, partition.find)
        _put_by_file(beyond, placed.take(pa.array(found.rows)), found.files)


def _put_by_file(spill: Spill, rows: pa.Table, files: Indices) -> None:
    if not len(rows):
        return
    by_file = np.argsort(files, kind="stable")
    table = rows.take(pa.array(by_file))
    numbers, starts = np.unique(files[by_file], return_index=True)
    for number, start, stop in zip(numbers, starts, [*starts[1:], len(rows)], strict=True):
        spill.add(int(number), table.slice(start, stop - start))


def _placed(table: pa.Table, spatial_index: SpatialIndex) -> tuple[Indices, Indices]:
    """The rows that have a position on the sky, and their pixels of order 29."""
    ra, dec = (floats(table, name) for name in ("ra", "dec"))
    rows = np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90))
    if not len(rows):
        return rows, np.zeros(0, np.int64)
    return rows, np.asarray(spatial_index(ra[rows] % 360, dec[rows])).astype(np.int64)


def write_hats(tables: Tables, schema: pa.Schema, folder: str | Path, rows_per_pixel: int = HATS_ROWS_PER_PIXEL) -> int:
    """Write the rows of ``tables()``, which is called twice, as a HATS catalogue in the new ``folder``, named after it.

    Its margin is a catalogue of its own, in ``margin_of(folder)``, without rows where none lies near a border. Returns
    how many rows have no position and were left out. Raises SpecError where the package hats is not installed.
    """
    try:
        from hats.io import paths
        from hats.pixel_math.healpix_pixel import HealpixPixel
        from hats.pixel_math.spatial_index import compute_spatial_index
    except ModuleNotFoundError as error:
        raise SpecError(
            f"HATS output needs the package hats, which is not installed ({error}); "
            "install galflow[hats], or leave hats out of the formats to publish"
        ) from error
    root = Path(folder)
    if root.exists():
        raise StoreError(f"{root} exists already; nothing is overwritten in place, write under a new name")

    def path_of(order: int, pixel: int) -> Path:
        return Path(str(paths.pixel_catalog_file(root, HealpixPixel(order, pixel))))

    beside = margin_of(root)

    def margin_path_of(order: int, pixel: int) -> Path:
        return Path(str(paths.pixel_catalog_file(beside, HealpixPixel(order, pixel))))

    margin = Margin(margin_path_of, healpix_neighbours(MARGIN_ARCSEC))
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=".hats-") as scratch:
        written = write_pixels(tables, schema, compute_spatial_index, path_of, rows_per_pixel, Path(scratch), margin)
    write_hats_metadata(root, written.parts, written.rows, catalog_type="object")
    kind = {"catalog_type": "margin", "primary_catalog": root.name, "margin_threshold": MARGIN_ARCSEC}
    if not written.margin_parts:
        write_columns_of(root, beside)
    write_hats_metadata(beside, written.margin_parts, written.margin_rows, **kind)
    return written.without_position


def margin_of(folder: Path) -> Path:
    """Where the margin of the HATS catalogue in ``folder`` lies: beside it."""
    return folder.with_name(f"{folder.name}_margin_{MARGIN_ARCSEC:g}arcsec")
