"""Two writers of one product with different bytes, at every step of one another: each receipt matches its files."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.errors import TakenError
from galflow.spec.run import CutoutSpec
from galflow.storage import products
from galflow.storage.checksums import FileSum, SummingStore
from galflow.storage.layout import own_key
from galflow.storage.products import outcome_of, write_one_file, write_product
from galflow.storage.receipts import Outcome, Receipt, find_receipts, parse_receipt, verify_product, verify_store
from galflow.storage.store import Store

ROOT = Path(__file__).resolve().parents[3]
SPEC = CutoutSpec(size=8, chunk_megabytes=0.002, chunks_per_shard=2)


def _cutouts(value: int) -> CutoutData:
    n, shape = 6, (6, 1, 8, 8)
    rows = pa.table({"object_id": pa.array(range(n), pa.int64()), "flags": pa.array([value] * n, pa.int32())})
    flux = np.full(shape, value, np.float32)
    return CutoutData(flux, np.ones(shape, np.float32), np.zeros(shape, np.uint16), rows, {"unit": "nJy"})


def _put_cutouts(store: Store, key: str, value: int) -> dict[str, FileSum]:
    return write_cutout_set(store, key, _cutouts(value), SPEC)


def _put_model(store: Store, key: str, value: int) -> dict[str, FileSum]:
    """Weights alike, as of a deterministic training; the card says how long it took."""
    contents = {"weights": b"weights", "reference": b"reference", "card": b"%d s" % value}
    return {name: store.put_once(f"{key}/{name}", data) for name, data in contents.items()}


def _put_part(store: Store, key: str, value: int) -> dict[str, FileSum]:
    return {"": store.put_once(key, b"part %d" % value)}


KINDS: dict[str, tuple[str, Callable[[Store, str, int], dict[str, FileSum]]]] = {
    "cutouts": ("cutouts/s/1/t/f0.zarr", _put_cutouts),
    "model": ("models/m/f0", _put_model),
    "part": ("scores/s/1/t/f0.parquet", _put_part),
}


def make(store: Store, kind: str, value: int) -> Receipt:
    product, put = KINDS[kind]
    unwritten = Receipt(product=product, fingerprint="f0", rows=value)
    return write_product(store, unwritten, lambda key: put(store, key, value), time.perf_counter())


class Steps:
    """Counts what is written, and lets somebody else in before one step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, meanwhile: Callable[[], None]) -> None:
        self.count = 0
        self._at, self._meanwhile, self._inside = at, meanwhile, False
        put, put_if_absent, set_chunk = Store.put, Store.put_if_absent, SummingStore.set

        def putting(store: Store, key: str, data: bytes) -> FileSum:
            self._step()
            return put(store, key, data)

        def creating(store: Store, key: str, data: bytes) -> bool:
            self._step()
            return put_if_absent(store, key, data)

        async def setting(store: SummingStore, key: str, value: Any) -> None:
            await asyncio.to_thread(self._step)
            await set_chunk(store, key, value)

        monkeypatch.setattr(Store, "put", putting)
        monkeypatch.setattr(Store, "put_if_absent", creating)
        monkeypatch.setattr(SummingStore, "set", setting)
        self._lock = threading.Lock()

    def _step(self) -> None:
        if self._inside:
            return
        with self._lock:  # chunks are written side by side
            self.count += 1
            if self.count == self._at:
                self._inside = True
                self._meanwhile()
                self._inside = False


def steps_of(kind: str, store: Store) -> int:
    """How many steps one undisturbed writer takes."""
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(patch, 0, lambda: None)
        make(store, kind, 1)
    return steps.count


