"""What is done, from which inputs, with which outcome.

A product whose receipt carries the right fingerprint is done; anything else is to do. A receipt is written after its
product, a manifest after all receipts and only if absent. This file decides nothing about what a product contains.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from galflow.errors import IntegrityError, StoreError
from galflow.storage.checksums import FileSum
from galflow.storage.layout import PRODUCT_KINDS, RECEIPT_SUFFIX, RUNS, manifest_key, receipt_key, runs_among
from galflow.storage.store import Store

UNKNOWN_VERSION = "unknown"
"""The code version of receipts from before it was kept."""
DOUBTS_DETAIL = "doubts"
"""Where a receipt says what a person should know of a product that is whole."""
_AT_ONCE = 500
"""Receipts fetched side by side: of a survey's twenty thousand only so many lie in memory as bytes."""
PUBLISHED_PREFIXES = ("catalogs", "reports")


class Outcome(enum.StrEnum):
    """How a product ended."""

    DONE = "done"
    EMPTY = "empty"
    """There was nothing to make it of; the reasons say why."""
    PARTIAL = "partial"
    """Made, but not of everything; the reasons say what is missing."""


class Receipt(BaseModel):
    """One product: what it is, of what it was made, and what its files must be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    product: str
    """Key of the product: a file, or the folder its files lie in."""
    fingerprint: str
    inputs: dict[str, str] = {}
    """Fingerprints of the products (and identities of the data) it was made of."""
    files: dict[str, FileSum] = {}
    """Path below the product ("" if the product is one file) -> what it must be."""
    rows: int = 0
    seconds: float = 0.0
    outcome: Outcome = Outcome.DONE
    reasons: tuple[str, ...] = ()
    code_version: str = Field(default_factory=lambda: version("galflow"))
    """Of the galflow that made it."""
    details: dict[str, Any] = {}
    """Small facts of the stage (counts, sky sigmas), for reports."""

    @property
    def key(self) -> str:
        """Where the receipt lies."""
        return receipt_key(self.product)

    @property
    def name(self) -> str:
        """What a person calls the product: its tile, or its model."""
        parts = self.product.split("/")
        fallback = f"model {parts[1]}" if parts[0] == "models" and len(parts) > 2 else self.product
        tile = self.details.get("tile")
        return f"tile {tile}" if tile else fallback

    def brief(self) -> Receipt:
        """The same without what grows with the product: sums of a folder's files, and details that are no single value.

        What a run keeps in memory of each tile, and what a worker sends back; the whole receipt lies on the store.
        """
        single = {name: value for name, value in self.details.items() if not isinstance(value, dict | list | tuple)}
        files = {path: found for path, found in self.files.items() if not path}
        return self.model_copy(update={"files": files, "details": single})


class RunManifest(BaseModel):
    """A finished run. A catalogue without one does not exist."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    name: str
    finished: str
    """UTC, ISO 8601."""
    code_version: str
    specification: dict[str, Any]
    models: dict[str, str]
    """Model name -> key of its folder, or the URI of one that was trained elsewhere."""
    products: dict[str, list[str]]
    """Stage -> keys of its receipts."""
    catalog: str
    """Key of the catalogue's folder."""
    report: str | None
    """Key of the report's page."""
    summary: dict[str, Any]
    """What the run found, in a few numbers."""

    def located(self, store: Store) -> RunManifest:
        """The manifest with URIs where this store lies now: keys hold wherever it is moved."""
        models = {name: as_uri(store, key) for name, key in self.models.items()}
        report = None if self.report is None else as_uri(store, self.report)
        return self.model_copy(update={"models": models, "catalog": as_uri(store, self.catalog), "report": report})


def as_uri(store: Store, key: str) -> str:
    """The URI of a key; one that is a URI already stays what it is."""
    return key if "://" in key else store.uri(key)


def to_json(document: BaseModel | Mapping[str, Any]) -> bytes:
    """Readable JSON with sorted keys; NaN is refused."""
    plain = document.model_dump(mode="json") if isinstance(document, BaseModel) else document
    return (json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def write_receipt(store: Store, receipt: Receipt) -> None:
    """Put the receipt: from now on the product is done."""
    store.put(receipt.key, to_json(receipt))


def parse_receipt(key: str, data: bytes) -> Receipt:
    """A receipt from its bytes; IntegrityError if it is not one, or lies beside another product than it names."""
    try:
        receipt = Receipt.model_validate({"code_version": UNKNOWN_VERSION} | json.loads(data))
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise IntegrityError(f"{key} is not a receipt: {_first(error)}; delete it and run again") from error
    if receipt.key != key:
        raise IntegrityError(f"{key} is the receipt of {receipt.product}; delete it and run again")
    return receipt


def _first(error: Exception) -> str:
    """The first thing that is wrong, in one line."""
    if not isinstance(error, ValidationError):
        return f"no JSON object ({error})"
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(p) for p in problem['loc'])} {problem['msg']}".strip()


def receipt_keys(store: Store, prefix: str) -> list[str]:
    """Keys of all receipts below ``prefix``, sorted."""
    return [k for k in store.list(prefix, around=(".zarr",)) if k.endswith(RECEIPT_SUFFIX)]


