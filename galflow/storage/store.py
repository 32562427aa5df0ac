"""The one file that knows object storage: file:// and s3:// behind six verbs.

A ``put`` is atomic (a reader sees the old object or the new one, never half of one), ``put_if_absent`` never replaces.
Credentials come from the environment (AWS_ACCESS_KEY_ID and the rest) and appear in no message. This file knows no
product: what lies under which key, and when it counts as done, is said in galflow.storage.receipts and by the rooms.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem
from zarr.abc.store import Store as ZarrStore
from zarr.core.sync import sync as zarr_sync
from zarr.storage import FsspecStore, LocalStore

from galflow.errors import SpecError, StoreError, TakenError
from galflow.spec.addresses import require_no_credentials
from galflow.spec.store import StoreSpec
from galflow.storage.checksums import Create, FileSum, StrictReadStore, SummingStore
from galflow.storage.errors import says_taken, translated
from galflow.storage.layout import probe_key
from galflow.storage.listing import Entry, files_around, modified_at
from galflow.storage.object_streams import LocalStream, ObjectStream, WholeStream
from galflow.storage.s3_options import s3_options
from galflow.storage.zarr_creation import create_in, link_in

_TEMPORARY = ".galflow-tmp-"
_UNFINISHED = re.compile(rf"{re.escape(_TEMPORARY)}|\.[0-9a-f]{{32}}\.partial$")  # the second: Zarr's own
_PARTS_AT_ONCE = 2  # Of a file on its way to S3, 50 MiB each and all in memory.
_IN_ONE_REQUEST = {"max_concurrency": 1}  # Else s3fs asks for an object's size before it reads: twice the requests.


@dataclass(frozen=True)
class Store:
    """Everything under one root. Cheap to pickle: a worker opens its own connection on first use."""

    root: str
    """file:// or s3:// URI without a trailing slash."""
    endpoint_url: str | None = None

    @classmethod
    def open(cls, root: str | os.PathLike[str], endpoint_url: str | None = None) -> Store:
        """The store at a folder, file:// or s3://bucket/prefix."""
        text = require_no_credentials(os.fspath(root), "store root")
        require_no_credentials(endpoint_url or "", "endpoint_url")
        protocol, separator, rest = text.partition("://")
        if not separator:
            # As fsspec reads it, without percent signs: a folder whose name has a blank stays that folder.
            text = f"file://{Path(text).expanduser().absolute()}"
        elif protocol not in ("file", "s3"):
            raise SpecError(
                f"store root {text!r} uses {protocol}://; galflow stores to a folder, file:// or s3://bucket/prefix"
            )
        elif not rest.strip("/"):
            raise SpecError(f"store root {text!r} names no folder or bucket; give file:///path or s3://bucket/prefix")
        return cls(text.rstrip("/"), endpoint_url)

    @classmethod
    def of(cls, spec: StoreSpec) -> Store:
        """The store that a specification names."""
        return cls.open(spec.root, spec.endpoint_url)

    @property
    def is_local(self) -> bool:
        """Whether this is a folder."""
        return self.root.startswith("file://")

    @cached_property
    def _path(self) -> str:
        return str(LocalFileSystem._strip_protocol(self.root)) if self.is_local else self.root.removeprefix("s3://")

    @cached_property
    def _fs(self) -> Any:
        if self.is_local:
            return fsspec.filesystem("file")
        return fsspec.filesystem("s3", **s3_options(self.endpoint_url))

    @cached_property
    def _zarr_reads(self) -> Any:
        return self._zarr_connection(**_IN_ONE_REQUEST)

    @cached_property
    def _zarr_writes(self) -> Any:
        return self._zarr_connection()

    def _zarr_connection(self, **options: Any) -> Any:
        """A connection that lives on Zarr's own loop; kept, since fsspec makes a new one for each thread that asks."""
        connection = fsspec.filesystem("s3", asynchronous=True, **options, **s3_options(self.endpoint_url))
        zarr_sync(connection.set_session())
        return connection

    @property
    def _reading(self) -> dict[str, Any]:
        return {} if self.is_local else _IN_ONE_REQUEST

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "endpoint_url": self.endpoint_url}

    def uri(self, key: str) -> str:
        """The full URI of a key."""
        return f"{self.root}/{key}"

    def _full(self, key: str) -> str:
        if key.startswith("/") or ".." in key.split("/"):
            raise StoreError(f"store key {key!r} leaves the root {self.root}; keys are relative and without '..'")
        return f"{self._path}/{key}"

    def translate_errors(self, verb: str, key: str) -> contextlib.AbstractContextManager[None]:
        """Turn what a file system raises into a StoreError that names URI, cause and mend."""
        return translated(verb, self.uri(key))

    def put(self, key: str, data: bytes) -> FileSum:
        """Write an object whole, replacing an older one; its checksum."""
        with self.translate_errors("write", key):
            if self.is_local:
                return self._replace(key, io.BytesIO(data))
            self._fs.pipe_file(self._full(key), data)
        return FileSum.of(data)

    def put_file(self, key: str, path: str | os.PathLike[str]) -> FileSum:
        """Write a local file as an object, replacing an older one, with some megabytes in memory; its checksum."""
        with self.translate_errors("write", key), open(path, "rb") as source:
            if self.is_local:
                return self._replace(key, source)
            self._fs.put_file(os.fspath(path), self._full(key), max_concurrency=_PARTS_AT_ONCE)
            return FileSum.copying(source)

    def _replace(self, key: str, source: BinaryIO) -> FileSum:
        with self._temporary(key, source) as (temporary, target, written):
            os.replace(temporary, target)
        return written

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write an object unless one exists; whether this call wrote it. Of two writers at once exactly one wins."""
        with self.translate_errors("write", key):
            if self.is_local:
                return self._link(key, io.BytesIO(data))[0]
            return self._created(self._fs.pipe_file, self._full(key), data)

    def put_once(self, key: str, data: bytes) -> FileSum:
        """Write an object that is never replaced; its checksum. TakenError if other bytes lie there already."""
        summed = FileSum.of(data)
        if not self.put_if_absent(key, data):
            self._require_same(key, summed)
        return summed

    def put_file_once(self, key: str, path: str | os.PathLike[str]) -> FileSum:
        """``put_once`` of a local file, with some megabytes in memory."""
        with self.translate_errors("write", key), open(path, "rb") as source:
            if self.is_local:
                created, summed = self._link(key, source)
            else:
                put = partial(self._fs.put_file, max_concurrency=_PARTS_AT_ONCE)
                created = self._created(put, os.fspath(path), self._full(key))
                summed = FileSum.copying(source)
        if not created:
            self._require_same(key, summed)
        return summed

    def _require_same(self, key: str, summed: FileSum) -> None:
        if FileSum.of(self.get(key)) != summed:
            raise TakenError(f"{self.uri(key)} holds other bytes than were to be written there")

    def _link(self, key: str, source: BinaryIO) -> tuple[bool, FileSum]:
        with self._temporary(key, source) as (temporary, target, written):
            try:
                os.link(temporary, target)
            except FileExistsError:
                return False, written
        return True, written

    @staticmethod
    def _created(write: Callable[..., object], *arguments: object) -> bool:
        """Whether S3 has written what was not there."""
        try:
            write(*arguments, mode="create")
        except OSError as error:
            if says_taken(error):
                return False
            raise
        return True

    @contextlib.contextmanager
    def _temporary(self, key: str, source: BinaryIO) -> Iterator[tuple[str, str, FileSum]]:
        """What is read from ``source``, on disk beside the target under a name that no listing shows; its checksum."""
        target = self._full(key)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = os.path.join(os.path.dirname(target), f"{_TEMPORARY}{uuid.uuid4().hex}")
        try:
            with open(temporary, "xb") as file:
                written = FileSum.copying(source, file)
                file.flush()
                os.fsync(file.fileno())
            yield temporary, target, written
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def stream(self, key: str) -> ObjectStream:
        """An object to be written once, a piece at a time; TakenError at its end if other bytes lie there already."""
        with self.translate_errors("write", key):
            return (
                LocalStream(self._full(key), _TEMPORARY) if self.is_local else WholeStream(partial(self.put_once, key))
            )

    def get(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """The bytes of an object, or some of them; a negative ``start`` counts from its end."""
        with self.translate_errors("read", key):
            return bytes(self._fs.cat_file(self._full(key), start=start, end=stop, **self._reading))

    @contextlib.contextmanager
    def reading(self, key: str) -> Iterator[BinaryIO]:
        """An object opened to read parts of it; each read asks for its bytes and for no others."""
        with self.translate_errors("read", key), self._fs.open(self._full(key), "rb", cache_type="none") as file:
            yield file

    def get_many(self, keys: list[str]) -> dict[str, bytes]:
        """The bytes of many objects, fetched side by side."""
        if not keys:
            return {}
        with self.translate_errors("read", keys[0]):
            found = self._fs.cat([self._full(k) for k in keys], **self._reading)
        if isinstance(found, bytes):
            return {keys[0]: found}
        return {key: bytes(found[self._full(key)]) for key in keys}

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        with self.translate_errors("look for", key):
            # Not isfile(): it takes a refused access for an absent object.
            try:
                return bool(self._fs.info(self._full(key))["type"] == "file")
            except FileNotFoundError:
                return False

    def list(self, prefix: str, *, around: tuple[str, ...] = ()) -> list[str]:
        """Keys of all objects below ``prefix``, sorted; empty if there are none.

        Without what lies in a folder whose name ends in one of ``around``: a tile's set is dozens of files in as many
        folders, and whoever looks for its receipt need not go through them.
        """
        with self.translate_errors("list", prefix):
            try:
                if around and self.is_local:
                    paths = files_around(self._full(prefix), around)
                else:
                    found = self._fs.find(self._full(prefix), detail=True)
                    # Some servers show a folder that was emptied as an entry of its own.
                    paths = [str(path) for path, info in found.items() if info["type"] == "file"]
            except FileNotFoundError:
                return []
        inside = tuple(f"{ending}/" for ending in around)
        keys = (path[len(self._path) + 1 :] for path in paths)
        return sorted(key for key in keys if not _UNFINISHED.search(key) and not any(part in key for part in inside))

    def entries(self, prefix: str) -> tuple[Entry, ...]:
        """Every object below ``prefix`` with its size and when it was written, sorted by key."""
        with self.translate_errors("list", prefix):
            try:
                found = self._fs.find(self._full(prefix), detail=True)
            except FileNotFoundError:
                return ()
        files = ((path[len(self._path) + 1 :], info) for path, info in found.items() if info["type"] == "file")
        return tuple(sorted((Entry(k, int(i["size"]), modified_at(i)) for k, i in files), key=lambda entry: entry.key))

    def delete(self, prefix: str) -> None:
        """Remove an object, or all below a prefix; nothing there is no error."""
        with self.translate_errors("delete", prefix), contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._full(prefix), recursive=True)

    def zarr(self, key: str, *, read_only: bool = True) -> ZarrStore:
        """A Zarr store at ``key``: a StrictReadStore to read from, or a SummingStore to write every chunk to, once."""
        inner: ZarrStore
        create: Create
        if self.is_local:
            inner, create = LocalStore(self._full(key), read_only=read_only), link_in(self._full(key))
        else:
            with self.translate_errors("open", key):
                connection = self._zarr_reads if read_only else self._zarr_writes
                inner = FsspecStore(connection, path=self._full(key), read_only=read_only)
                create = create_in(connection, self._full(key))
        return StrictReadStore(inner) if read_only else SummingStore(inner, create)

    def require_writable(self) -> None:
        """Write, read and delete a small object; StoreError says what is wrong with the store, before any work."""
        key = probe_key()
        self.put(key, b"galflow")
        self.get(key)
        self.delete(key)
