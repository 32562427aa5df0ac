"""How an object of a Zarr group is written only if it is not there: on a folder and on S3.

Zarr's own set_if_not_exists says not whether it wrote, and on S3 it looks first and writes then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from typing import Any

from zarr.core.buffer import Buffer

from galflow.storage.checksums import Create
from galflow.storage.errors import says_taken


def link_in(folder: str) -> Create:
    """In a folder: under a temporary name, and then linked."""

    def write(key: str, value: Buffer) -> bool:
        target = os.path.join(folder, key)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = f"{target}.{uuid.uuid4().hex}.partial"  # as Zarr names them: no listing of a store shows it
        try:
            with open(temporary, "xb") as file:
                file.write(value.as_buffer_like())
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        return True

    async def create(key: str, value: Buffer) -> bool:
        return await asyncio.to_thread(write, key, value)

    return create


def create_in(connection: Any, prefix: str) -> Create:
    """On S3, below a prefix, over a connection of Zarr's own loop."""

    async def create(key: str, value: Buffer) -> bool:
        try:
            await connection._pipe_file(f"{prefix}/{key}", value.to_bytes(), mode="create")
        except OSError as error:
            if says_taken(error):
                return False
            raise
        return True

    return create
