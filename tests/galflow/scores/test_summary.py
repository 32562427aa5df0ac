"""What a part's receipt says of it, over real objects' primary rows, and of many parts together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from galflow.cutouts.flags import Flag
from galflow.errors import DataError
from galflow.scores.summary import PartSummary, merge_summaries


def summary(first: int) -> PartSummary:
    """Five rows: two objects, a second row, a planted copy said to be primary, and an object without a score."""
    flags = [0, int(Flag.TRAIL), int(Flag.DUPLICATE), int(Flag.PLANTED), int(Flag.NO_DATA)]
    table = pa.table(
        {
            "object_id": np.arange(first, first + 5),
            "flags": np.array(flags),
            "is_primary": [True, True, False, True, True],
            "outcome": ["scored"] * 4 + ["not scored: NO_DATA"],
            "m_s_sigma": pa.array([1.0, 5.0, 9.0, 9.0, None]),
        }
    )
    return PartSummary.of(table, ["m_s"])


def test_counts_are_of_primary_rows_of_real_objects() -> None:
    found = summary(10)
    assert (found.rows, found.planted, found.objects) == (4, 1, 3)
    assert found.outcomes.by_name == {"scored": 2, "not scored: NO_DATA": 1}
    assert found.flags.by_name == {"TRAIL": 1, "NO_DATA": 1}
    assert found.to_json() == PartSummary.from_json(found.to_json()).to_json()


def test_parts_merge_in_any_order() -> None:
    one, other = summary(10), summary(20)
    found = merge_summaries([one, other])
    assert (found.rows, found.planted, found.objects) == (8, 2, 6)
    assert found.outcomes.by_name == {"scored": 4, "not scored: NO_DATA": 2}
    assert found.to_json() == merge_summaries([other, one]).to_json()
    with pytest.raises(DataError, match="no tile was ingested"):
        merge_summaries([])
