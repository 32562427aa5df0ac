"""One Zarr group of a product, written once: arrays of pictures shard after shard, then all the rest.

No object that is there already is replaced, and every one gets its checksum. This file knows no array's meaning.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

from galflow.cutouts.zarr_writing import ShardWriter
from galflow.errors import IntegrityError, TakenError
from galflow.storage.checksums import FileSum, SummingStore
from galflow.storage.store import Store

_PICTURE_AXES = 4
"""(object, band, y, x)."""


class GroupWriter:
    """What writers of such groups share. To be used as a context, once ``open_shards`` was called."""

    _shards: ShardWriter

    def __init__(self, store: Store, product: str) -> None:
        self._store, self._product = store, product
        with store.translate_errors("write", product):
            zarr_store = store.zarr(product, read_only=False)
        if not isinstance(zarr_store, SummingStore):
            raise IntegrityError(f"{store.uri(product)} was opened without checksums; open it with read_only=False")
        self._zarr = zarr_store

    def open_shards(self, names: Sequence[str], chunks_in_shard: int) -> None:
        """Ready to write arrays of these names."""
        store, product = self._store, self._product
        self._shards = ShardWriter(
            lambda key: store.stream(f"{product}/{key}"), tuple(names), _PICTURE_AXES, chunks_in_shard
        )

    def __enter__(self) -> Self:
        self._shards.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._shards.__exit__(kind, error, traceback)

    def written(self) -> dict[str, FileSum]:
        """Checksums of all that was written, for the receipt; TakenError if anything else lies in the product."""
        found = self._shards.sums | self._zarr.sums
        _require_alone(self._store, self._product, found)
        return found


def _require_alone(store: Store, product: str, written: Collection[str]) -> None:
    """TakenError if other objects than those ``written``, paths below a product, lie in it.

    So it is after an attempt that was cut short, by a galflow that laid it out otherwise.
    """
    if others := set(store.list(f"{product}/")) - {f"{product}/{path}" for path in written}:
        raise TakenError(f"{store.uri(product)} holds {len(others)} objects that are not of it, as {min(others)}")
