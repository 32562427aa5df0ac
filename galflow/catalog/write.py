"""The catalogue as bytes: Parquet, FITS, and HATS where the package hats is installed; and read back.

The table is written as it is given (``columns.order_columns`` orders it). This file refuses to write NaN or infinities
for a score, and to overwrite anything. It knows local paths only: the store puts the files where they belong.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from astropy.table import MaskedColumn, Table

from galflow.catalog.columns import require_finite
from galflow.catalog.parquet import read_catalog as read_catalog
from galflow.errors import DataError, SpecError, StoreError

HATS_ROWS_PER_PIXEL = 1_000_000
HATS_ORDER = 29
"""HEALPix order of the ``_healpix_29`` column that HATS sorts by."""
HATS_MAX_ORDER = 10
"""The finest partition, 12 square arcminutes: finer files would hold little in any survey."""


def to_parquet_bytes(table: pa.Table, carried: Collection[str] = ()) -> bytes:
    """The table as a Parquet file (zstd); the same rows give the same bytes, however the table is chunked."""
    require_finite(table, carried)
    plain = pa.schema([f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in table.schema])
    sink = io.BytesIO()
    pq.write_table(table.cast(plain).combine_chunks(), sink, compression="zstd", version="2.6", row_group_size=1 << 20)
    return sink.getvalue()


def _require_new(path: Path) -> None:
    if path.exists():
        raise StoreError(f"{path} exists already; nothing is overwritten in place, write under a new name")


def _fits_column(name: str, column: pa.ChunkedArray) -> MaskedColumn:
    """One column for FITS: nulls masked, integers exact, text as ASCII."""
    mask = pc.is_null(column).to_numpy()
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):  # a score that no object has
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            values = pc.fill_null(column, "").to_numpy().astype(np.str_).astype("S")
        except UnicodeEncodeError as error:
            raise DataError(
                f"column {name} holds text that is not ASCII ({error}); FITS tables hold ASCII only: "
                "publish Parquet, or rename"
            ) from error
        # FITS has no text of no width.
        return MaskedColumn(values.astype(f"S{max(1, values.dtype.itemsize)}"), name=name, mask=mask)
    if pa.types.is_floating(kind):
        return MaskedColumn(pc.fill_null(column, np.nan).to_numpy(), name=name, mask=mask)
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"column {name} is {kind}, which no FITS column holds; give numbers, booleans or text")
    values = pc.fill_null(column, pa.scalar(0).cast(kind)).to_numpy()
    if not mask.any():
        return MaskedColumn(values, name=name)
    # A null needs a value of its own (TNULL), which unsigned and boolean columns cannot spare.
    if pa.types.is_uint64(kind) and values.max() > np.iinfo(np.int64).max:
        raise DataError(f"column {name} has nulls and values beyond int64, which FITS cannot hold together; fill it")
    wide = values.astype(np.int64)
    return MaskedColumn(wide, name=name, mask=mask, fill_value=np.iinfo(np.int64).min)


def write_fits(table: pa.Table, path: str | Path, carried: Collection[str] = ()) -> None:
    """Write the table as a FITS binary table; nulls are masked when astropy reads it, 64-bit ids are exact.

    (FITS itself knows null numbers only as NaN for floats and TNULL for integers.)
    """
    require_finite(table, carried)
    _require_new(Path(path))
    columns = [_fits_column(name, table[name]) for name in table.column_names]
    Table(columns, meta={"EXTNAME": "GALFLOW"}).write(path, format="fits")


def _partition_order(index: npt.NDArray[np.int64], limit: int) -> int:
    """The coarsest HEALPix order at which no pixel holds more than ``limit`` rows, at most HATS_MAX_ORDER."""
    for order in range(HATS_MAX_ORDER):
        if np.unique(index >> (2 * (HATS_ORDER - order)), return_counts=True)[1].max() <= limit:
            return order
    return HATS_MAX_ORDER


def write_hats(
    table: pa.Table, folder: str | Path, carried: Collection[str] = (), rows_per_pixel: int = HATS_ROWS_PER_PIXEL
) -> None:
    """Write the table as a HATS catalogue, one Parquet file per HEALPix pixel, named after the new ``folder``.

    Every row needs a position. Raises SpecError where the package hats is not installed.
    """
    try:
        from hats.catalog.dataset.table_properties import TableProperties
        from hats.catalog.partition_info import PartitionInfo
        from hats.io import paths
        from hats.io.parquet_metadata import write_parquet_metadata
        from hats.pixel_math.healpix_pixel import HealpixPixel
        from hats.pixel_math.spatial_index import compute_spatial_index
    except ModuleNotFoundError as error:
        raise SpecError(
            f"HATS output needs the package hats, which is not installed ({error}); "
            "install galflow[hats], or leave hats out of the formats to publish"
        ) from error
    require_finite(table, carried)
    placed = pc.and_(pc.is_valid(table["ra_deg"]), pc.is_valid(table["dec_deg"])).to_numpy()
    if not placed.size or not placed.all():
        raise DataError(
            f"{int((~placed).sum())} of {len(table)} rows have no position on the sky, and HATS needs one or more rows "
            "that all have one; leave hats out of the formats to publish"
        )
    root = Path(folder)
    _require_new(root)
    index = np.asarray(compute_spatial_index(table["ra_deg"].to_numpy(), table["dec_deg"].to_numpy())).astype(np.int64)
    by_place = np.argsort(index, kind="stable")
    index = index[by_place]
    table = table.take(pa.array(by_place)).append_column("_healpix_29", pa.array(index))
    order = _partition_order(index, rows_per_pixel)
    numbers, starts = np.unique(index >> (2 * (HATS_ORDER - order)), return_index=True)
    pixels = [HealpixPixel(order, int(number)) for number in numbers]
    for pixel, start, stop in zip(pixels, starts, [*starts[1:], len(table)], strict=True):
        path = Path(str(paths.pixel_catalog_file(root, pixel)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(to_parquet_bytes(table.slice(start, stop - start), carried))
    write_parquet_metadata(root)
    PartitionInfo.from_healpix(pixels).write_to_file(paths.get_partition_info_pointer(root))
    TableProperties(
        catalog_name=root.name,
        catalog_type="object",
        total_rows=len(table),
        ra_column="ra_deg",
        dec_column="dec_deg",
        healpix_column="_healpix_29",
        healpix_order=HATS_ORDER,
    ).to_properties_file(root)
