"""A notebook asks a run for rows as the explorer does."""

from __future__ import annotations

import pytest

from galflow.errors import SpecError
from galflow.runs.opened import open_run
from galflow.storage.store import Store
from tests.galflow.explore.conftest import EACH, FIRST_ID, RUN, publish_small_run


def test_rows_are_asked_for_by_an_expression(local_store: Store) -> None:
    publish_small_run(local_store)
    run = open_run(f"{local_store.root}/runs/{RUN}")
    found = run.query(
        f"object_id >= {FIRST_ID + EACH}", "anomaly_rank", descending=True, limit=3, columns=["object_id", "ra"]
    )
    assert found["object_id"].to_pylist() == [FIRST_ID + i for i in (59, 58, 57)]
    assert found.schema.field("ra").metadata[b"unit"] == b"deg"
    assert run.query().num_rows == 2 * EACH
    assert run.query("object_id < 0").schema.equals(run.catalog.schema)
    with pytest.raises(SpecError, match="did you mean mag_r"):
        run.query("mag_rr < 3")
