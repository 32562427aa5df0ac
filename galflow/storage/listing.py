"""What a listing of the store says of an object, and a walk through a folder that leaves some folders alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One object in a listing."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    """UTC."""


def modified_at(info: dict[str, Any]) -> datetime:
    """When an object was written, from what fsspec says of it."""
    modified = info["LastModified"] if "LastModified" in info else info["mtime"]
    return modified.astimezone(UTC) if isinstance(modified, datetime) else datetime.fromtimestamp(float(modified), UTC)


def files_around(top: str, around: tuple[str, ...]) -> list[str]:
    """Paths of all files below a folder, without a look into folders whose names end so."""

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder may go meanwhile
            raise error

    paths = []
    for folder, folders, files in os.walk(top, onerror=refuse):
        folders[:] = [name for name in folders if not name.endswith(around)]
        paths += [f"{folder}/{name}" for name in files]
    return paths
