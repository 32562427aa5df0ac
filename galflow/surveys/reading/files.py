"""Reading a survey's files where they lie: file:// and s3:// through fsspec. Reads only; it never writes or deletes.

Endpoint and credentials come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...),
never from a specification. Listings are always fresh: a survey folder changes under a long-lived worker.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from galflow.errors import ChangedError, SpecError
from galflow.spec.addresses import require_no_credentials
from galflow.surveys.base import TileFile
from galflow.surveys.reading import transfers
from galflow.surveys.reading.file_systems import file_system
from galflow.surveys.reading.file_systems import local_path as local_path
from galflow.surveys.reading.file_systems import reading_errors as reading_errors
from galflow.surveys.reading.object_ranges import OpenedObject
from galflow.surveys.reading.path_patterns import PathPattern
from galflow.surveys.reading.ranges import RangedContent, RangeFile
from galflow.variables import expand

DANGLING = "dangling"
"""Checksum of a file that is a link to nothing."""
_AHEAD = 1 << 16
"""Bytes fetched at least of a file that is read a piece after the other."""


@dataclass(frozen=True)
class StoredFile:
    """One file as a listing shows it."""

    uri: str
    size: int
    etag: str | None
    """What the object store gives; None for local files."""
    dangling: bool = False
    """Whether it is a link to nothing."""

    @property
    def checksum(self) -> str:
        """Changes when the content does; no request where the listing gave an etag."""
        if self.dangling:
            return DANGLING
        return f"etag:{self.etag}" if self.etag else checksum(self.uri)

    def in_role(self, role: str) -> TileFile:
        """The file as one of a tile's."""
        return TileFile(role, self.uri, self.checksum, self.stamp)

    @property
    def stamp(self) -> str:
        """Size and modification time of a local file, as of now; "" for one in an object store."""
        return "" if self.dangling or self.etag else stamp(self.uri)


def expand_root(root: str) -> str:
    """``root`` with ${NAME} replaced from the environment, as an absolute path's file:// URI, or the URI it is.

    Raises SpecError where a variable is not set or nothing is given.
    """

    try:
        expanded = expand(root).rstrip("/")
    except KeyError as error:
        raise SpecError(
            f"root {root!r} names the environment variable {error.args[0]}, which is not set; set it or write the path"
        ) from None
    if not expanded:
        raise SpecError(f"root is {root!r}; expected a folder or a URI such as s3://bucket/prefix")
    if "://" in expanded:
        return require_no_credentials(expanded, "root")
    return "file://" + str(Path(expanded).expanduser().absolute())


def list_entries(root_uri: str, pattern: str) -> list[StoredFile]:
    """Files under ``root_uri`` whose path below it matches ``pattern`` (``*`` and ``**``), sorted by URI."""
    path = local_path(root_uri)
    if path is not None:
        return _local_entries(path.rstrip("/"), pattern)
    stored = file_system(root_uri)
    protocol = root_uri.split("://", 1)[0] + "://" if "://" in root_uri else "file://"
    literal = pattern.split("*", 1)[0]
    folder, _, _ = literal.rpartition("/")
    base = root_uri.rstrip("/") + (f"/{folder}" if folder else "")
    below = pattern[len(folder) + 1 :] if folder else pattern
    depth = None if "**" in below else below.count("/") + 1
    with reading_errors(base):
        found = stored.find(base, maxdepth=depth, detail=True)
        root = stored._strip_protocol(root_uri).rstrip("/") + "/"
    wanted = PathPattern(pattern)
    entries = [
        StoredFile(
            protocol + path, int(info.get("size") or 0), str(info["ETag"]).strip('"') if "ETag" in info else None
        )
        for path, info in found.items()
        if path.startswith(root) and wanted.match(path[len(root) :]) is not None
    ]
    return sorted(entries, key=lambda entry: entry.uri)


def _local_entries(root: str, pattern: str) -> list[StoredFile]:
    """As ``list_entries`` in a folder: through links, as `ls` goes; hidden files and folders are left out."""
    literal = pattern.split("*", 1)[0]
    folder, _, _ = literal.rpartition("/")
    base = f"{root}/{folder}" if folder else root
    depth = None if "**" in pattern else pattern.count("/")
    wanted = PathPattern(pattern)
    found: list[StoredFile] = []

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    with reading_errors(f"file://{base}"):
        above: dict[str, frozenset[tuple[int, int]]] = {}
        for where, folders, names in os.walk(base, followlinks=True, onerror=refuse):
            below = where[len(root) + 1 :]
            status = os.stat(where)
            here, parents = (status.st_dev, status.st_ino), above.get(os.path.dirname(where), frozenset())
            if here in parents:
                folders.clear()  # a link back to a folder above
                continue
            above[where] = parents | {here}
            level = below.count("/") + 1 if below else 0
            folders[:] = sorted(n for n in folders if n[0] != "." and (depth is None or level < depth))
            for name in names:
                path = f"{below}/{name}" if below else name
                if name[0] not in ".#" and name[-1] != "~" and wanted.match(path) is not None:
                    found.append(_local_file(f"{where}/{name}"))
    return sorted(found, key=lambda entry: entry.uri)


