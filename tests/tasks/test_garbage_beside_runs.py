"""`gc --delete` with no grace, again and again, beside runs of products that are older than any grace."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from galflow.spec.cluster import ClusterSpec
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.garbage import collect
from galflow.storage.layout import PRODUCT_KINDS
from galflow.storage.receipts import RunManifest, read_receipts, verify_store
from galflow.storage.store import Store
from tasks import stages
from tasks.monitoring import watched_run
from tasks.publish import publish
from tasks.run_record import RunRecord

DOCUMENT: dict[str, Any] = {
    "name": "beside",
    "survey": {
        "kind": "synthetic",
        "options": {"tiles": 2, "tile_size": 160, "objects_per_tile": 30, "magnitude_range": [18.5, 21.5]},
    },
    "cutouts": {"size": 16},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
    "training": {"reference_fraction": 0.3},
    "output": {"report": False},
}
_OLD_SECONDS = 10 * 86400.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSpec]:
    """A worker in this process: what is tried here is the store."""
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as started:
        yield ClusterSpec(kind="address", address=started.scheduler_address)


def on(root: Path, cluster: ClusterSpec) -> RunSpec:
    return parse_spec(DOCUMENT | {"store": {"root": str(root)}}).model_copy(update={"cluster": cluster})


def scored(spec: RunSpec) -> tuple[RunRecord, int]:
    """All stages but the last two, and how many products they made."""
    run = RunRecord(spec)
    run.cutouts[None] = stages.ingest.fn(run)
    run.joined[None] = stages.join.fn(run)
    run.models = stages.train_models.fn(run)
    run.ranking = stages.choose_rule.fn(run)
    run.scores[None] = stages.score_cutouts.fn(run)
    return run, sum(result.made for result in run.stages.values())


def whole(spec: RunSpec) -> tuple[RunManifest, int]:
    """A run as its flow does it."""
    with watched_run(spec) as reached:
        run, made = scored(reached)
        run.comparison = stages.compare.fn(run)
        return publish.fn(run), made


@pytest.fixture(scope="module")
def unpublished(cluster: ClusterSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store on which all is made but nothing is published, by a run that ended ten days ago."""
    root = tmp_path_factory.mktemp("unpublished") / "store"
    with watched_run(on(root, cluster)) as reached:
        scored(reached)
    shutil.rmtree(root / "leases")
    past = time.time() - _OLD_SECONDS
    for path in root.rglob("*"):
        os.utime(path, (past, past))
    return root


class _Collector:
    """Collects garbage at random moments until it is told to stop."""

    def __init__(self, store: Store, moments: random.Random) -> None:
        self.removed: list[str] = []
        self.sweeps = 0
        self._store, self._moments = store, moments
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect)

    def __enter__(self) -> _Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _collect(self) -> None:
        while True:
            self.removed += [garbage.product for garbage in collect(self._store, timedelta(0))[0]]
            self.sweeps += 1
            if self._stop.wait(self._moments.uniform(0, 0.05)):
                return


def one_try(seed: int, unpublished: Path, cluster: ClusterSpec, root: Path) -> None:
    """A whole run with collections at random moments, none of which may take anything."""
    shutil.copytree(unpublished, root)  # with its times
    spec, store = on(root, cluster), Store.open(root)
    before = [key for prefix in PRODUCT_KINDS for key in store.list(prefix)]
    moments = random.Random(seed)
    with watched_run(spec):  # the run has begun; what it does is said below
        with _Collector(store, moments) as collector:
            time.sleep(moments.uniform(0, 0.05))
            manifest, made = whole(spec)
        assert collector.sweeps > 1
        assert collector.removed == []
    assert made == 0
    assert set(before) <= set(store.list(""))
    keys = [key for listed in manifest.products.values() for key in listed]
    assert len(list(read_receipts(store, keys))) == len(keys) >= 9
    assert verify_store(store).faults == []
    assert collect(store, timedelta(0))[0] == []  # all is published now
    assert store.list("leases") == []


def tries(numbers: range, unpublished: Path, cluster: ClusterSpec, folder: Path) -> None:
    for number in numbers:
        one_try(number, unpublished, cluster, folder / str(number))


def test_nothing_of_a_run_under_way_is_removed(unpublished: Path, cluster: ClusterSpec, tmp_path: Path) -> None:
    tries(range(3), unpublished, cluster, tmp_path)


@pytest.mark.full
def test_nothing_of_a_run_under_way_is_removed_in_twenty_tries(
    unpublished: Path, cluster: ClusterSpec, tmp_path: Path
) -> None:
    tries(range(3, 23), unpublished, cluster, tmp_path)


def test_a_run_that_begins_while_garbage_is_removed_takes_no_product_that_goes(
    unpublished: Path, cluster: ClusterSpec, tmp_path: Path
) -> None:
    """Without a lease held before: the collections take what they find, and the run makes it anew, whole."""
    shutil.copytree(unpublished, tmp_path / "store")
    spec, store = on(tmp_path / "store", cluster), Store.open(tmp_path / "store")
    with _Collector(store, random.Random(1)):
        manifest, made = whole(spec)
    assert made in (0, 8)  # of 2 cutout sets, 2 joins, 1 model, 1 ranking, 2 score parts
    assert verify_store(store).faults == []
    keys = [key for listed in manifest.products.values() for key in listed]
    assert len(list(read_receipts(store, keys))) == len(keys) >= 9
