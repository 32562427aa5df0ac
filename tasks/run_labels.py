"""What people said of a run's objects before it is published, found once among its score parts."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from galflow.labels.merging import as_table, counts_of
from galflow.labels.placing import place, radius_of
from galflow.labels.records import LabelBook
from tasks.run_record import RunRecord


def standing_labels(record: RunRecord) -> tuple[pa.Table | None, dict[str, Any]]:
    """A row a labelled object of the run, None if there are none; and what the run's summary says of labels."""
    store, spec = record.store, record.spec
    book = LabelBook(store, spec.survey.survey_name)
    labels = book.read()
    if not labels and not book.unreadable:
        return None, {}
    parts = [r.product for r in record.scores[None].receipts if r.rows]
    radius = radius_of(store, spec.join, record.joined[None].with_objects[0].cutouts.product)
    placement = place(labels, store, parts, radius)
    found = placement.judgements().values()
    said = {"classes": counts_of(found), "elsewhere": placement.elsewhere, "unreadable": sorted(book.unreadable)}
    ids = [pa.int64() if j.object_id < 2**63 else pa.uint64() for j in found]
    kind = pa.uint64() if pa.uint64() in ids else pa.int64()
    return (as_table(found, kind) if ids else None), {"labels": said}
