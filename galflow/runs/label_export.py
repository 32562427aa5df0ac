"""Labels taken along: a row a labelled object, as CSV, Parquet or FITS, described where the format can."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.csv as csv

from galflow.catalog.fits_table import write_fits
from galflow.catalog.label_columns import LABEL_COLUMNS
from galflow.catalog.own_columns import Column
from galflow.catalog.parquet import write_parquet
from galflow.errors import SpecError

LabelFormat = Literal["csv", "parquet", "fits"]
FORMATS: tuple[LabelFormat, ...] = get_args(LabelFormat)
_VOTES = Column("label_votes", pa.string(), "everybody's word, as interesting: ann, bob; normal: cy", ucd="meta.note")


def labels_as(table: pa.Table, format: str) -> bytes:
    """What ``Labelling.table`` gives, as the bytes of a file; SpecError for another format than FORMATS."""
    if format not in FORMATS:
        raise SpecError(f"labels as {format!r}; expected {', '.join(FORMATS)}")
    told = _told(table)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"labels.{format}"
        if format == "csv":
            csv.write_csv(told, path)
        elif format == "fits":
            write_fits(lambda: [told], told.schema, path)
        else:
            write_parquet(lambda: [told], told.schema, path)
        return path.read_bytes()


def _told(table: pa.Table) -> pa.Table:
    """With a unit, a description and a UCD for each column, and moments as texts."""
    columns = {
        "object_id": Column("object_id", table.schema.field("object_id").type, "identifier of the object",
                            ucd="meta.id;meta.main", nullable=False),
        "ra": Column("ra", pa.float64(), "right ascension (ICRS)", "deg", "pos.eq.ra;meta.main"),
        "dec": Column("dec", pa.float64(), "declination (ICRS)", "deg", "pos.eq.dec;meta.main"),
        "anomaly_rank": Column("anomaly_rank", pa.int64(), "place among the ranked rows", ucd="stat.rank"),
        **{column.name: column for column in (*LABEL_COLUMNS, _VOTES)},
    }  # fmt: skip
    moments = [at.isoformat(timespec="seconds") for at in table.column("label_at").to_pylist()]
    at = table.schema.get_field_index("label_at")
    told = table.set_column(at, "label_at", pa.array(moments, pa.string()))
    return pa.Table.from_arrays(told.columns, schema=pa.schema([columns[name].field() for name in told.column_names]))
