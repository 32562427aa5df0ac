"""What is done, and what is altered, is found out from the store alone: on a folder and on S3."""

from __future__ import annotations

import json
import math

import pytest

from galflow.errors import IntegrityError
from galflow.storage import receipts
from galflow.storage.checksums import FileSum
from galflow.storage.layout import manifest_key
from galflow.storage.receipts import (
    Outcome,
    Receipt,
    RunManifest,
    discard_damaged,
    find_receipts,
    list_runs,
    parse_receipt,
    publish_manifest,
    read_manifest,
    read_receipts,
    receipt_keys,
    sound_receipts,
    to_json,
    verify_product,
    verify_store,
    write_receipt,
)
from galflow.storage.store import Store


def _product(store: Store, name: str, fingerprint: str) -> Receipt:
    """A product of two files with its receipt."""
    product = f"cutouts/s/1/{name}/{fingerprint}.zarr"
    contents = {"zarr.json": b"{}" + name.encode(), "flux/c/0": bytes(range(256)) * 8}
    files = {path: store.put(f"{product}/{path}", data) for path, data in contents.items()}
    receipt = Receipt(product=product, fingerprint=fingerprint, inputs={"tile": "t"}, files=files, rows=3)
    write_receipt(store, receipt)
    return receipt


def _manifest(run: str, receipts: list[str]) -> RunManifest:
    return RunManifest(
        run=run, name="demo", finished="2026-01-01T00:00:00Z", code_version="0.1.0", specification={"name": "demo"},
        models={}, products={"ingest": receipts}, catalog="catalogs/a/r", report=None, summary={"objects": 3},
    )  # fmt: skip


def test_a_receipt_is_found_by_its_fingerprint_as_it_was_written(store: Store) -> None:
    first, second = _product(store, "1", "aaaa"), _product(store, "2", "bbbb")
    assert find_receipts(store, "cutouts/s") == {"aaaa": first, "bbbb": second}
    assert find_receipts(store, "cutouts/other") == {}
    assert parse_receipt(first.key, store.get(first.key)) == first


def test_a_brief_receipt_is_small_however_many_files_and_details_there_are(local_store: Store) -> None:
    sums = {f"flux/c/{i}": local_store.put(f"x/{i}", b"x") for i in range(30)}
    details = {"tile": "9813/402", "scores_version": "1", "summary": {"rows": 3}, "files": [1, 2], "sky_sigma": (1.0,)}
    whole = Receipt(
        product="cutouts/p.zarr", fingerprint="f", inputs={"tile": "t"}, files=sums, rows=3, details=details
    )
    brief = whole.brief()
    assert brief.details == {"tile": "9813/402", "scores_version": "1"}
    assert brief.files == {}
    kept = {"files", "details"}
    assert brief.model_dump(exclude=kept) == whole.model_dump(exclude=kept)
    part = Receipt(product="scores/p.parquet", fingerprint="f", files={"": sums["flux/c/0"]})
    assert part.brief() == part  # its one sum is needed to use it again


