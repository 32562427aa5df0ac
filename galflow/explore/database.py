"""The rows of a catalogue in a DuckDB database of the explorer's own, filled from the store file by file.

The database reads no file and no address but its own: external access is off, no extension is fetched, and the
configuration is locked, so that whatever a query says stays in these rows. Rows come in through pyarrow and galflow's
store, from a folder and from S3 alike.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.explore.columns import ExploredColumns
from galflow.storage.store import Store

TABLE = "rows"
_ROWS_AT_ONCE = 122_880  # a row group of DuckDB's
_MEMORY = "700MB"
_THREADS = 2

Progress = Callable[[str], None]


def connect(path: Path | None = None, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A database in memory, or the one at ``path``, that can reach nothing else."""
    config: dict[str, Any] = {
        "memory_limit": _MEMORY,
        "threads": _THREADS,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allow_community_extensions": False,
        "preserve_insertion_order": True,
    }
    connection = duckdb.connect(":memory:" if path is None else str(path), read_only=read_only, config=config)
    if path is not None:
        connection.execute("SET temp_directory = $folder", {"folder": str(path.parent / "temporary")})
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


AddedTo = Callable[[pa.Table], pa.Table]
"""Adds columns of the explorer's own to rows of the catalogue."""


def fill(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    keys: list[str],
    columns: ExploredColumns,
    added_to: AddedTo,
    progress: Progress,
) -> None:
    """Put the rows of these Parquet files, of one schema, into the table, in their order."""
    for number, key in enumerate(keys, 1):
        progress(f"rows: file {number} of {len(keys)}")
        with store.reading(key) as source, pq.ParquetFile(source, pre_buffer=True) as file:
            if number == 1:
                empty = added_to(file.schema_arrow.empty_table())
                _add(connection, f"CREATE TABLE {TABLE} AS", empty, columns)
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                _add(connection, f"INSERT INTO {TABLE}", added_to(pa.Table.from_batches([batch])), columns)


def _add(connection: duckdb.DuckDBPyConnection, verb: str, table: pa.Table, columns: ExploredColumns) -> None:
    numbered = table.select(list(columns)).rename_columns([column.sql for column in columns.values()])
    connection.register("incoming", numbered)
    connection.execute(f"{verb} SELECT * FROM incoming")
    connection.unregister("incoming")