@pytest.mark.parametrize("kind", KINDS)
def test_receipts_match_their_files_whoever_writes_between_which_steps(
    store: Store, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "PATIENCE_SECONDS", 0.0)
    root = store.root
    steps = steps_of(kind, Store.open(f"{root}/alone"))
    tried = range(1, steps + 1) if store.is_local or kind != "cutouts" else (1, steps // 2, steps)
    for at in tried:
        there = Store.open(f"{root}/{at}")
        second: list[Receipt] = []

        def meanwhile(there: Store = there, second: list[Receipt] = second) -> None:
            second.append(make(there, kind, 2))
            assert verify_store(there).faults == []

        with monkeypatch.context() as patch:
            Steps(patch, at, meanwhile)
            first = make(there, kind, 1)
        assert len(second) == 1
        found = verify_store(there)
        assert found.faults == [], f"the second writer came before step {at}"
        for receipt in (first, second[0]):
            assert verify_product(there, receipt) == []
            assert parse_receipt(receipt.key, there.get(receipt.key)).files == receipt.files
        if first.product == second[0].product:
            assert first.files == second[0].files
        assert set(find_receipts(there, "")) == {"f0"}
        if kind == "cutouts":
            for receipt in (first, second[0]):
                value = float(CutoutSet(there, receipt.product).read("flux")[0, 0, 0, 0])
                assert np.unique(CutoutSet(there, receipt.product).read("flux")) == value
                assert np.unique(CutoutSet(there, receipt.product).read("flags")) == value


def test_two_writers_at_once(store: Store) -> None:
    """Free-running, with all patience: the slower takes what the faster made, or has a product of its own."""
    for number in range(3):
        there = Store.open(f"{store.root}/{number}")
        gate = threading.Barrier(2)
        made: list[Receipt] = []

        def write(value: int, there: Store = there, gate: threading.Barrier = gate, made: list[Receipt] = made) -> None:
            gate.wait()
            made.append(make(there, "model", value))

        writers = [threading.Thread(target=write, args=(value,)) for value in (1, 2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert verify_store(there).faults == []
        assert made[0].files == made[1].files
        assert len(find_receipts(there, "")) == 1


def test_an_attempt_that_broke_off_is_taken_up_if_its_bytes_are_the_same(store: Store) -> None:
    """What was killed before its receipt costs no second copy."""
    product, put = KINDS["cutouts"]
    put(store, product, 1)
    before = store.list("")
    assert make(store, "cutouts", 1).product == product
    assert set(store.list("")) - set(before) == {f"{product}.receipt.json"}


@pytest.mark.parametrize("left", ["flux/c/9/0/0/0", "gone/zarr.json"])
def test_what_an_attempt_of_another_layout_left_is_no_part_of_the_product(
    store: Store, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "PATIENCE_SECONDS", 0.0)
    product, _ = KINDS["cutouts"]
    store.put(f"{product}/{left}", b"{}")
    receipt = make(store, "cutouts", 1)
    assert re.fullmatch(r"cutouts/s/1/t/f0-[0-9a-f]{8}\.zarr", receipt.product)
    assert verify_product(store, receipt) == []
    assert sorted(CutoutSet(store, receipt.product).group) == ["flags", "flux", "ivar", "mask", "object_id"]


def test_large_files_are_not_replaced_either(store: Store, tmp_path: Path) -> None:
    """Of more than the 100 MiB from which S3 is sent parts."""
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(1000 if store.is_local else 101 << 20)
    summed = store.put_file_once("x/large", source)
    assert store.put_file_once("x/large", source) == summed
    with source.open("r+b") as file:
        file.write(b"1")
    with pytest.raises(TakenError, match="x/large holds other bytes"):
        store.put_file_once("x/large", source)


@pytest.mark.parametrize(
    ("product", "own"),
    [
        ("cutouts/s/1/a.zarr/f0.zarr", r"cutouts/s/1/a\.zarr/f0-\w{8}\.zarr"),
        ("scores/s/1/t/f0.parquet", r"scores/s/1/t/f0-\w{8}\.parquet"),
        ("models/m/f0", r"models/m/f0-\w{8}"),
        ("reports/v1.2-00", r"reports/v1\.2-00-\w{8}"),
    ],
)
def test_a_key_of_its_own_sorts_before_the_planned_one(product: str, own: str) -> None:
    """Receipts are found by fingerprint, and the last by key counts."""
    found = own_key(product)
    assert re.fullmatch(own, found)
    assert Receipt(product=found, fingerprint="f").key < Receipt(product=product, fingerprint="f").key


def test_products_are_written_by_one_function_alone() -> None:
    """Whoever puts a product's files may replace nothing, and whoever writes a receipt has come through here."""
    sources = [path for package in ("galflow", "tasks", "flows") for path in (ROOT / package).rglob("*.py")]

    def files_with(pattern: str) -> set[str]:
        return {str(p.relative_to(ROOT)) for p in sources if re.search(pattern, p.read_text("utf-8"))}

    assert files_with(r"\bwrite_receipt\(") == {
        "galflow/storage/receipts.py",
        "galflow/storage/products.py",
        "tasks/publish.py",
    }
    replacing = files_with(r"\b(_?store|self)\.put(_file)?\(")
    assert replacing == {
        "galflow/storage/receipts.py", "galflow/storage/leases.py", "galflow/training/checkpoint.py",
        "galflow/storage/store.py",  # a probe
        "tasks/stages.py",  # a tile's rows, for the worker that cuts it
        "tasks/event_files.py",  # curves to look at, under names of their own
        "tasks/worker_check.py",  # what a worker is to find, and to write, before it gets work
    }  # fmt: skip


def test_a_product_of_one_file_lies_under_its_own_key(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    written = write_one_file(store, Receipt(product="scores/a.bin", fingerprint="f"), b"bytes", time.perf_counter())
    assert store.get("scores/a.bin") == b"bytes"
    assert written.files == {"": FileSum.of(b"bytes")}
    assert not verify_product(store, written)


@pytest.mark.parametrize(
    ("reasons", "empty", "expected"),
    [
        ([], None, (Outcome.DONE, ())),
        (["a", "b"], None, (Outcome.PARTIAL, ("a", "b"))),
        ([], "no object", (Outcome.EMPTY, ("no object",))),
        (["a"], "no object", (Outcome.EMPTY, ("a",))),
    ],
)
def test_a_product_is_done_partial_or_empty_and_says_why(
    reasons: list[str], empty: str | None, expected: tuple[Outcome, tuple[str, ...]]
) -> None:
    assert outcome_of(reasons, empty=empty) == expected
