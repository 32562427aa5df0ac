"""A small run's report goes through the benchmark from end to end, and what is too slow is not met."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.report_site import ACTS, lay_run, measure, tables
from benchmarks.tables import Findings

CHROMIUM = Path("/usr/bin/chromium")


@pytest.mark.full
@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists() and os.environ.get("CI") != "true", reason="scripts/install-system")
def test_a_small_report_is_measured(tmp_path: Path) -> None:
    found = measure(lay_run(tmp_path, tiles=2, objects=60))
    assert set(found) == {"overview opens", "first pictures", "gallery opens", "object opens", *ACTS}
    assert all(0 < value < 60_000 for values in found.values() for value in values)


def test_a_slow_page_or_a_long_benchmark_is_not_met() -> None:
    found = {"gallery opens": [200.0, 300.0, 4000.0], "sort by a score": [90.0, 250.0, 260.0]}
    *_, findings = tables(10_000, 100.0, found, seconds=400.0)
    assert isinstance(findings, Findings)
    assert [row.met for row in findings.rows] == [True, False, False]