def _local_file(path: str) -> StoredFile:
    try:
        return StoredFile(f"file://{path}", os.stat(path).st_size, None)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return StoredFile(f"file://{path}", 0, None, dangling=True)


def stamp(uri: str) -> str:
    """Size and modification time of a local file; "" for a folder, and for what lies in an object store."""
    path = local_path(uri)
    if path is None or os.path.isdir(path):
        return ""
    with reading_errors(uri):
        status = os.stat(path)
    return f"{status.st_size}:{status.st_mtime_ns}"


@contextmanager
def unchanged(file: TileFile) -> Iterator[str]:
    """Read a tile's file within this context, at the URI that it gives: it must be the one that was planned with.

    ChangedError if it is not, before or after the reading. A local file whose size and time are as they were is taken
    for the same; otherwise its checksum decides, as in an object store.
    """
    if local_path(file.uri) is not None:  # in an object store one question, afterwards, says it all
        _require_same(file)
    try:
        yield file.uri
    finally:  # also where the reading broke: half of a new file is no fault of the old one
        _require_same(file)


def _require_same(file: TileFile) -> None:
    local = local_path(file.uri) is not None
    if local and file.stamp and stamp(file.uri) == file.stamp:
        return
    found = checksum(file.uri)
    if found != file.checksum:
        raise ChangedError(
            f"{file.uri} was replaced while the run was under way: its checksum is {found[:24]}..., that of the plan "
            f"{file.checksum[:24]}...; the same command again takes the new one"
        )


def checksum(uri: str) -> str:
    """ "etag:..." as the object store gives it, or "sha256:..." of a local file's bytes (streamed).

    A local file's is remembered within the process as long as its size and modification time stay the same. That of a
    folder is of the paths and checksums of all files below it.
    """
    path = local_path(uri)
    with reading_errors(uri):
        info = {}
        if path is None:
            info = file_system(uri).info(uri)
            transfers.note(1, 0)
        if os.path.isdir(path) if path is not None else info["type"] == "directory":
            below = [[e.uri[len(uri.rstrip("/")) :], e.checksum] for e in list_entries(uri, "**")]
            return "sha256:" + hashlib.sha256(json.dumps(below).encode()).hexdigest()
        if path is not None:
            status = os.stat(path)
            return _sha256(path, status.st_size, status.st_mtime_ns)
        if "ETag" in info:
            return "etag:" + str(info["ETag"]).strip('"')
        return "sha256:" + hashlib.sha256(read_bytes(uri)).hexdigest()


@functools.lru_cache(maxsize=1 << 16)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    """SHA-256 of a file; size and time are there to be part of the cache's key."""
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(uri: str) -> bytes:
    """The whole content of a file. Raises StoreError."""
    path = local_path(uri)
    if path is not None:
        with reading_errors(uri):
            return Path(path).read_bytes()
    with open_bytes(uri) as file:
        return file.read()


def open_bytes(uri: str) -> BinaryIO:
    """A seekable file of bytes, to be closed by the caller: the local file itself, or a remote one of which only what
    is read is fetched (galflow.surveys.reading.transfers: no byte twice)."""
    path = local_path(uri)
    if path is None:
        return cast(BinaryIO, RangeFile(_remote(uri)))
    with reading_errors(uri):
        return open(path, "rb")


def open_lazily(uri: str) -> BinaryIO:
    """As ``open_bytes``, but what was read is forgotten: for large files of which each part is read once."""
    path = local_path(uri)
    if path is None:
        return io.BufferedReader(RangeFile(_remote(uri, forgets=True)), _AHEAD)
    with reading_errors(uri):
        return open(path, "rb")


def ranged_content(uri: str) -> RangedContent:
    """A file's content, of which ranges may be asked for. Raises StoreError."""
    path = local_path(uri)
    if path is None:
        return _remote(uri)

    def fetch(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        with reading_errors(uri), open(path, "rb", buffering=0) as file:
            return [os.pread(file.fileno(), stop - start, start) for start, stop in ranges]

    with reading_errors(uri):
        return RangedContent(os.stat(path).st_size, fetch)


def _remote(uri: str, *, forgets: bool = False) -> RangedContent:
    """The content of a file in an object store, the same for all who read in one context that counts."""

    return transfers.content(uri, lambda: OpenedObject(uri), forgets=forgets)
