"""Where the benchmarks write: to memory where that is possible, so that no disk's mood is measured."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SHARED_MEMORY = "/dev/shm"
_NEEDED_BYTES = 2 << 30


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards: under TMPDIR if that is set, else in shared memory if there is room."""
    parent = None
    if "TMPDIR" not in os.environ and os.path.isdir(_SHARED_MEMORY):
        parent = _SHARED_MEMORY if shutil.disk_usage(_SHARED_MEMORY).free > _NEEDED_BYTES else None
    with tempfile.TemporaryDirectory(prefix="galflow-bench-", dir=parent) as name:
        yield Path(name)
