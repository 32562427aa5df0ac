"""Which Parquet files a published catalogue has; they are read elsewhere."""

from __future__ import annotations

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
