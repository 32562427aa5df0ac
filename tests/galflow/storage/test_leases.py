"""Garbage collection beside runs: what a run under way may use stays, on a folder and on S3, whoever begins first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from galflow.errors import StoreError
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage import leases
from galflow.storage.garbage import collect, find_garbage, remove
from galflow.storage.leases import EXPIRY, read_leases, run_lease, sweeping
from galflow.storage.receipts import Receipt, RunManifest, publish_manifest, write_receipt
from galflow.storage.store import Store

LATER = datetime.now(UTC) + timedelta(days=8)
AT_ONCE = timedelta(0)


def spec(name: str = "s", survey: str = "hsc", **more: Any) -> RunSpec:
    models = [{"name": "vae", "model": "vae.VAE"}]
    return parse_spec({"name": name, "survey": {"kind": "synthetic", "name": survey}, "models": models} | more)


OWN = (
    "cutouts/hsc/1/t/f0.zarr", "joins/hsc/1/t/f0.parquet", "scores/hsc/1/t/f0.parquet", "models/vae/f0",
    "comparisons/s/f0.json", "catalogs/anomalies/s-0", "catalogs/anomalies/s-0_supplement", "reports/s-0",
)  # fmt: skip
OTHER = ("cutouts/hsc2/1/t/f0.zarr", "models/vae2/f0", "scores/des/1/t/f0.parquet", "reports/t-0")


def make(store: Store, *products: str) -> None:
    for product in products:
        single = product.endswith((".parquet", ".json"))
        store.put(product if single else f"{product}/file", b"12345")
        write_receipt(store, Receipt(product=product, fingerprint=product))


def found(store: Store, now: datetime = LATER) -> list[str]:
    return [garbage.product for garbage in find_garbage(store, grace=AT_ONCE, now=now)]


def test_what_a_run_under_way_may_use_stays_and_all_else_goes(store: Store) -> None:
    make(store, *OWN, *OTHER)
    with run_lease(store, spec()):
        removed, running = collect(store, AT_ONCE)
        assert sorted(g.product for g in removed) == sorted(OTHER)
        assert len(running) == 1
        assert f"run s ({leases._holder()}) is under way" in running[0]
        assert collect(store, AT_ONCE)[0] == []
    assert store.list("leases") == []
    assert sorted(g.product for g in collect(store, AT_ONCE)[0]) == sorted(OWN)
    assert store.list("") == []


def test_a_models_that_was_given_as_trained_and_a_samples_products_are_the_runs_too(local_store: Store) -> None:
    make(local_store, "models/other/f0", "models/other/f1", "scores/mock/1/t/f0.parquet")
    uri = local_store.uri("models/other/f0")
    given = spec(
        models=[{"name": "vae", "model": "vae.VAE", "trained": uri}],
        comparison={"samples": [{"name": "m", "survey": {"kind": "synthetic", "name": "mock"}}]},
    )
    with run_lease(local_store, given):
        assert [g.product for g in find_garbage(local_store, grace=AT_ONCE)] == ["models/other/f1"]


def test_the_lease_of_a_dead_run_expires(store: Store, s3_environment_or_none: dict[str, str]) -> None:
    """A process that is killed says nothing: its lease counts for an hour."""
    make(store, *OWN)
    code = (
        "import sys, time; from galflow.storage.leases import HeldLease; from galflow.storage.store import Store\n"
        "HeldLease(Store.open(sys.argv[1]), 's', ['cutouts/hsc/', 'models/']).begin(); print('held', flush=True)\n"
        "time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, store.root], stdout=subprocess.PIPE, env=os.environ | s3_environment_or_none,
        cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    (lease,) = read_leases(store)
    assert str(process.pid) in lease.holder
    kept = {product for product in OWN if product.startswith(("cutouts/hsc/", "models/"))}
    assert set(found(store, lease.modified + EXPIRY)) == set(OWN) - kept
    assert set(found(store, lease.modified + EXPIRY + timedelta(seconds=1))) == set(OWN)


@pytest.fixture
def s3_environment_or_none() -> dict[str, str]:
    """The fixtures of S3 set this process's environment, which a child inherits."""
    return {}


