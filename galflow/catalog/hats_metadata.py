"""What a HATS catalogue says of itself beside its rows: columns, pixels, properties."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from galflow.catalog.schema import HEALPIX_COLUMN

HATS_ORDER = 29
"""HEALPix order of the ``_healpix_29`` column that HATS sorts by."""


def write_columns_of(one: Path, empty: Path) -> None:
    """The files that say which columns a catalogue has, for one that has no rows: hats reads them of the rows."""
    from hats.io import paths

    said = Path(str(paths.get_common_metadata_pointer(one)))
    for pointer in (paths.get_common_metadata_pointer(empty), paths.get_parquet_metadata_pointer(empty)):
        Path(str(pointer)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(said, Path(str(pointer)))


def write_hats_metadata(root: Path, parts: Sequence[tuple[int, int]], rows: int, **kind: Any) -> None:
    """Write which files, rows and columns the catalogue in folder ``root`` has; ``kind``: properties beside these."""
    from hats.catalog.dataset.table_properties import TableProperties
    from hats.catalog.partition_info import PartitionInfo
    from hats.io import paths
    from hats.io.parquet_metadata import write_parquet_metadata
    from hats.pixel_math.healpix_pixel import HealpixPixel

    if parts:
        write_parquet_metadata(root)
    pixels = [HealpixPixel(order, pixel) for order, pixel in parts]
    PartitionInfo.from_healpix(pixels).write_to_file(paths.get_partition_info_pointer(root))
    columns = {"ra_column": "ra", "dec_column": "dec", "healpix_column": HEALPIX_COLUMN, "healpix_order": HATS_ORDER}
    said = {"catalog_name": root.name, **kind, "total_rows": rows, **columns}
    TableProperties.model_validate(said).to_properties_file(root)
