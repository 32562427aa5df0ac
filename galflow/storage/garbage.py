"""What lies on a store and belongs to no published run: found by reading manifests, removed only when asked.

Products that no manifest refers to may still be wanted: a run that is under way, or one that broke off and will be
continued, has no manifest yet. So nothing counts as garbage that a run under way may use (galflow.storage.leases), nor
what was written or used within a grace period. This file never looks into a product.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from galflow.storage.layout import EMULATED, PRODUCT_KINDS, RECEIPT_SUFFIX, RUNS, as_key, product_of, report_product
from galflow.storage.leases import EXPIRY, Lease, Sweep, forget, read_leases, sweeping
from galflow.storage.receipts import list_runs, read_manifest
from galflow.storage.store import Entry, Store

GRACE = timedelta(days=7)


@dataclass(frozen=True)
class Garbage:
    """One product that nothing refers to."""

    product: str
    keys: tuple[str, ...]
    """Its files and its receipt."""
    size: int
    """Bytes."""
    modified: datetime
    """When the newest of them was written, or the product was last used, by the store's time."""

    @property
    def kind(self) -> str:
        """The first part of the key: cutouts, models, scores, ..."""
        return self.product.split("/")[0]


def find_garbage(
    store: Store, *, grace: timedelta = GRACE, now: datetime | None = None, leases: Sequence[Lease] | None = None
) -> list[Garbage]:
    """Products without a manifest that refers to them, unchanged and unused for ``grace``; sorted by product.

    What a live lease covers is none. ``now`` is the store's time, by default this machine's; ``leases`` are
    those of the store, by default read here: before the manifests, since a run that ends puts its manifest first.
    IntegrityError if a manifest cannot be read: what it refers to is then unknown, and nothing can be called garbage.
    """
    leases = read_leases(store) if leases is None else leases
    now = now or datetime.now(UTC)
    live = [lease for lease in leases if lease.lives(now)]
    wanted = referred(store)
    by_product: dict[str, list[Entry]] = {}
    for prefix in (*(kind for kind in PRODUCT_KINDS if kind != EMULATED), RUNS):
        for entry in store.entries(prefix):
            product = product_of(entry.key)
            if product is None or _lies_in(entry.key, wanted):
                continue
            if not any(lease.covers(product) for lease in live):
                by_product.setdefault(product, []).append(entry)
    found = [_garbage(product, entries, leases) for product, entries in sorted(by_product.items())]
    return [garbage for garbage in found if garbage.modified <= now - _grace_of(garbage, grace)]


def _lies_in(key: str, products: Set[str]) -> bool:
    """Whether a key is one of these products, its receipt, or what lies in or beside it."""
    return any(key[: match.start()] in products for match in re.finditer(r"[/.]|$", key))


def _grace_of(garbage: Garbage, grace: timedelta) -> timedelta:
    """A run tries whether it can write before it holds a lease."""
    return max(grace, EXPIRY) if garbage.kind == RUNS else grace


def referred(store: Store) -> set[str]:
    """Every product that some manifest refers to."""
    found: set[str] = set()
    for run in list_runs(store):
        manifest = read_manifest(store, run)
        if manifest is None:
            continue
        found |= {key.removesuffix(RECEIPT_SUFFIX) for keys in manifest.products.values() for key in keys}
        found.add(report_product(run))  # also where only Dask's performance reports lie there
        # A model that was given as trained has no receipt of this run, but may lie on this store.
        found |= {as_key(model).removeprefix(f"{store.root}/") for model in manifest.models.values()}
    return found


def _garbage(product: str, entries: Iterable[Entry], leases: Iterable[Lease]) -> Garbage:
    entries = list(entries)
    return Garbage(
        product,
        tuple(entry.key for entry in entries),
        sum(entry.size for entry in entries),
        max([entry.modified for entry in entries] + [lease.modified for lease in leases if product in lease.used]),
    )


def remove(store: Store, garbage: Iterable[Garbage], sweep: Sweep) -> None:
    """Remove products, each with its receipt first: a product without one is to do, a receipt without one lies.

    StoreError if ``sweep`` could not be renewed: a run may then have begun.
    """
    for product in garbage:
        for key in sorted(product.keys, key=lambda key: not key.endswith(RECEIPT_SUFFIX)):
            sweep.require()
            store.delete(key)


def collect(store: Store, grace: timedelta = GRACE) -> tuple[list[Garbage], list[str]]:
    """Remove garbage while runs that begin wait; what was removed, and a line for each run whose products were kept."""
    with sweeping(store) as (sweep, now):
        leases = read_leases(store)
        found = find_garbage(store, grace=grace, now=now, leases=leases)
        remove(store, found, sweep)
        forget(store, [lease for lease in leases if not lease.lives(now) and lease.modified <= now - grace])
    return found, runs_under_way(leases, now)


def runs_under_way(leases: Iterable[Lease], now: datetime) -> list[str]:
    """A line for each run that is under way."""
    return [lease.told(now) for lease in leases if lease.lives(now)]
