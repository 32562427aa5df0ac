"""What a selection takes of a table, and how the others are counted."""

from __future__ import annotations

import pyarrow as pa

from galflow.spec.selection import SelectionSpec
from galflow.surveys.reading.selection import LeftOut, rule_faults, sieve, together

TABLE = pa.table(
    {
        "object_id": [1, 2, 3, 4, 5, 6],
        "ra_deg": [10.0, 10.0, 10.0, 50.0, None, 10.0],
        "dec_deg": [0.0] * 6,
        "mag": [20.0, 23.0, None, 23.0, 20.0, 24.0],
        "z": [0.05, 0.05, 0.5, 0.5, 0.05, None],
    }
)
SELECTION = SelectionSpec.model_validate(
    {
        "regions": [{"circle": {"ra_deg": 10, "dec_deg": 0, "radius_deg": 1}}],
        "where": [{"name": "too faint", "rule": "mag < 22"}, "z < 0.1 and mag > 0"],
    }
)


def test_each_row_counts_under_the_first_reason_and_each_reason_alone() -> None:
    found = sieve(TABLE, SELECTION)
    assert found.kept.tolist() == [True] + [False] * 5
    assert dict(found.left_out.reasons) == {
        "no position on the sky": (1, 1),
        "outside the regions": (1, 1),
        "mag is missing": (1, 1),  # of the second rule, too: z alone decides there that it is false
        "too faint": (2, 3),
        "z is missing": (0, 1),
        "z < 0.1 and mag > 0": (0, 2),
    }
    assert list(found.left_out.reasons)[:2] == ["no position on the sky", "outside the regions"]
    assert found.left_out.total + found.kept.sum() == found.left_out.rows == 6


def test_counts_of_tiles_merge_in_the_order_of_the_rules() -> None:
    first, second = (sieve(part, SELECTION).left_out for part in (TABLE.slice(0, 2), TABLE.slice(2)))
    whole, other = together([first, second]), together([second, first])
    assert whole == LeftOut.from_json(whole.to_json())
    assert dict(whole.reasons) == dict(other.reasons) == dict(sieve(TABLE, SELECTION).left_out.reasons)
    assert list(whole.reasons) == list(sieve(TABLE, SELECTION).left_out.reasons)


def test_every_rule_that_does_not_fit_is_told() -> None:
    selection = SelectionSpec.model_validate({"where": ["magnitude < 3", "mag < 3", "mag == 'a'"]})
    told = {field: error.problem for field, error in rule_faults(selection, TABLE.schema)}
    assert told["where[0]"] == "there is no column 'magnitude'"
    assert set(told) == {"where[0]", "where[2]"}