def sound_receipts(store: Store, keys: Sequence[str]) -> Iterator[tuple[str, Receipt]]:
    """(key, receipt) of those at ``keys``, in their order, without those that are unsound."""
    for key, data in _contents(store, keys):
        try:
            yield key, parse_receipt(key, data)
        except IntegrityError:
            continue


def find_receipts(store: Store, prefix: str) -> dict[str, Receipt]:
    """Every sound receipt below ``prefix`` by fingerprint, all in memory at once."""
    return {receipt.fingerprint: receipt for _, receipt in sound_receipts(store, receipt_keys(store, prefix))}


def read_receipts(store: Store, keys: Sequence[str]) -> Iterator[Receipt]:
    """The receipts at ``keys``, in their order; IntegrityError if one is unsound, StoreError if one is missing."""
    return (parse_receipt(key, data) for key, data in _contents(store, keys))


def _contents(store: Store, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(keys), _AT_ONCE):
        some = list(keys[start : start + _AT_ONCE])
        found = store.get_many(some)
        yield from ((key, found[key]) for key in some)


def read_manifest(store: Store, run: str) -> RunManifest | None:
    """The manifest of a run, or None if it has not finished."""
    key = manifest_key(run)
    if not store.exists(key):
        return None
    try:
        return RunManifest.model_validate_json(store.get(key))
    except ValidationError as error:
        raise IntegrityError(f"{store.uri(key)} is not a manifest: {_first(error)}; delete it and run again") from error


def list_runs(store: Store) -> list[str]:
    """Run ids that have a manifest, sorted."""
    return runs_among(store.list(RUNS))


def read_manifests(store: Store) -> list[RunManifest]:
    """The manifests of all runs that have finished, by run id; IntegrityError if one cannot be read."""
    return [manifest for run in list_runs(store) if (manifest := read_manifest(store, run)) is not None]


def publish_manifest(store: Store, manifest: RunManifest) -> bool:
    """Write the manifest if there is none; whether this call did it."""
    return store.put_if_absent(manifest_key(manifest.run), to_json(manifest))


def read_sound(store: Store, files: Mapping[str, FileSum]) -> dict[str, bytes]:
    """The bytes at these keys, read together; IntegrityError if any differs from what its receipt says."""
    found = store.get_many(list(files))
    for key, data in found.items():
        if FileSum.of(data) != files[key]:
            raise IntegrityError(
                f"{store.uri(key)} differs from what its receipt says (truncated or altered); `galflow verify "
                "--discard` lists what is, and lets the next run make it anew"
            )
    return found


def verify_product(store: Store, receipt: Receipt) -> list[str]:
    """Re-read a product's files; one line for each that is missing, truncated or altered."""
    return [problem for path in sorted(receipt.files) if (problem := _verify_file(store, receipt, path))]


def _verify_file(store: Store, receipt: Receipt, path: str) -> str | None:
    key = f"{receipt.product}/{path}" if path else receipt.product
    expected = receipt.files[path]
    if not store.exists(key):
        return f"{store.uri(key)}: missing (expected {expected.size} bytes)"
    found = FileSum.of(store.get(key))
    if found.size != expected.size:
        return f"{store.uri(key)}: {found.size} bytes instead of {expected.size}"
    if found.sha256 != expected.sha256:
        return f"{store.uri(key)}: content differs (sha256 {found.sha256[:12]}, receipt says {expected.sha256[:12]})"
    return None


class Verification(NamedTuple):
    """What reading every product again has found."""

    products: int
    """How many there are."""
    faults: list[str]
    """One line each."""
    damaged: list[str]
    """Keys of the receipts of damaged products, or of receipts that are none."""


def verify_store(store: Store, threads: int = 4) -> Verification:
    """Re-read every product against its receipt, and every manifest."""
    keys = [k for prefix in PRODUCT_KINDS for k in store.list(prefix) if k.endswith(RECEIPT_SUFFIX)]

    def check(key: str) -> list[str]:
        try:
            return verify_product(store, parse_receipt(key, store.get(key)))
        except StoreError as error:
            return [str(error)]

    with ThreadPoolExecutor(threads) as pool:
        found = dict(zip(keys, pool.map(check, keys), strict=True))
    faults = [line for lines in found.values() for line in lines]
    for run in list_runs(store):
        faults += _verify_manifest(store, run)
    return Verification(len(keys), faults, [key for key, lines in found.items() if lines])


def discard_damaged(store: Store, damaged: Iterable[str]) -> list[str]:
    """Remove these receipts and their products, which the next run makes anew; which of them it was.

    Not for use while a run makes them. Those of catalogues and reports stay: what is published is not made again under
    the same run.
    """
    removed = [key for key in damaged if not key.startswith(PUBLISHED_PREFIXES)]
    for key in removed:
        store.delete(key)
        store.delete(key.removesuffix(RECEIPT_SUFFIX))
    return removed


def _verify_manifest(store: Store, run: str) -> list[str]:
    try:
        manifest = read_manifest(store, run)
    except IntegrityError as error:
        return [str(error)]
    listed: Iterable[str] = [k for ks in manifest.products.values() for k in ks] if manifest else []
    return [f"{store.uri(k)}: missing, but run {run} was made of it" for k in listed if not store.exists(k)]
