"""Arrays of many ready-made images in one file, by name, some rows at a time: HDF5, NPZ, NPY, FITS and Parquet.

Only the rows asked for are held in memory. A compressed NPZ member is decompressed in order, once for each reading; a
pickled array is refused. In Parquet, columns inside a column are ``image.flux``; lists of lists are one array.
"""

from __future__ import annotations

import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.lib import format as npy

from galflow.errors import DataError, GalflowError
from galflow.logs import quiet
from galflow.surveys.reading.array_headers import PARSING
from galflow.surveys.reading.files import open_lazily
from galflow.surveys.reading.fits_io import checked_hdus, unzipped
from galflow.surveys.reading.fits_pixels import physical
from galflow.surveys.reading.hdf5 import HDF5_ENDINGS, is_hdf5, opened_hdf5

ENDINGS = (*HDF5_ENDINGS, ".npz", ".npy", ".fits", ".fit", ".parquet")
ONLY = ""
"""Name of the array of a file that has no names."""
_BROKEN = (OSError, EOFError, KeyError, ValueError, TypeError, SyntaxError, MemoryError, zipfile.BadZipFile, zlib.error)
_SKIPPED_AT_ONCE = 1 << 22


class StampArrays(ABC):
    """The arrays of one open file."""

    uri: str

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, objects first; nothing of them is read."""

    @abstractmethod
    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of an array."""

    def require(self, name: str) -> tuple[int, ...]:
        """The shape of an array; DataError where there is none of that name."""
        shapes = self.shapes()
        if name not in shapes:
            known = ", ".join(sorted(shapes)) or "none"
            raise DataError(f"{self.uri} has no array {name!r}; it has {known}")
        return shapes[name]


@contextmanager
def opened_arrays(uri: str) -> Iterator[StampArrays]:
    """The arrays of a file, open as long as the context lasts; DataError for whatever breaks on its content."""
    try:
        if is_hdf5(uri):
            with opened_hdf5(uri) as file:
                yield _Hdf5(uri, file)
        elif uri.lower().endswith(".parquet"):
            with open_lazily(uri) as stored:
                yield _Parquet.opened(uri, stored)
        elif uri.lower().endswith((".fits", ".fit")):
            with unzipped(open_lazily(uri), uri) as (stored, length):
                yield _Fits.opened(uri, stored, length)
        elif uri.lower().endswith(".npy"):
            with open_lazily(uri) as stored:
                yield _Npy(uri, stored)
        elif uri.lower().endswith(".npz"):
            with open_lazily(uri) as stored, zipfile.ZipFile(stored) as archive:
                yield _Npz(uri, archive)
        else:
            raise DataError(f"{uri} is of no known format; expected a name that ends in one of {', '.join(ENDINGS)}")
    except GalflowError:
        raise
    except (*_BROKEN, pa.ArrowException) as error:
        raise DataError(f"{uri} cannot be read ({type(error).__name__}: {error}); fetch it again") from error


@dataclass
class _Hdf5(StampArrays):
    uri: str
    file: Any

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}

        def note(name: str, node: Any) -> None:
            if getattr(node, "shape", None):
                found[name] = tuple(int(side) for side in node.shape)

        self.file.visititems(note)
        return found

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        return np.asarray(self.file[name][start:stop])