def test_a_products_age_counts_from_its_last_use(store: Store) -> None:
    """Two runs that are not published; the second took one of the products as it found it."""
    make(store, "models/vae/f0", "models/vae/f1")
    with run_lease(store, spec()) as lease:
        lease.used(["models/vae/f1"])
        lease.used(["https://elsewhere/model"])
    (record,) = read_leases(store)
    assert record.ended
    assert record.used == {"models/vae/f1"}
    written = max(entry.modified for entry in store.entries("models"))
    ages = {g.product: g.modified for g in find_garbage(store, grace=AT_ONCE, now=LATER)}
    assert ages["models/vae/f1"] == record.modified >= written
    assert ages["models/vae/f0"] <= written
    assert [g.product for g in collect(store, timedelta(days=1))[0]] == []
    assert len(store.list("leases")) == 2
    collect(store, AT_ONCE)
    assert store.list("") == []  # with what was noted


def test_of_a_published_run_nothing_is_noted(local_store: Store) -> None:
    with run_lease(local_store, spec()) as lease:
        lease.used(["models/vae/f1"])
        lease.published()
    assert local_store.list("leases") == []


def test_a_lease_that_cannot_be_read_covers_everything(local_store: Store) -> None:
    make(local_store, *OWN, *OTHER)
    local_store.put("leases/0.json", b"\xff{")
    assert found(local_store, datetime.now(UTC)) == []
    assert len(found(local_store)) == len(OWN + OTHER)


def test_a_run_that_is_published_while_garbage_is_looked_for_keeps_its_products(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases are read before manifests: a run that gives its lease back has put its manifest by then."""
    make(local_store, *OWN)
    held = run_lease(local_store, spec())
    held.__enter__()
    read = leases.read_leases

    def then_it_ends(store: Store) -> Any:
        found = read(store)
        receipts = [f"{product}.receipt.json" for product in OWN]
        publish_manifest(
            store,
            RunManifest(
                run="s-0", name="s", finished="2026-01-01T00:00:00+00:00", code_version="0", specification={},
                models={}, products={"all": receipts}, catalog="", report=None, summary={},
            ),
        )  # fmt: skip
        held.__exit__(None, None, None)
        return found

    monkeypatch.setattr("galflow.storage.garbage.read_leases", then_it_ends)
    assert found(local_store, datetime.now(UTC)) == []


def test_a_run_waits_until_the_garbage_is_gone(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It would else plan with products that are removed a moment later."""
    make(store, *OWN)
    begun = threading.Event()

    def begin() -> None:
        with run_lease(store, spec()):
            begun.set()
            there.extend(store.list("cutouts"))

    there: list[str] = []
    run = threading.Thread(target=begin)
    with sweeping(store) as (sweep, now):
        garbage = find_garbage(store, grace=AT_ONCE, now=now)
        run.start()
        assert not begun.wait(1.5)
        remove(store, garbage, sweep)
        assert not begun.is_set()
    run.join(30)
    assert begun.is_set()
    assert there == []  # it plans with what is there
    assert "is being removed" in caplog.text


def test_a_garbage_collection_that_died_keeps_no_run_waiting(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("leases/sweep-0.json", b"{}")
    monkeypatch.setattr(leases, "SWEEP_EXPIRY", timedelta(seconds=-1))
    with run_lease(store, spec()):
        pass


def test_a_garbage_collection_that_may_be_taken_for_dead_removes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(store, *OWN)
    before = store.list("")
    monkeypatch.setattr(leases, "_SWEEP_STOPS_SECONDS", -1.0)
    with pytest.raises(StoreError, match=r"sweep-.* could not be renewed for .* nothing more is removed"):
        collect(store, AT_ONCE)
    assert store.list("") == before


def test_leases_are_renewed_and_a_store_that_refuses_ends_no_run(
    local_store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "_RENEW_SECONDS", 0.01)
    put, refused = Store.put, threading.Event()
    renewed = threading.Semaphore(0)

    def watched(store: Store, key: str, data: bytes) -> Any:
        renewed.release()
        if refused.is_set():
            raise StoreError("the disk is full")
        return put(store, key, data)

    monkeypatch.setattr(Store, "put", watched)
    with run_lease(local_store, spec()) as lease:
        for _ in range(4):
            assert renewed.acquire(timeout=10)
        refused.set()
        for _ in range(4):
            assert renewed.acquire(timeout=10)
        lease.used(["models/vae/f0"])
    assert "could not be renewed: the disk is full" in caplog.text
    assert "was not noted: the disk is full" in caplog.text


def test_a_store_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot write"), run_lease(Store.open(tmp_path / "file"), spec()):
        pytest.fail("it has begun")
    with pytest.raises(StoreError, match="cannot write"):
        collect(Store.open(tmp_path / "file"))
