"""Catalogue files as Parquet: one schema, held to when written, with VOParquet's metadata; and read back.

All files of a catalogue's folder have one schema, so that every tool opens the folder as one table. Nothing here knows
a store: bytes go out and come in.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from galflow.catalog.schema import conform
from galflow.catalog.votable import votable_document
from galflow.errors import IntegrityError, StoreError

ROWS_PER_GROUP = 1 << 17
"""Rows that a reader can skip together."""
_VERSION_KEY, _CONTENT_KEY = b"IVOA.VOTable-Parquet.version", b"IVOA.VOTable-Parquet.content"
_FIELD_ID = b"PARQUET:field_id"


def to_parquet(table: pa.Table, schema: pa.Schema) -> bytes:
    """The table, held to ``schema``, as a Parquet file (zstd); the same rows give the same bytes, however chunked.

    Raises DataError or ModelError where the table does not conform.
    """
    whole = conform(table, schema)
    sink = io.BytesIO()
    with _writer(sink, schema, _lengths(whole)) as writer:
        for start in range(0, max(1, len(whole)), ROWS_PER_GROUP):  # a second copy of one group, not of all rows
            writer.write_table(whole.slice(start, ROWS_PER_GROUP).combine_chunks(), row_group_size=ROWS_PER_GROUP)
    return sink.getvalue()


def write_parquet(tables: Callable[[], Iterable[pa.Table]], schema: pa.Schema, path: Path) -> None:
    """Write all rows of ``tables()`` as one such file, one table in memory at a time.

    ``tables`` is called twice, for the lengths of texts and for the rows, and gives the same tables each time.
    """
    lengths = _lengths(conform(schema.empty_table(), schema))
    for table in tables():
        lengths = _longest(lengths, _lengths(conform(table, schema)))
    with _writer(path, schema, lengths) as writer:
        for table in tables():
            writer.write_table(conform(table, schema).combine_chunks(), row_group_size=ROWS_PER_GROUP)


def _writer(sink: BinaryIO | Path, schema: pa.Schema, lengths: Mapping[str, int]) -> pq.ParquetWriter:
    metadata = {_VERSION_KEY: b"1.0", _CONTENT_KEY: votable_document(schema, lengths)}
    # As astropy notes them: without, its reader warns, and ends in an error at the first null.
    metadata |= {f"table::len::{name}".encode(): str(n).encode() for name, n in lengths.items() if n}
    return pq.ParquetWriter(sink, schema.with_metadata(metadata), compression="zstd", version="2.6")


def _lengths(table: pa.Table) -> dict[str, int]:
    return {field.name: n for field in table.schema if (n := _length(table[field.name])) is not None}


def _longest(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Of two parts of a table; a column without a length in either is without one, 0 of truth values stays 0."""
    names = dict.fromkeys([*before, *now])
    return {name: max(before.get(name, 0), now.get(name, 0)) for name in names}


def _length(column: pa.ChunkedArray) -> int | None:
    """The longest text (in characters) or piece of bytes; that of "None", which astropy makes of a null, at least.

    0 for truth values of which some are null: to astropy these are objects, as are texts without a length.
    """
    kind, none = column.type, 4 if column.null_count else 1
    if pa.types.is_string(kind):
        return max(none, pc.max(pc.utf8_length(column)).as_py() or 0)
    if pa.types.is_binary(kind):
        return max(none, pc.max(pc.binary_length(column)).as_py() or 0)
    return 0 if pa.types.is_boolean(kind) and column.null_count else None


def _open(source: str | Path | bytes) -> pq.ParquetFile:
    what = "the bytes given" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise StoreError(f"no catalogue at {what}; expected a Parquet file (galflow show RUN says where one is)")
    try:
        # Not through the dataset reader, which would make columns of folder names such as "Norder=3".
        return pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(what, error) from error


def _damaged(what: str, error: Exception) -> IntegrityError:
    return IntegrityError(
        f"{what} cannot be read as Parquet ({error}); expected a whole Parquet file. "
        "galflow verify lists what is damaged"
    )


def read_catalog(source: str | Path | bytes) -> pa.Table:
    """The table of a Parquet catalogue, given as bytes or as a local path. Raises StoreError or IntegrityError."""
    try:
        with _open(source) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise _damaged("the bytes given" if isinstance(source, bytes) else str(source), error) from error


def read_columns(file: BinaryIO, name: str, columns: Sequence[str]) -> pa.Table:
    """Some columns of the Parquet file ``name``, and of its bytes little more than theirs; IntegrityError if damaged.

    Nothing is compared with a checksum, which is of the whole.
    """
    try:
        with pq.ParquetFile(file, pre_buffer=True) as opened:
            return opened.read(list(dict.fromkeys(columns)))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the store, not of what was read
            raise
        raise _damaged(name, error) from error


def schema_of(source: str | Path | bytes) -> pa.Schema:
    """The schema that a catalogue file was written with, from its footer alone: what ``to_parquet`` was given."""
    with _open(source) as file:
        schema = file.schema_arrow
    return pa.schema([_without_field_id(field) for field in schema])


def _without_field_id(field: pa.Field) -> pa.Field:
    said = {key: text for key, text in (field.metadata or {}).items() if key != _FIELD_ID}
    return field.with_metadata(said or None)
