"""Where the rows of a run lie for the explorer: in memory, or for a large catalogue in a folder that is built once.

The folder holds copies and nothing else: it may be deleted at any time and is built anew.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from galflow.catalog.files import file_keys
from galflow.explore.columns import ExploredColumns
from galflow.explore.copies import DATABASE, CopyOf, delete_old, use
from galflow.explore.database import Progress, connect, fill
from galflow.explore.described import Described, describe
from galflow.explore.latents import LatentAxes, latent_columns
from galflow.explore.rows import Rows
from galflow.storage.layout import as_key
from galflow.storage.receipts import RunManifest
from galflow.storage.store import Store

LARGEST_IN_MEMORY = 300_000
"""Rows of a catalogue that is read anew at each start."""


def cache_folder() -> Path:
    """Where large catalogues are kept by default: galflow/explore in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "galflow", "explore")


@dataclass(frozen=True, eq=False)
class OpenedRows:
    """The rows of a run, and what is known of them."""

    rows: Rows
    described: Described
    latents: LatentAxes | None
    """Of the columns by the run's latents; None: it has none."""


def open_rows(
    store: Store, manifest: RunManifest, cache: Path | None = None, progress: Progress = lambda _: None
) -> OpenedRows:
    """The rows of a run's catalogue, in memory or in a folder below ``cache``, which is built if it is not there."""
    keys = file_keys(store, as_key(manifest.catalog))
    if _count(store, keys) <= LARGEST_IN_MEMORY:
        connection = connect()
        columns, latents = _filled(connection, store, manifest, keys, lambda _: None)
        rows = Rows(connection, columns)
        return OpenedRows(rows, describe(rows), latents)
    cache = cache or cache_folder()
    folder = cache / CopyOf.run_of(store, manifest).folder
    with ExitStack() as opening:
        used = _used_or_built(folder, store, manifest, keys, progress)
        opening.callback(used.close)
        delete_old(cache, store, manifest, progress)
        copy = CopyOf.read(folder)
        latents = None if copy is None or copy.added is None else LatentAxes.from_json(copy.added)
        columns = ExploredColumns(_with(_schema(store, keys), latents))
        rows = Rows(connect(folder / DATABASE, read_only=True), columns, folder, used)
        opening.callback(rows.close)
        rows.prepare(progress)
        found = OpenedRows(rows, _described(rows, folder, progress), latents)
        opening.pop_all()
        return found


def _schema(store: Store, keys: list[str]) -> pa.Schema:
    with store.reading(keys[0]) as source:
        return pq.read_schema(source)


def _with(schema: pa.Schema, latents: LatentAxes | None) -> pa.Schema:
    for field in () if latents is None else latents.fields():
        schema = schema.append(field)
    return schema


def _filled(
    connection: duckdb.DuckDBPyConnection, store: Store, manifest: RunManifest, keys: list[str], progress: Progress
) -> tuple[ExploredColumns, LatentAxes | None]:
    """The columns that the rows have now, the catalogue's and those by its latents."""
    schema = _schema(store, keys)
    made = latent_columns(store, manifest, schema)
    columns = ExploredColumns(_with(schema, None if made is None else made.axes))
    fill(connection, store, keys, columns, (lambda table: table) if made is None else made.added_to, progress)
    return columns, None if made is None else made.axes


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


def _used_or_built(folder: Path, store: Store, manifest: RunManifest, keys: list[str], progress: Progress) -> IO[bytes]:
    """The folder, whole, kept from being deleted until the file is closed."""
    with suppress(FileNotFoundError):
        return use(folder)
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    unfinished.mkdir(parents=True, mode=0o700)
    used = use(unfinished)  # the file goes along when the folder is renamed
    try:
        connection = connect(unfinished / DATABASE)
        try:
            _, latents = _filled(connection, store, manifest, keys, progress)
        finally:
            connection.close()
        CopyOf.run_of(store, manifest, None if latents is None else latents.to_json()).write(unfinished)
        try:
            os.rename(unfinished, folder)
        except OSError:
            used.close()
            return use(folder)  # another explorer was first; else it says that there is none
    except BaseException:
        used.close()
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return used
