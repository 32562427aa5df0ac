"""Who uses a store at present, so that garbage collection removes nothing that a run under way needs.

A run holds a lease: a small object under ``leases/`` that it writes again each minute and that counts for an hour.
Garbage collection holds one too. Each puts its own first and looks for the other's only then, so that without a lock at
least one of them sees the other: garbage collection keeps what a run may use, a run waits until the garbage is gone.
When an object was written is the store's word alone, so clocks of machines may differ as they like.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from galflow.errors import StoreError
from galflow.spec.run import RunSpec
from galflow.storage.layout import LEASES, as_key, prefixes_of_run
from galflow.storage.listing import Entry
from galflow.storage.receipts import to_json
from galflow.storage.store import Store

EXPIRY = timedelta(hours=1)
"""So long a run's lease counts after it was last written: a run may be asleep, or cut off from the store."""
SWEEP_EXPIRY = timedelta(minutes=3)
"""The same of a garbage collection, for which runs wait."""
_RENEW_SECONDS = 60.0
_SWEEP_RENEW_SECONDS = 20.0
_SWEEP_STOPS_SECONDS = 60.0
"""A garbage collection that could not renew its lease for so long removes nothing more."""
_LOOK_SECONDS = 0.5
_SWEEP, _USED = "sweep-", ".used-"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """What a run says that it uses, as it lies on the store."""

    key: str
    run: str
    holder: str
    """Machine and process."""
    prefixes: tuple[str, ...]
    """Each key of what the run uses begins with one of them."""
    ended: bool
    modified: datetime
    """When it was last written."""
    used: frozenset[str]
    """Products that it has used so far."""

    def lives(self, now: datetime) -> bool:
        """Whether the run may be under way."""
        return not self.ended and now - self.modified <= EXPIRY

    def covers(self, product: str) -> bool:
        """Whether the run may use this product."""
        return product in self.used or product.startswith(self.prefixes)

    def told(self, now: datetime) -> str:
        """For a person."""
        age = max(0.0, (now - self.modified).total_seconds())
        return f"run {self.run} ({self.holder}) is under way: its lease {self.key} was renewed {age:.0f} s ago"


def prefixes_of(spec: RunSpec, root: str) -> tuple[str, ...]:
    """How the keys of all products begin that a run may make or use: plans look nowhere else."""
    surveys = [spec.survey.survey_name, *(sample.survey.survey_name for sample in spec.samples)]
    trained = [as_key(m.trained).removeprefix(f"{root}/") for m in spec.trainings if m.trained is not None]
    made = prefixes_of_run(spec.name, surveys, [model.name for model in spec.trainings], spec.output.catalog)
    return (*made, *trained)


class _Renewed:
    """Writes an object again and again, from a thread, until it is told to stop."""

    def __init__(self, write: Callable[[], object], every_seconds: float) -> None:
        self._write = write
        self._every = every_seconds
        self._stop = threading.Event()
        self._written = time.time()
        self._thread = threading.Thread(target=self._keep, name="galflow-lease", daemon=True)

    def start(self) -> None:
        self._write()
        self._written = time.time()
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing more will be written; a request that is under way ends by itself within a minute."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def age_seconds(self) -> float:
        """Since it was last written, or time this process was asleep included."""
        return time.time() - self._written

    def _keep(self) -> None:
        while not self._stop.wait(self._every):
            begun, age = time.time(), self.age_seconds
            try:
                self._write()
            except StoreError as error:
                logger.warning("the lease of this run could not be renewed: %s", error)
                continue
            self._written = begun
            if age > EXPIRY.total_seconds():
                logger.warning(
                    "the lease of this run was not renewed for %.0f minutes: garbage collection may have removed what "
                    "it uses. If something is missing, give the same command again",
                    age / 60,
                )


