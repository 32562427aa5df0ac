"""Which Parquet files a published catalogue has, and columns of them one after another. Imports no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from galflow.catalog.parquet import read_columns
from galflow.errors import StoreError
from galflow.storage.store import Store


def file_keys(store: Store, product: str) -> list[str]:
    """Keys of a catalogue's Parquet files; StoreError if there are none."""
    keys = [k for k in store.list(product) if k.startswith(f"{product}/") and k.endswith(".parquet")]
    if not keys:
        raise StoreError(
            f"no catalogue at {store.uri(product)}; publish it before its report (`galflow runs` lists what has been "
            "published)"
        )
    return keys


def each_file(store: Store, product: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These columns of a catalogue's objects, file after file; no more than one is in memory.

    An object of the sky comes once: by its primary row.
    """
    for key in file_keys(store, product):
        table = read_columns_of(store, key, ["is_primary", *columns])
        yield table.filter(table.column("is_primary")).select(list(columns))


def read_columns_of(store: Store, key: str, columns: Sequence[str]) -> pa.Table:
    """These columns of one Parquet file, and little more of its bytes; IntegrityError if it is damaged."""
    with store.reading(key) as file:
        return read_columns(file, store.uri(key), columns)
