"""What lies on a store and belongs to no published run: found by reading manifests, removed only when asked.

Products that no manifest refers to may still be wanted: a run that is under way, or one that broke off and will be
continued, has no manifest yet. So nothing that changed within a grace period counts as garbage. This file never looks
into a product.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from galflow.receipts import RECEIPT_SUFFIX, as_key, list_runs, read_manifest
from galflow.store import Entry, Store

GRACE = timedelta(days=7)

_PRODUCT = re.compile(
    r"(cutouts/.+?\.zarr|(?:scores|joins)/.+?\.parquet|comparisons/.+?\.json|models/[^/]+/[^/.]+|catalogs/[^/]+/[^/.]+"
    r"|reports/[^/.]+|runs/\.writable-[0-9a-f]+)(?=[/.]|$)"
)
"""The product (receipts.Receipt.product) that a key belongs to, by the layout of the design."""


@dataclass(frozen=True)
class Garbage:
    """One product that nothing refers to."""

    product: str
    keys: tuple[str, ...]
    """Its files and its receipt."""
    size: int
    """Bytes."""
    modified: datetime
    """When the newest of them was written."""

    @property
    def kind(self) -> str:
        """The first part of the key: cutouts, models, scores, ..."""
        return self.product.split("/")[0]


def product_of(key: str) -> str | None:
    """The product that a key belongs to; None for what is no product, such as a manifest."""
    found = _PRODUCT.match(key)
    return found[1] if found else None


def find_garbage(store: Store, *, grace: timedelta = GRACE, now: datetime | None = None) -> list[Garbage]:
    """Products without a manifest that refers to them, unchanged for ``grace``; sorted by product.

    IntegrityError if a manifest cannot be read: what it refers to is then unknown, and nothing can be called garbage.
    """
    wanted = referred(store)
    by_product: dict[str, list[Entry]] = {}
    for prefix in ("cutouts", "joins", "models", "scores", "comparisons", "catalogs", "reports", "runs"):
        for entry in store.entries(prefix):
            product = product_of(entry.key)
            if product is not None and product not in wanted:
                by_product.setdefault(product, []).append(entry)
    before = (now or datetime.now(UTC)) - grace
    found = [_garbage(product, entries) for product, entries in sorted(by_product.items())]
    return [garbage for garbage in found if garbage.modified <= before]


def referred(store: Store) -> set[str]:
    """Every product that some manifest refers to."""
    found: set[str] = set()
    for run in list_runs(store):
        manifest = read_manifest(store, run)
        if manifest is None:
            continue
        found |= {key.removesuffix(RECEIPT_SUFFIX) for keys in manifest.products.values() for key in keys}
        found.add(f"reports/{run}")  # also where only Dask's performance reports lie there
        # A model that was given as trained has no receipt of this run, but may lie on this store.
        found |= {as_key(model).removeprefix(f"{store.root}/") for model in manifest.models.values()}
    return found


def _garbage(product: str, entries: Iterable[Entry]) -> Garbage:
    entries = list(entries)
    return Garbage(
        product,
        tuple(entry.key for entry in entries),
        sum(entry.size for entry in entries),
        max(entry.modified for entry in entries),
    )


def remove(store: Store, garbage: Iterable[Garbage]) -> None:
    """Remove products, each with its receipt first: a product without one is to do, a receipt without one lies."""
    for product in garbage:
        for key in sorted(product.keys, key=lambda key: not key.endswith(RECEIPT_SUFFIX)):
            store.delete(key)