class HeldLease:
    """The lease of a run that this process does."""

    def __init__(self, store: Store, run: str, prefixes: Iterable[str]) -> None:
        self._store = store
        self._name = f"{LEASES}/{uuid.uuid4().hex}"
        self._content = {"run": run, "holder": _holder(), "prefixes": list(prefixes)}
        self._lists = 0
        self._begun = self._published = False
        self._renewed = _Renewed(lambda: self._put(ended=False), _RENEW_SECONDS)

    @property
    def key(self) -> str:
        """Where it lies."""
        return f"{self._name}.json"

    def _put(self, *, ended: bool) -> None:
        self._store.put(self.key, to_json(self._content | {"ended": ended}))

    def begin(self) -> None:
        """Put it, and return once no garbage is being removed; StoreError if the store cannot be written."""
        self._renewed.start()
        self._begun = True
        said = False
        while sweep := self._sweep():
            if not said:
                logger.warning("garbage is being removed from %s (%s): this run waits", self._store.root, sweep)
                said = True
            time.sleep(_LOOK_SECONDS)

    def _sweep(self) -> str | None:
        """Key of the lease of a garbage collection that is under way."""
        found = {entry.key: entry for entry in _entries(self._store) if entry.key == self.key or _is_sweep(entry.key)}
        if not any(map(_is_sweep, found)):
            return None
        self._put(ended=False)  # so that its time is the present
        now = max(e.modified for e in _entries(self._store) if e.key == self.key)
        return next((k for k, e in found.items() if _is_sweep(k) and now - e.modified <= SWEEP_EXPIRY), None)

    def used(self, products: Iterable[str]) -> None:
        """Note that these were used now: their age counts from the end of the run. It never fails a run."""
        found = sorted({product for product in products if "://" not in product})
        if not found:
            return
        self._lists += 1
        with _only_warned("which products this run uses was not noted"):
            self._store.put(f"{self._name}{_USED}{self._lists}.json", to_json({"products": found}))

    def published(self) -> None:
        """A manifest says from now on what the run has used."""
        self._published = True

    def end(self) -> None:
        """The run is over. What an unpublished one has used stays noted. It never fails a run."""
        self._renewed.stop()
        if not self._begun:
            return
        with _only_warned(f"the lease {self.key} was not given back, and counts for {EXPIRY} more"):
            if self._lists and not self._published:
                self._put(ended=True)
                return
            for key in (self.key, *(f"{self._name}{_USED}{n}.json" for n in range(1, self._lists + 1))):
                self._store.delete(key)


@contextmanager
def _only_warned(what: str) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        logger.warning("%s: %s", what, error)


@contextmanager
def run_lease(store: Store, spec: RunSpec) -> Iterator[HeldLease]:
    """The lease of a run, from before it plans until after it has ended."""
    lease = HeldLease(store, spec.name, prefixes_of(spec, store.root))
    try:
        lease.begin()
        yield lease
    finally:
        lease.end()


class Sweep:
    """The lease of a garbage collection."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._begun = False
        self._key = f"{LEASES}/{_SWEEP}{uuid.uuid4().hex}.json"
        self._renewed = _Renewed(lambda: store.put(self._key, to_json({"holder": _holder()})), _SWEEP_RENEW_SECONDS)

    def begin(self) -> datetime:
        """Put it; the store's time. StoreError if the store cannot be written."""
        self._renewed.start()
        self._begun = True
        return max(entry.modified for entry in _entries(self._store) if entry.key == self._key)

    def require(self) -> None:
        """StoreError if it could not be renewed of late: a run may have taken it for dead."""
        if self._renewed.age_seconds > _SWEEP_STOPS_SECONDS:
            raise StoreError(
                f"{self._store.uri(self._key)} could not be renewed for {self._renewed.age_seconds:.0f} s: a run may "
                "have begun meanwhile, so nothing more is removed; see that the store answers, then do it again"
            )

    def end(self) -> None:
        """It is over."""
        self._renewed.stop()
        if self._begun:
            self._store.delete(self._key)


@contextmanager
def sweeping(store: Store) -> Iterator[tuple[Sweep, datetime]]:
    """While garbage is removed: runs that begin meanwhile wait for the end. With the store's time when it began."""
    sweep = Sweep(store)
    try:
        yield sweep, sweep.begin()
    finally:
        sweep.end()


def read_leases(store: Store) -> list[Lease]:
    """Every lease of a run, also of one that has ended or died; one that cannot be read covers everything."""
    entries = {entry.key: entry for entry in _entries(store) if not _is_sweep(entry.key)}
    contents = _contents(store, list(entries))
    found = []
    for key, entry in entries.items():
        if _USED in key or key not in contents:
            continue
        name = key.removesuffix(".json")
        lists = [contents[k] for k in contents if k.startswith(f"{name}{_USED}")]
        used = frozenset(str(product) for content in lists for product in content.get("products", ()))
        said = contents[key]
        prefixes = tuple(str(prefix) for prefix in said.get("prefixes", ("",)))
        whose = (str(said.get("run", "unknown")), str(said.get("holder", "unknown")))
        found.append(Lease(key, *whose, prefixes, bool(said.get("ended", False)), entry.modified, used))
    return found


def _contents(store: Store, keys: Iterable[str]) -> Mapping[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for key in keys:
        try:
            content = json.loads(store.get(key))
        except ValueError:
            content = None
        except StoreError:
            if store.exists(key):
                raise
            continue  # its run has ended since
        found[key] = content if isinstance(content, dict) else {}
    return found


def forget(store: Store, leases: Iterable[Lease]) -> None:
    """Remove leases, each with what it noted."""
    for lease in leases:
        for entry in _entries(store, lease.key.removesuffix(".json")):
            store.delete(entry.key)


def _entries(store: Store, prefix: str = f"{LEASES}/") -> list[Entry]:
    return [e for e in store.entries(LEASES) if e.key.startswith(prefix) and e.key.endswith(".json")]


def _is_sweep(key: str) -> bool:
    return key.startswith(f"{LEASES}/{_SWEEP}")


def _holder() -> str:
    return f"{socket.gethostname()}, process {os.getpid()}"
