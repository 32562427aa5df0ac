"""SIGKILL of Dask's workers, of the flow's process and of the Prefect server, in every stage."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Matrix, PrefectServer

STAGES = ("cutting", "training", "scoring", "comparing", "publishing")
WORKED_ON = ("cutting", "training", "scoring")
"""Stages whose work is done by workers."""
pytestmark = pytest.mark.full


@pytest.mark.parametrize("stage", WORKED_ON)
def test_all_workers_killed(matrix: Matrix, stage: str) -> None:
    progress = matrix.progress()
    run = matrix.start()
    run.wait_for(lambda: progress.in_the_midst_of(stage), stage)
    workers = run.workers()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert not progress.past(stage)
    ended = run.end()
    assert len(workers) == 2
    assert ended.code == 0, ended.said
    matrix.require_same()
    matrix.line(f"SIGKILL of all workers while {stage}", f"the same run goes on; same catalogue, {ended.seconds:.0f} s")


# tests/flows/test_resume.py kills it in the first three stages of a larger run; in training also in the ordinary tests.
@pytest.mark.parametrize("stage", ["comparing", "publishing"])
def test_flow_killed(matrix: Matrix, stage: str) -> None:
    progress = matrix.progress()
    run = matrix.start()
    run.wait_for(lambda: progress.in_the_midst_of(stage), stage)
    run.kill()
    assert not progress.past("publishing")
    again = matrix.start().end()
    assert again.code == 0, again.said
    matrix.require_same()
    matrix.line(f"SIGKILL of the flow while {stage}", f"the next start ends it; same catalogue, {again.seconds:.0f} s")


@pytest.mark.parametrize("stage", STAGES)
def test_prefect_server_killed_and_back(matrix: Matrix, prefect_server: PrefectServer, stage: str) -> None:
    progress = matrix.progress()
    run = matrix.start(PREFECT_API_URL=prefect_server.api)
    run.wait_for(lambda: progress.in_the_midst_of(stage), stage)
    assert not progress.past(stage)
    prefect_server.kill()
    time.sleep(5)
    prefect_server.start()
    ended = run.end()
    assert ended.code == 0, ended.said
    assert "Traceback" not in ended.said
    matrix.require_same()
    matrix.line(f"SIGKILL of the Prefect server while {stage}", f"back in 5 s; same catalogue, {ended.seconds:.0f} s")


def test_prefect_server_killed_for_good(matrix: Matrix, prefect_server: PrefectServer) -> None:
    progress = matrix.progress()
    run = matrix.start(PREFECT_API_URL=prefect_server.api, PREFECT_CLIENT_MAX_RETRIES="2")
    run.wait_for(lambda: progress.in_the_midst_of("scoring"), "scoring")
    prefect_server.kill()
    ended = run.end()
    assert ended.code == 1
    assert "Traceback" not in ended.said
    (line,) = (text for text in ended.said.splitlines() if "error: " in text)
    assert prefect_server.api in line
    assert "give the same command again" in line
    assert ended.said.count("the run goes on, its page stands still") == 1
    assert "Unable to connect" not in ended.said
    # The work went on without the server; only the run's end could not be told.
    assert progress.past("publishing")
    prefect_server.start()
    again = matrix.start(PREFECT_API_URL=prefect_server.api).end()
    assert again.code == 0, again.said
    matrix.require_same()
    matrix.line("SIGKILL of the Prefect server, for good", "a clear error; the next start ends it; same catalogue")
