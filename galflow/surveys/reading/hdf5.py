"""Opening HDF5 files, local or in an object store, of which only what is asked for is read. Needs h5py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from galflow.errors import DataError, GalflowError, SpecError
from galflow.surveys.reading.files import open_lazily

HDF5_ENDINGS = (".h5", ".hdf5", ".hdf", ".he5")
_BROKEN = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError)
"""What h5py raises on damaged files and on names that are not there."""


def is_hdf5(uri: str) -> bool:
    """Whether a name ends as HDF5 files' do."""
    return uri.lower().endswith(HDF5_ENDINGS)


@contextmanager
def opened_hdf5(uri: str) -> Iterator[Any]:
    """The file as h5py sees it, open as long as the context lasts.

    Raises SpecError where h5py is not installed, DataError for whatever breaks on the file's content.
    """
    try:
        import h5py  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise SpecError(f"{uri} is HDF5, which needs h5py; install it: pip install 'galflow[hdf5]'") from None
    with open_lazily(uri) as stored:
        try:
            with h5py.File(stored, "r") as file:
                yield file
        except GalflowError:
            raise
        except _BROKEN as error:
            raise DataError(
                f"{uri} cannot be read as HDF5 ({type(error).__name__}: {error}); fetch it again"
            ) from error


def decoded_text(values: np.ndarray) -> list[str | None]:
    """Texts of a column of bytes or strings, without trailing blanks; what is no UTF-8 is Latin-1."""

    def text(value: Any) -> str | None:
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                value = value.decode("latin-1")
        return None if value is None else str(value).rstrip("\0 ")

    return [text(value) for value in values.tolist()]
