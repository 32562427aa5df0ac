"""The tests' S3 server, for a benchmark that measures what a store on the network costs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def s3_server(work: Path) -> Iterator[str]:
    """URI of a bucket that is there until the end of the block; AWS_* are set for it. Its files lie below ``work``."""
    from tests.conftest import CREDENTIALS, S3Process

    folder = work / "seaweedfs"
    folder.mkdir()
    process = S3Process(folder)
    before = dict(os.environ)
    os.environ.update(CREDENTIALS | {"AWS_ENDPOINT_URL": process.server.endpoint_url})
    process.start()
    try:
        process.wait()
        yield f"s3://{process.server.bucket}"
    finally:
        process.stop()
        os.environ.clear()
        os.environ.update(before)