def test_receipts_are_fetched_some_at_a_time_and_come_in_order(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [_product(local_store, str(i), f"{i:04d}") for i in range(7)]
    asked: list[list[str]] = []
    get_many = Store.get_many

    def watched(store: Store, keys: list[str]) -> dict[str, bytes]:
        asked.append(keys)
        return get_many(store, keys)

    monkeypatch.setattr(Store, "get_many", watched)
    monkeypatch.setattr(receipts, "_AT_ONCE", 3)
    assert [r for _, r in sound_receipts(local_store, receipt_keys(local_store, "cutouts"))] == written
    assert [len(keys) for keys in asked] == [3, 3, 1]
    assert [key for keys in asked for key in keys] == [r.key for r in written]
    backwards = [r.key for r in reversed(written)]
    assert [r.key for r in read_receipts(local_store, backwards)] == backwards


def test_a_file_product_has_its_receipt_beside_it(store: Store) -> None:
    product = "scores/s/1/t/cccc.parquet"
    receipt = Receipt(product=product, fingerprint="cccc", files={"": store.put(product, b"PAR1")})
    write_receipt(store, receipt)
    assert receipt.key == "scores/s/1/t/cccc.parquet.receipt.json"
    assert verify_product(store, receipt) == []
    store.put(product, b"PAR2")
    assert [line.partition(": ")[2][:15] for line in verify_product(store, receipt)] == ["content differs"]


@pytest.mark.parametrize(
    "garbage",
    [b"", b"not json", b'{"product": "x"}', b'{"product": "x", "fingerprint": "y", "extra": 1}', b"[]", b"\xff\xfe"],
)
def test_garbage_beside_a_product_counts_as_no_receipt(local_store: Store, garbage: bytes) -> None:
    good = _product(local_store, "1", "aaaa")
    key = "cutouts/s/1/2/bbbb.zarr.receipt.json"
    local_store.put(key, garbage)
    assert find_receipts(local_store, "cutouts") == {"aaaa": good}
    with pytest.raises(IntegrityError, match=r"is not a receipt: .*delete it and run again"):
        parse_receipt(key, garbage)
    count, faults, _ = verify_store(local_store)
    assert count == 2
    assert len(faults) == 1
    assert "bbbb.zarr.receipt.json is not a receipt" in faults[0]


def test_a_receipt_in_the_wrong_place_counts_as_none(store: Store) -> None:
    good = _product(store, "1", "aaaa")
    astray = "cutouts/s/1/9/aaaa.zarr.receipt.json"
    store.put(astray, to_json(good))
    with pytest.raises(IntegrityError, match=r"is the receipt of cutouts/s/1/1/aaaa\.zarr; delete it and run again"):
        parse_receipt(astray, store.get(astray))
    assert find_receipts(store, "cutouts") == {"aaaa": good}


def test_verify_finds_a_flipped_byte_a_truncated_and_a_missing_file(store: Store) -> None:
    flipped, cut, lost, sound = (_product(store, name, name * 4) for name in "1234")
    assert verify_store(store)[:2] == (4, [])
    data = bytearray(store.get(f"{flipped.product}/flux/c/0"))
    data[100] ^= 1
    store.put(f"{flipped.product}/flux/c/0", bytes(data))
    store.put(f"{cut.product}/flux/c/0", bytes(data[:-1]))
    store.delete(f"{lost.product}/flux/c/0")
    count, faults, _ = verify_store(store)
    assert count == 4
    expected = (
        f"{store.uri(flipped.product)}/flux/c/0: content differs (sha256 ",
        f"{store.uri(cut.product)}/flux/c/0: 2047 bytes instead of 2048",
        f"{store.uri(lost.product)}/flux/c/0: missing (expected 2048 bytes)",
    )
    assert [sum(line.startswith(text) for line in faults) for text in expected] == [1, 1, 1]
    assert len(faults) == 3
    assert verify_product(store, sound) == []


def test_discarding_lets_the_next_run_make_what_is_damaged_and_leaves_what_is_published(store: Store) -> None:
    flipped, sound = (_product(store, name, name * 4) for name in "12")
    store.put(f"{flipped.product}/flux/c/0", b"other")
    garbage = "scores/s/1/2/bbbb.parquet.receipt.json"
    store.put(garbage, b"{")
    catalog = Receipt(product="catalogs/c/run", fingerprint="run", files={"part-00000.parquet": FileSum.of(b"gone")})
    write_receipt(store, catalog)
    found = verify_store(store)
    assert sorted(found.damaged) == sorted([flipped.key, garbage, catalog.key])
    assert sorted(discard_damaged(store, found.damaged)) == sorted([flipped.key, garbage])
    assert find_receipts(store, "") == {sound.fingerprint: sound, "run": catalog}


def test_verify_finds_a_receipt_that_a_run_was_made_of_and_is_gone(store: Store) -> None:
    first, second = _product(store, "1", "aaaa"), _product(store, "2", "bbbb")
    assert publish_manifest(store, _manifest("demo-1", [first.key, second.key]))
    assert verify_store(store)[:2] == (2, [])
    store.delete(second.key)
    assert verify_store(store)[:2] == (1, [f"{store.uri(second.key)}: missing, but run demo-1 was made of it"])


def test_verify_goes_on_past_a_manifest_that_is_garbage(store: Store) -> None:
    first = _product(store, "1", "aaaa")
    store.put(manifest_key("broken"), b"{")
    publish_manifest(store, _manifest("whole", [first.key, "gone.receipt.json"]))
    count, faults, _ = verify_store(store)
    assert count == 1
    assert len(faults) == 2
    assert any("runs/broken/manifest.json is not a manifest" in line for line in faults)
    assert any("gone.receipt.json: missing, but run whole was made of it" in line for line in faults)


def test_a_manifest_is_published_once(store: Store) -> None:
    assert read_manifest(store, "demo-1") is None
    assert list_runs(store) == []
    assert publish_manifest(store, _manifest("demo-1", ["a"]))
    assert not publish_manifest(store, _manifest("demo-1", ["b"]))
    manifest = read_manifest(store, "demo-1")
    assert manifest is not None
    assert manifest.products == {"ingest": ["a"]}
    publish_manifest(store, _manifest("demo-0", []))
    assert list_runs(store) == ["demo-0", "demo-1"]


def test_json_is_sorted_and_refuses_what_json_has_not() -> None:
    text = to_json({"b": 1, "a": 0.1})
    assert list(json.loads(text)) == ["a", "b"]
    with pytest.raises(ValueError, match="JSON compliant"):
        to_json({"a": math.nan})
    receipt = Receipt(product="p", fingerprint="f", outcome=Outcome.PARTIAL, reasons=("band g: torn",))
    assert parse_receipt(receipt.key, to_json(receipt)) == receipt
