"""The columns of what people said of an object before its catalogue was published, with descriptions and UCDs.

What the words of several people mean together is decided by galflow.labels.merging; here it gets its place in a row.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.catalog.own_columns import Column

LABEL_COLUMNS = (
    Column(
        "label",
        pa.string(),
        "what strictly more people call the object than anything else; disputed: as many say one thing as another; "
        "null: nobody labelled it before the run was published",
        ucd="meta.code.class",
    ),
    Column("label_by", pa.string(), "who calls it so; of a disputed object all who labelled it", ucd="meta.id"),
    Column("label_at", pa.string(), "when one of them last did, ISO 8601 in UTC", ucd="time;meta.record"),
    Column(
        "label_agreement",
        pa.float64(),
        "share of the people who labelled the object that say what most say",
        ucd="stat.fit.goodness",
    ),
)
LABELS_FILE = "labels.parquet"
"""Below a catalogue's supplement: what was said of which object."""


def labels_file(labels: pa.Table) -> bytes:
    """The table as a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(labels, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def label_columns(object_id: np.ndarray, labels: pa.Table) -> dict[str, pa.Array | pa.ChunkedArray]:
    """The columns of rows with these ids from a row a labelled object; null of the others."""
    ids = labels.column("object_id").to_numpy().astype(object_id.dtype)  # compared as they are, through no float
    order = np.argsort(ids)
    at = np.searchsorted(ids[order], object_id).clip(max=max(0, len(ids) - 1))
    rows = order[at] if len(ids) else np.zeros(len(object_id), np.int64)
    found = ids[rows] == object_id if len(ids) else np.zeros(len(object_id), bool)
    taken = labels.take(pa.array(rows, mask=~found))
    texts = {name: taken.column(name) for name in ("label", "label_by", "label_agreement")}
    moments = [None if at is None else at.isoformat(timespec="seconds") for at in taken.column("label_at").to_pylist()]
    texts["label_at"] = pa.array(moments, pa.string())
    return {column.name: texts[column.name] for column in LABEL_COLUMNS}
