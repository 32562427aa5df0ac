"""Ranges of one file in an object store, all of the file that was opened: none of another that took its place.

An S3 store is told the etag of the opening with each request (If-Match), and the etag of each answer is compared, for
a store that does not look at it. It keeps nothing, and knows nothing of what a file holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fsspec.asyn import _run_coros_in_chunks, sync

from galflow.errors import ChangedError
from galflow.storage.errors import says_taken
from galflow.surveys.reading.file_systems import file_system, reading_errors

_REQUESTS_AT_ONCE = 64
"""Ranges of a file fetched side by side."""


class OpenedObject:
    """A file as it is when this is made: one request, for its length and etag."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._system = file_system(uri)
        with reading_errors(uri):
            found = self._system.info(uri)
        self.size = int(found["size"])
        self._etag: str | None = found.get("ETag")

    def fetch(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each range [start, stop). StoreError; ChangedError where the file is another by now."""
        with reading_errors(self.uri):
            try:
                found = self._guarded(ranges) if "s3" in self._system.protocol else self._plain(ranges)
            except OSError as error:
                if says_taken(error):
                    raise self._changed("the store refuses its etag") from error
                raise
            if sum(map(len, found)) != sum(stop - start for start, stop in ranges):
                raise OSError("the store gave fewer bytes than the file has")
        return found

    def _plain(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Of a store without etags."""
        starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
        found: list[bytes] = self._system.cat_ranges(
            [self.uri] * len(ranges), starts, stops, batch_size=_REQUESTS_AT_ONCE, on_error="raise"
        )
        return found

    def _guarded(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        from s3fs.core import _error_wrapper  # its retries of a broken answer

        bucket, key, _ = self._system.split_path(self.uri)
        known = {} if self._etag is None else {"IfMatch": self._etag}

        async def part(start: int, stop: int) -> bytes:
            answer: Any = await self._system._call_s3(
                "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **known
            )
            try:
                if self._etag is not None and answer.get("ETag", self._etag) != self._etag:
                    raise self._changed(f"an answer has etag {answer['ETag']}")
                content: bytes = await answer["Body"].read()
            finally:
                answer["Body"].close()
            return content

        async def parts() -> list[bytes]:
            found: list[bytes] = await _run_coros_in_chunks(
                [_error_wrapper(part, args=each, retries=self._system.retries) for each in ranges],
                batch_size=_REQUESTS_AT_ONCE,
                nofiles=True,
            )
            return found

        return list(sync(self._system.loop, parts))

    def _changed(self, what: str) -> ChangedError:
        return ChangedError(
            f"{self.uri} was replaced while it was read: it was opened with etag {self._etag}, and {what}; the same "
            "command again takes the new one"
        )
