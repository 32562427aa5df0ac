"""Copies of large catalogues: those of runs that changed are deleted, and all together stay below a bound."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from galflow.explore import copies, index
from galflow.explore.copies import CopyOf, delete_old
from galflow.explore.explored import ExploredRun
from galflow.storage.receipts import RunManifest, publish_manifest, read_manifest
from galflow.storage.store import Store
from tests.galflow.explore.conftest import publish_small_run


@pytest.fixture
def manifest(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> RunManifest:
    monkeypatch.setattr(index, "LARGEST_IN_MEMORY", 10)
    return publish_small_run(local_store)


def published(store: Store, manifest: RunManifest, run: str, **other: str) -> RunManifest:
    publish_manifest(store, manifest.model_copy(update={"run": run, **other}))
    found = read_manifest(store, run)
    assert found is not None
    return found


def names(cache: Path) -> set[str]:
    return {found.run for folder in cache.iterdir() if (found := CopyOf.read(folder)) is not None}


def opened(store: Store, manifest: RunManifest, cache: Path) -> None:
    ExploredRun.open(store, manifest, cache).close()


def test_an_earlier_run_of_the_name_goes_when_a_later_one_is_opened(
    local_store: Store, manifest: RunManifest, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    opened(local_store, manifest, cache)
    opened(local_store, published(local_store, manifest, "other", name="another"), cache)
    later = published(local_store, manifest, "later", finished="2026-02-01T00:00:00+00:00")
    opened(local_store, later, cache)
    assert names(cache) == {"other", "later"}
    opened(local_store, manifest, cache)  # asked for all the same
    assert names(cache) == {"other", "later", manifest.run}


def test_copies_of_runs_that_are_gone_changed_or_unfinished_go_and_nothing_else(
    local_store: Store, manifest: RunManifest, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    for kept in ("mine", "0123456789abcdef0", "fedcba9876543210"):
        (cache / kept).mkdir(parents=True)
    (cache / "0123456789abcdef").write_text("a file")
    unfinished = cache / ".0123456789abcdee.77"
    unfinished.mkdir()
    for other in (
        CopyOf(local_store.root, "gone", "x", "2026"),
        CopyOf(local_store.root, manifest.run, manifest.name, "2027", version="1"),
        CopyOf("s3://elsewhere", "far", "x", "2026"),
    ):
        (cache / other.folder).mkdir()
        other.write(cache / other.folder)
    told: list[str] = []
    ExploredRun.open(local_store, manifest, cache, told.append).close()
    assert names(cache) == {"far", manifest.run}
    assert not unfinished.exists()
    assert {path.name for path in cache.iterdir()} >= {
        "mine", "0123456789abcdef0", "fedcba9876543210", "0123456789abcdef",
    }  # fmt: skip
    assert "deleting the copy of gone" in told


def test_what_is_open_stays_and_beyond_the_bound_the_oldest_goes(
    local_store: Store, manifest: RunManifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    runs = [published(local_store, manifest, f"run{i}", name=f"name{i}") for i in range(3)]
    explored = ExploredRun.open(local_store, runs[0], cache)
    for run in runs[1:]:
        opened(local_store, run, cache)
    for age, run in enumerate(runs):
        used = cache / CopyOf.run_of(local_store, run).folder / "used"
        os.utime(used, (1e9 + age, 1e9 + age))
    monkeypatch.setattr(copies, "LARGEST_BYTES", 1)
    delete_old(cache, local_store, runs[2], lambda _: None)
    assert names(cache) == {"run0", "run2"}  # one is open, the other just opened
    explored.close()
    delete_old(cache, local_store, runs[2], lambda _: None)
    assert names(cache) == {"run2"}
