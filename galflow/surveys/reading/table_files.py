"""Which reader a catalogue needs, by its name: FITS, Parquet, VOTable, HDF5, text (CSV, TSV, ECSV), or a HATS folder.

FITS, VOTable and text may be gzipped.

Whatever a library raises on a file's content comes out as a DataError with the file's name; other names are refused.
"""

from __future__ import annotations

import gzip
import zlib

import pyarrow as pa

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.files import read_bytes
from galflow.surveys.reading.fits_io import Extension
from galflow.surveys.reading.hdf5 import is_hdf5
from galflow.surveys.reading.table_fits import read_fits_table
from galflow.surveys.reading.table_hats import Near, read_hats_table
from galflow.surveys.reading.table_hdf5 import read_hdf5_table
from galflow.surveys.reading.table_parquet import read_parquet_table
from galflow.surveys.reading.table_text import read_text_table
from galflow.surveys.reading.table_votable import read_votable

_FITS = ("fits", "fit", "fts")
_TEXT = ("csv", "tsv", "ecsv")
_PARQUET = ("parquet", "parq")
_VOTABLE = ("vot", "votable", "xml")


def is_text(uri: str) -> bool:
    """Whether the file is one in which numbers are written out, so that text and numbers are told apart by looks."""
    return _ending(uri) in _TEXT


def is_hats(uri: str) -> bool:
    """Whether the name is that of a folder, which holds a HATS catalogue."""
    return "." not in uri.rstrip("/").rsplit("/", 1)[-1] or uri.endswith("/")


def _ending(uri: str) -> str:
    return uri.lower().removesuffix(".gz").rsplit(".", 1)[-1]


def load_table(
    uri: str,
    extension: Extension = None,
    *,
    as_text: frozenset[str] = frozenset(),
    head: int | None = None,
    near: Near | None = None,
) -> pa.Table:
    """The table, or its first ``head`` rows, as it is; columns of ``as_text`` stay text in text files.

    ``near``: which rows of a HATS catalogue are asked for; of other files all are read.
    ``extension``: the HDU of FITS, the path in HDF5, the table of a VOTable. A name without an ending is a HATS folder.
    Raises SpecError for a name of no known ending, DataError for a file that cannot be read.
    """
    ending, folder = _ending(uri), is_hats(uri)
    if ending not in _FITS + _TEXT + _PARQUET + _VOTABLE and not is_hdf5(uri) and not folder:
        raise SpecError(
            f"{uri} is no catalogue that can be read; expected a name ending in .fits, .csv, .tsv, .ecsv, .parquet, "
            ".vot, .xml or .hdf5, or the folder of a HATS catalogue"
        )
    try:
        if ending in _FITS:
            return read_fits_table(uri, extension, head)
        if is_hdf5(uri):
            return read_hdf5_table(uri, extension, head)
        if folder:
            return read_hats_table(uri, head, near)
        content = read_bytes(uri)
        if uri.lower().endswith(".gz"):
            content = gzip.decompress(content)
        if ending in _PARQUET:
            return read_parquet_table(content, uri, head)
        if ending in _VOTABLE:
            return read_votable(content, uri, extension, head)
        return read_text_table(content, uri, as_text=as_text, head=head)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{uri} is truncated or corrupt: {error}; fetch it again") from error
    except (pa.ArrowException, MemoryError, OverflowError) as error:
        raise DataError(f"{uri} cannot be read ({type(error).__name__}: {error}); fetch it again") from error
