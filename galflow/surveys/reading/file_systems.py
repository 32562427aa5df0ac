"""Where a URI leads: to a local path or to an fsspec file system; and what its errors are to whoever reads there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from galflow.errors import SpecError, StoreError
from galflow.spec.addresses import require_clean_endpoints
from galflow.storage.errors import kind_of


def local_path(uri: str) -> str | None:
    """The path of a local file, None for one in an object store."""
    if uri.startswith("file://"):
        return uri[len("file://") :]
    return None if "://" in uri else uri


def file_system(uri: str) -> Any:
    """The fsspec file system of a URI, without a listings cache."""
    protocol = uri.split("://", 1)[0] if "://" in uri else "file"
    require_clean_endpoints()
    try:
        return fsspec.filesystem(protocol, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise SpecError(f"{uri}: {protocol}:// cannot be read ({error}); use a path, file:// or s3://") from error


@contextmanager
def reading_errors(uri: str) -> Iterator[None]:
    """Errors of disk, network and object store as StoreError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{uri} does not exist; expected a readable file, check root and file patterns") from error
    except (OSError, BotoCoreError, ClientError) as error:
        raise kind_of(error)(
            f"{uri} cannot be read ({type(error).__name__}: {error}); check its permissions, or AWS_ENDPOINT_URL "
            "and credentials in the environment"
        ) from error
