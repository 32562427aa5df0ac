"""A pytest plug-in that writes each test's outcome at once, so that a run that is stopped has told what it knew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line of JSON for each test that ran, or could not be set up; not in pytest-xdist's processes."""
    if "PYTEST_XDIST_WORKER" in os.environ or (report.when != "call" and not report.failed):
        return
    why = ""
    if report.failed:
        lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
        why = lines[0].removeprefix("E").strip() if lines else report.longreprtext.strip().splitlines()[-1]
    line = json.dumps({"test": report.nodeid, "outcome": report.outcome, "why": why[:300]})
    with Path(os.environ["GALFLOW_OUTCOMES"]).open("a") as file:
        file.write(line + "\n")
