"""What no manifest refers to, and nothing else, is garbage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from galflow.errors import IntegrityError
from galflow.storage.garbage import find_garbage, remove
from galflow.storage.leases import sweeping
from galflow.storage.receipts import Receipt, RunManifest, find_receipts, publish_manifest, write_receipt
from galflow.storage.store import Store

LATER = datetime.now(UTC) + timedelta(days=8)
OLD = {
    "cutouts/s/1/t/a.zarr": ("flux/c/0", "zarr.json"),
    "models/m/a": ("card.json", "weights.safetensors"),
    "scores/s/1/t/a.parquet": ("",),
    "comparisons/s/a.json": ("",),
    "catalogs/s/s-a": ("part-0.parquet",),
    "reports/s-a": ("index.html",),
}
"""Product -> its files."""


def products(store: Store, name: str) -> list[str]:
    """The same products under another fingerprint, with receipts."""
    made = []
    for product, files in OLD.items():
        product = product.replace("s-a", f"s-{name}").replace("/a", f"/{name}")
        for file in files:
            store.put(f"{product}/{file}" if file else product, b"12345")
        write_receipt(store, Receipt(product=product, fingerprint=f"{name}-{product}"))
        made.append(product)
    return made


def publish(store: Store, run: str, made: list[str], models: dict[str, str] | None = None) -> None:
    publish_manifest(
        store,
        RunManifest(
            run=run, name="s", finished="2026-01-01T00:00:00+00:00", code_version="0", specification={},
            models=models or {}, products={"all": [f"{p}.receipt.json" for p in made]}, catalog="", report=None,
            summary={},
        ),
    )  # fmt: skip


def test_dasks_reports_of_a_published_run_stay(local_store: Store) -> None:
    pages = [f"reports/{run}/performance-20260101T000000.html" for run in ("s-a", "s-b")]
    for page in pages:
        local_store.put(page, b"12345")
        write_receipt(local_store, Receipt(product=page, fingerprint=page))
    publish(local_store, "s-a", [])  # without a report of its own
    (found,) = find_garbage(local_store, now=LATER)
    assert (found.product, len(found.keys)) == ("reports/s-b", 2)
    with sweeping(local_store) as (sweep, _):
        remove(local_store, [found], sweep)
    assert local_store.list("reports") == [pages[0], f"{pages[0]}.receipt.json"]


def test_what_a_manifest_refers_to_stays(store: Store) -> None:
    kept, lost = products(store, "a"), products(store, "b")
    store.put("cutouts/s/1/t/b.zarr.rows.parquet", b"rows")
    publish(store, "s-a", kept)
    found = find_garbage(store, now=LATER)
    assert [g.product for g in found] == sorted(lost)
    cutouts = next(g for g in found if g.kind == "cutouts")
    assert cutouts.keys == (
        "cutouts/s/1/t/b.zarr.receipt.json",
        "cutouts/s/1/t/b.zarr.rows.parquet",
        "cutouts/s/1/t/b.zarr/flux/c/0",
        "cutouts/s/1/t/b.zarr/zarr.json",
    )
    assert cutouts.size == sum(len(store.get(key)) for key in cutouts.keys)
    before = store.list("")
    with sweeping(store) as (sweep, _):
        remove(store, found, sweep)
    assert set(before) - set(store.list("")) == {key for g in found for key in g.keys}
    assert find_garbage(store, now=LATER) == []
    assert len(find_receipts(store, "")) == len(kept)


def test_a_run_under_way_is_left_alone(local_store: Store) -> None:
    """Without a manifest everything is unreferred; what changed of late may belong to a run that goes on."""
    made = products(local_store, "a")
    assert find_garbage(local_store) == []
    assert len(find_garbage(local_store, grace=timedelta(0), now=LATER)) == len(made)


def test_a_model_trained_by_another_run_stays(local_store: Store) -> None:
    products(local_store, "a")
    publish(local_store, "s-x", [], models={"m": local_store.uri("models/m/a")})
    assert "models/m/a" not in {g.product for g in find_garbage(local_store, now=LATER)}


def test_nothing_is_garbage_while_a_manifest_is_unreadable(local_store: Store) -> None:
    products(local_store, "a")
    local_store.put("runs/s-a/manifest.json", b"{")
    with pytest.raises(IntegrityError, match="is not a manifest"):
        find_garbage(local_store, now=LATER)


def test_published_products_stay_whatever_dots_are_in_their_names(local_store: Store) -> None:
    """A run named v1.2, a survey named a.parquet, a tile named t.zarr: the first dot ends no product's name."""
    made = [
        "catalogs/c/v1.2-00", "catalogs/c/v1.2-00_supplement", "reports/v1.2-00", "models/m.zarr/f00",
        "cutouts/a.zarr/r.zarr/t.zarr/f00.zarr", "scores/a.parquet/1/t.parquet/f00.parquet",
        "comparisons/v1.json/f00.json",
    ]  # fmt: skip
    for product in made:
        single = product.endswith((".parquet", ".json"))
        local_store.put(product if single else f"{product}/part.bin", b"12345")
        write_receipt(local_store, Receipt(product=product, fingerprint=product))
    publish(local_store, "v1.2-00", made)
    assert find_garbage(local_store, now=LATER) == []
