"""Workers of this machine are forks of a process that is ready: what they have from it, and what they have of now."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import pytest

from tasks.cluster import open_client, running_cluster
from tasks.same_code import running_code, started_by

if TYPE_CHECKING:
    from conftest import Specify


def _told() -> tuple[int, str | None, bool, int]:
    import sys

    return os.getppid(), os.environ.get("GALFLOW_TEST_LATE"), "tasks.worker_jobs" in sys.modules, started_by()


def test_workers_are_forks_with_todays_environment(monkeypatch: pytest.MonkeyPatch, specify: Specify) -> None:
    seen = []
    for word in ("first", "second"):  # the process that forks is older than the second word
        monkeypatch.setenv("GALFLOW_TEST_LATE", word)
        with running_cluster(specify(workers=2)) as reached, open_client(reached.cluster) as client:
            told = client.run(_told).values()
            codes = client.run(running_code).values()
        assert [late for _, late, _, _ in told] == [word, word]
        assert [imported for _, _, imported, _ in told] == [True, True]
        # Started by this process, though another forked them: so an edit while a run goes on is told as one.
        assert {by for _, _, _, by in told} == {os.getpid()}
        assert all(running_code().is_parent_of(code) for code in codes)
        seen += [parent for parent, _, _, _ in told]
    (forker,) = set(seen)
    assert forker != os.getpid()
    assert psutil.Process(forker).ppid() == os.getpid()
    assert psutil.Process(forker).num_threads() <= 2  # Arrow's allocator has one, made to be forked with
