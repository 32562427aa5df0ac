"""How a product is written so that its receipt always matches its files, whoever else is making it at the same time.

Two runs may make one product at once, or Dask has a unit done again while a worker that it took for dead still writes.
No file of a product is ever replaced (Store.put_once): equal bytes are left as they are, and whoever finds other bytes
takes the product that lies there once it has its receipt, or else writes its own under a key that nobody else has.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from galflow.errors import IntegrityError, TakenError
from galflow.storage.checksums import FileSum
from galflow.storage.layout import own_key, receipt_key
from galflow.storage.receipts import Outcome, Receipt, parse_receipt, verify_product, write_receipt
from galflow.storage.store import Store

PATIENCE_SECONDS = 10.0
"""So long a product with other bytes is given to get its receipt; that of an attempt that broke off never comes."""
_LOOK_SECONDS = 0.2
logger = logging.getLogger(__name__)
Made = TypeVar("Made")


@dataclass(frozen=True)
class Target:
    """A product that is to be made: where it lies, and what it will be known by."""

    store: Store
    product: str
    """Its key."""
    fingerprint: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What it is made of -> fingerprints, for the receipt."""


def write_product(
    store: Store,
    receipt: Receipt,
    put: Callable[[str], Mapping[str, FileSum]],
    began: float,
    completed: Callable[[Receipt], Receipt] = lambda receipt: receipt,
) -> Receipt:
    """Write a product and its receipt; the receipt, of these files or of those that somebody else made meanwhile.

    ``receipt`` says all but the files. ``put`` writes them under the key that it is given, each of them once.
    ``completed``: the receipt with what is known only when the files are written. ``began``: time.perf_counter() when
    the making began, for the receipt's seconds.
    """

    def make(product: str) -> Receipt:
        files = dict(put(product))
        seconds = time.perf_counter() - began
        whole = completed(receipt.model_copy(update={"product": product, "files": files, "seconds": seconds}))
        write_receipt(store, whole)
        return whole

    return written_once(receipt.product, make, lambda: made_by_another(store, receipt.product, receipt.fingerprint))


def write_one_file(store: Store, receipt: Receipt, data: bytes, began: float) -> Receipt:
    """``write_product`` of a product that is one file, under the product's own key."""
    return write_product(store, receipt, lambda key: {"": store.put_once(key, data)}, began)


def outcome_of(reasons: Iterable[str], *, empty: str | None = None) -> tuple[Outcome, tuple[str, ...]]:
    """Outcome and reasons for a receipt: done; partial, if there are ``reasons``; empty, where ``empty`` says why.

    A product without rows gives what it lacked as ``empty``, which is the reason unless there are others.
    """
    found = tuple(reasons)
    if empty is not None:
        return Outcome.EMPTY, found or (empty,)
    return (Outcome.PARTIAL if found else Outcome.DONE), found


def written_once(product: str, make: Callable[[str], Made], of_another: Callable[[], Made | None]) -> Made:
    """What ``make`` returns under the key ``product``, or under one that nobody else has where other bytes lie there.

    ``make`` writes everything, receipts last. ``of_another``: what somebody else made under that key meanwhile, which
    is then taken instead; None if it does not come.
    """
    try:
        return make(product)
    except TakenError as error:
        other = of_another()
        if other is not None:
            logger.info("%s is taken as somebody else made it: %s", product, error)
            return other
        own = own_key(product)
        logger.warning("an attempt that broke off left other bytes, so this is written as %s: %s", own, error)
        return make(own)


def made_by_another(store: Store, product: str, fingerprint: str) -> Receipt | None:
    """The receipt of a product that somebody else is making, once it is there; None if it does not come, or is not
    that of the files that lie there.
    """
    key = receipt_key(product)
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        if store.exists(key):
            try:
                found = parse_receipt(key, store.get(key))
            except IntegrityError:
                return None
            return found if found.fingerprint == fingerprint and not verify_product(store, found) else None
        if time.monotonic() > until:
            return None
        time.sleep(_LOOK_SECONDS)
