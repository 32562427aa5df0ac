"""What a file system or an object store raises, as a StoreError that names URI, cause and mend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from galflow.errors import StoreError, UnreachableError

_NO_ANSWER = (
    "EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ConnectionClosedError", "HTTPClientError"
)  # fmt: skip
"""Botocore's classes, by name: it is not imported for a store that is a folder."""


@contextlib.contextmanager
def translated(verb: str, uri: str) -> Iterator[None]:
    """Raise StoreError for whatever goes wrong inside; what is no matter of the store is left as it is."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"cannot {verb} {uri}: it does not exist ({error})") from error
    except PermissionError as error:
        raise StoreError(
            f"cannot {verb} {uri}: access refused ({error}); check the folder's permissions or, for S3, "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy"
        ) from error
    except OSError as error:
        raise kind_of(error)(
            f"cannot {verb} {uri}: {type(error).__name__}: {error}; check that the disk has room or, for "
            "S3, that AWS_ENDPOINT_URL is right and the server is up"
        ) from error
    except Exception as error:
        if not type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "asyncio")):
            raise
        raise kind_of(error)(
            f"cannot {verb} {uri}: {type(error).__name__}: {error}; check the credentials "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and AWS_ENDPOINT_URL"
        ) from error


def kind_of(error: Exception) -> type[StoreError]:
    """UnreachableError where a server gave no answer, which may pass; StoreError for all else."""
    silent = isinstance(error, ConnectionError | TimeoutError) or type(error).__name__ in _NO_ANSWER
    return UnreachableError if silent else StoreError


def says_taken(error: OSError) -> bool:
    """Whether this is the answer of a folder or an object store that holds what was to be created."""
    return (
        isinstance(error, FileExistsError)
        or "PreconditionFailed" in str(error)
        or "pre-condition" in str(error).lower()
    )
