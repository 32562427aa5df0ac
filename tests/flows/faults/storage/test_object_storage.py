"""S3 that goes away for 20 s in each stage, cuts uploads off in the middle, or takes half a second for each answer."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import BadNetwork, Matrix

pytestmark = pytest.mark.s3
AWAY_SECONDS = 20.0


@pytest.mark.full
@pytest.mark.parametrize("stage", ["cutting", "training", "scoring", "comparing", "publishing"])
def test_server_killed_and_away(matrix: Matrix, own_s3: Any, stage: str) -> None:
    root = f"s3://{own_s3.server.bucket}/away"
    progress = matrix.progress(root)
    run = matrix.start(root)
    run.wait_for(lambda: progress.in_the_midst_of(stage), stage)
    assert not progress.past(stage)
    own_s3.kill()
    back = threading.Timer(AWAY_SECONDS, own_s3.start)
    back.start()
    try:
        ended = run.end()
    finally:
        back.join()
    assert ended.code == 0, ended.said
    assert ended.seconds > AWAY_SECONDS
    matrix.require_same(root)
    matrix.line(
        f"SIGKILL of the S3 server, away for 20 s, while {stage}",
        f"the run waits; same catalogue, {ended.seconds:.0f} s",
    )


def through(matrix: Matrix, network: BadNetwork, s3_server: Any) -> tuple[str, Callable[[], Any]]:
    """A fresh root, and a start of the run that reaches it by the bad network."""
    root = f"s3://{s3_server.bucket}/bad-{uuid.uuid4().hex[:8]}"
    return root, lambda: matrix.start(root, AWS_ENDPOINT_URL=network.address, AWS_MAX_ATTEMPTS="10").end()


@pytest.mark.full
def test_uploads_reset_in_the_middle(matrix: Matrix, network: BadNetwork, s3_server: Any) -> None:
    chance = random.Random(7)
    network.reset_after = lambda: chance.randrange(500, 40_000) if chance.random() < 0.3 else None
    root, run = through(matrix, network, s3_server)
    ended = run()
    assert ended.code == 0, ended.said
    assert network.resets > 5
    matrix.require_same(root)
    matrix.line(
        "connection reset in mid-upload", f"{network.resets} resets, sent again; same catalogue, {ended.seconds:.0f} s"
    )


@pytest.mark.full
@pytest.mark.timeout(900)
def test_every_answer_takes_half_a_second(matrix: Matrix, network: BadNetwork, s3_server: Any) -> None:
    network.delay_seconds = 0.5
    root, run = through(matrix, network, s3_server)
    ended = run()
    assert ended.code == 0, ended.said
    network.delay_seconds = 0.0
    matrix.require_same(root)
    matrix.line("slow store: 500 ms an answer", f"{network.answers} answers; same catalogue, {ended.seconds:.0f} s")