@dataclass(frozen=True)
class _Head:
    """The header of an array in NumPy's format."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, stored: Any, uri: str) -> _Head:
        """Read from where the array begins; the file is then at its first pixel."""
        version = npy.read_magic(stored)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with PARSING:
            shape, fortran, dtype = read(stored)
        if dtype.hasobject or fortran:
            kind = "in Fortran's order" if fortran else "of pickled objects"
            raise DataError(f"{uri}: an array is {kind}; save it as a plain array in C's order")
        return cls(tuple(shape), dtype)

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    def rows(self, content: bytes, count: int) -> np.ndarray:
        return np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])


@dataclass
class _Npy(StampArrays):
    uri: str
    file: BinaryIO

    def shapes(self) -> dict[str, tuple[int, ...]]:
        self.file.seek(0)
        return {ONLY: _Head.of(self.file, self.uri).shape}

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        self.file.seek(0)
        head = _Head.of(self.file, self.uri)
        self.file.seek(start * head.row_bytes, 1)
        return head.rows(self.file.read((stop - start) * head.row_bytes), stop - start)


@dataclass
class _Npz(StampArrays):
    uri: str
    archive: zipfile.ZipFile

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for member in self.archive.namelist():
            with self.archive.open(member) as stored:
                found[member.removesuffix(".npy")] = _Head.of(stored, self.uri).shape
        return {name: shape for name, shape in found.items() if shape}

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        with self.archive.open(f"{name}.npy") as stored:
            head = _Head.of(stored, self.uri)
            left = start * head.row_bytes
            while left:  # what is compressed has no places to jump to
                left -= len(stored.read(min(left, _SKIPPED_AT_ONCE))) or left
            return head.rows(stored.read((stop - start) * head.row_bytes), stop - start)


@dataclass
class _Fits(StampArrays):
    uri: str
    hdus: Any

    @classmethod
    def opened(cls, uri: str, stored: BinaryIO, length: int) -> _Fits:
        with quiet(AstropyWarning, UserWarning):
            return cls(uri, checked_hdus(stored, uri, length, as_stored=True))

    def _images(self) -> Mapping[str, Any]:
        images = {str(hdu.name or number): hdu for number, hdu in enumerate(self.hdus) if hdu.is_image and hdu.shape}
        return {ONLY: next(iter(images.values())), **images} if images else {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        found = {name: tuple(int(side) for side in hdu.shape) for name, hdu in self._images().items()}
        for hdu in self.hdus:
            if isinstance(hdu, fits.BinTableHDU) and not isinstance(hdu, fits.CompImageHDU):
                found |= {column: (int(hdu.header["NAXIS2"]),) for column in hdu.columns.names}
        return found

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        images = self._images()
        if name in images:
            hdu = images[name]
            return physical(np.asarray(hdu.section[start:stop]), hdu.header, self.uri)
        table = next(hdu for hdu in self.hdus if isinstance(hdu, fits.BinTableHDU) and name in hdu.columns.names)
        with quiet(AstropyWarning, UserWarning):
            return np.asarray(table.data[name][start:stop])


@dataclass
class _Parquet(StampArrays):
    uri: str
    file: Any
    kept: tuple[tuple[str, int], pa.Table] | None = None
    """(column, row group) -> its rows: planes of one column are asked for in turn."""

    @classmethod
    def opened(cls, uri: str, stored: BinaryIO) -> _Parquet:
        import pyarrow.parquet as pq

        return cls(uri, pq.ParquetFile(stored))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of lists only the number of rows is known; their sides are 0 here."""
        rows = int(self.file.metadata.num_rows)
        found: dict[str, tuple[int, ...]] = {}

        def note(name: str, kind: pa.DataType, depth: int) -> None:
            while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
                kind, depth = kind.value_type, depth + 1
            if pa.types.is_struct(kind):
                for field in kind:
                    note(f"{name}.{field.name}", field.type, depth)
            else:
                found[name] = (rows, *[0] * depth)

        for field in self.file.schema_arrow:
            note(field.name, field.type, 0)
        return found

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        parts, first = [], 0
        for group in range(self.file.num_row_groups):
            count = int(self.file.metadata.row_group(group).num_rows)
            if first < stop and first + count > start:
                rows = self._group(name.partition(".")[0], group).column(0)
                rows = rows.slice(max(0, start - first), min(stop, first + count) - max(start, first))
                parts += [_array_of(chunk, name.split(".")[1:]) for chunk in rows.chunks if len(chunk)]
            first += count
        return np.concatenate(parts)

    def _group(self, column: str, group: int) -> pa.Table:
        if self.kept is None or self.kept[0] != (column, group):
            self.kept = None  # let go of the old one before the new one takes its memory
            self.kept = (column, group), self.file.read_row_group(group, columns=[column])
        return self.kept[1]


def _array_of(column: pa.Array, path: list[str]) -> np.ndarray:
    """(n, ...) of lists, of structs of lists, or of lists of structs. ValueError where cells differ in length."""
    shape = [len(column)]
    while pa.types.is_nested(column.type) or isinstance(column, pa.ExtensionArray):
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
            continue
        if pa.types.is_struct(column.type):
            column, path = column.field(path[0]), path[1:]
            continue
        lengths = pc.unique(pc.list_value_length(column))
        if len(lengths) != 1 or lengths[0].as_py() is None:
            raise ValueError(f"its cells differ in length ({', '.join(map(str, lengths.to_pylist()[:4]))})")
        shape.append(lengths[0].as_py())
        column = column.flatten()
    if column.null_count:
        raise ValueError(f"{column.null_count} of its values are null")
    return np.asarray(column.to_numpy(zero_copy_only=False)).reshape(shape)
