"""The made run is one that the explorer opens, every question has an answer, and what is too slow is not met."""

from __future__ import annotations

from pathlib import Path

from benchmarks.explorer import Measured, build, lay_run, measure, tables
from benchmarks.tables import Findings


def test_every_question_is_answered(tmp_path: Path) -> None:
    lay_run(tmp_path, files=1, rows=600)
    built, measured = build(tmp_path), measure(tmp_path)
    assert measured["rows"] == 600
    asked = {one["name"] for one in measured["asked"]}
    assert {"lasso on the sky", "map of an expression", "50 pictures"} <= asked
    *_, found = tables(built, measured)
    assert isinstance(found, Findings)
    assert all(row.met or "ms" in row.name for row in found.rows)


def test_a_slow_answer_is_not_met() -> None:
    slow = vars(Measured("page", 301.0, 400.0, 200.0))
    *_, found = tables({"peak_mib": 10.0}, {"rows": 1, "opened_s": 0.1, "peak_mib": 3000.0, "asked": [slow]})
    assert isinstance(found, Findings)
    assert [row.met for row in found.rows] == [False, False, True]
