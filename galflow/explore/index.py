"""Where the rows of a run lie for the explorer: in memory, or for a large catalogue in a folder that is built once.

The folder holds copies and nothing else: it may be deleted at any time and is built anew.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq

from galflow.catalog.files import file_keys
from galflow.explore.columns import ExploredColumns
from galflow.explore.database import Progress, connect, fill
from galflow.explore.described import Described, describe
from galflow.explore.orders import Orders
from galflow.explore.rows import Rows
from galflow.spec.run import fingerprint
from galflow.storage.layout import as_key
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

LARGEST_IN_MEMORY = 300_000
"""Rows of a catalogue that is read anew at each start."""
INDEX_VERSION = "1"
"""Raised when the folders that were built before cannot be read any longer."""
_DATABASE, _FIRST = "rows.duckdb", "anomaly_rank"


def cache_folder() -> Path:
    """Where large catalogues are kept by default: galflow/explore in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "galflow", "explore")


def open_rows(
    store: Store, manifest: RunManifest, cache: Path | None = None, progress: Progress = lambda _: None
) -> tuple[Rows, Described]:
    """The rows of a run's catalogue, in memory or in a folder below ``cache``, which is built if it is not there."""
    keys = file_keys(store, as_key(manifest.catalog))
    with store.reading(keys[0]) as source:
        columns = ExploredColumns(pq.read_schema(source))
    first = columns.get(_FIRST)
    if _count(store, keys) <= LARGEST_IN_MEMORY:
        connection = connect()
        fill(connection, store, keys, columns, lambda _: None)
        rows = Rows(connection, columns, Orders(None, first))
        return rows, describe(rows)
    folder = (cache or cache_folder()) / fingerprint(INDEX_VERSION, store.root, manifest.run, manifest.finished)
    orders = Orders(folder, first)
    if not folder.exists():
        _build(folder, store, keys, columns, progress)
    rows = Rows(connect(folder / _DATABASE, read_only=True), columns, orders)
    rows.sort_all(progress)
    return rows, _described(rows, folder, progress)


def _described(rows: Rows, folder: Path, progress: Progress) -> Described:
    """What was found at the first time."""
    kept = folder / "described.json"
    if kept.exists():
        return Described.from_json(json.loads(kept.read_text(encoding="utf-8")))
    progress("classes, tiles and distributions")
    found = describe(rows)
    temporary = kept.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(found.to_json()), encoding="utf-8")
    os.replace(temporary, kept)
    return found


def _count(store: Store, keys: list[str]) -> int:
    """Rows of these files; counted no further than is needed."""
    rows = 0
    for key in keys:
        with store.reading(key) as source:
            rows += pq.read_metadata(source).num_rows
        if rows > LARGEST_IN_MEMORY:
            break
    return rows


def _build(folder: Path, store: Store, keys: list[str], columns: ExploredColumns, progress: Progress) -> None:
    """The folder, whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True, mode=0o700)
    try:
        connection = connect(unfinished / _DATABASE)
        try:
            fill(connection, store, keys, columns, progress)
        finally:
            connection.close()
        try:
            os.rename(unfinished, folder)
        except OSError:
            if not folder.exists():  # else another explorer was first
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
