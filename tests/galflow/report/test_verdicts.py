"""The verdict never says more than the interval does."""

from __future__ import annotations

import pytest

from galflow.report.verdicts import parts_failed, verdict


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.51, 0.6, "above"),
        (0.2, 0.49, "below"),
        (0.4, 0.6, "alike"),
        (0.5, 0.6, "alike"),
        (0.4, 0.5, "alike"),
        (0.5, 0.5, "alike"),
    ],
)
def test_a_side_is_named_only_where_the_whole_interval_lies_on_it(low: float, high: float, expected: str) -> None:
    assert verdict(low, high, above="above", below="below", alike="alike") == expected


def test_failures_are_counted_in_thousands() -> None:
    assert parts_failed(1) == "1 of its parts failed"
    assert parts_failed(1234) == "1,234 of its parts failed"
