"""Whether `make test` keeps together what shares a run: tests of a file, or of a folder of flows, in one process."""

from __future__ import annotations

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="there is one process")
def test_each_test_has_its_group(request: pytest.FixtureRequest) -> None:
    without = [item.nodeid for item in request.session.items if "@" not in item.nodeid.rpartition("]")[2]]
    assert not without, "pytest-xdist's groups have no effect: shared runs would be made in every process"
