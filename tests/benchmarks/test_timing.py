"""The stop-watch of the benchmarks, on cases whose times are known."""

from __future__ import annotations

import time

import pytest

from benchmarks.timing import Timing, interleaved, table


def test_cases_are_taken_in_turns_and_the_first_round_is_not_counted() -> None:
    calls: list[str] = []
    timings = interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        between=lambda: calls.append("-"),
        repeats=2,
    )
    assert "".join(calls) == "-a-b-b-a-a-b"
    assert {name: (len(t.wall_s), len(t.cpu_s)) for name, t in timings.items()} == {"a": (2, 2), "b": (2, 2)}


def test_wall_time_holds_what_processor_time_does_not() -> None:
    [timing] = interleaved({"sleep": lambda: time.sleep(0.05)}, repeats=1).values()
    assert timing.wall_s[0] >= 0.05
    assert timing.cpu_s[0] < 0.05


def test_a_table_gives_medians_and_their_ratio_to_the_base() -> None:
    timings = {
        "ours": Timing((0.2, 0.9, 0.3), (0.1, 0.1, 0.1)),
        "floor": Timing((0.2, 0.1, 0.9), (0.2, 0.2, 0.2)),
    }
    made = table("ingest", "floor", timings)
    assert [row.name for row in made.rows] == ["ours", "floor"]
    assert made.rows[0].timing.wall_ms == pytest.approx(300)
    assert made.rows[0].ratio == pytest.approx(1.5)
    assert made.rows[0].cpu_ratio == pytest.approx(0.5)
    lines = made.text().splitlines()
    assert lines[0] == "ingest"
    assert lines[2].split() == ["ours", "300.0", "100.0", "1.50", "0.50"]
    rows = made.to_json()["rows"]
    assert isinstance(rows, dict)
    assert rows["ours"]["wall_ms_each"] == [200, 900, 300]
