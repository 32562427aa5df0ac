"""A model trained by two Dask workers together: the same weights as by one, and a worker's death costs little."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from galflow.errors import SpecError
from galflow.runs.plan import plan_cutouts, plan_models
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.layout import CHECKPOINT
from galflow.storage.receipts import Receipt, find_receipts
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel
from tasks.cluster import open_client, running_cluster
from tasks.fan_out import StageResult
from tasks.run_record import RunRecord
from tasks.stages import ingest, join, train_models


def spec(root: Path, workers: int, **training: Any) -> RunSpec:
    return parse_spec(
        {
            "name": "together",
            "survey": {"kind": "synthetic", "options": {"tiles": 2, "tile_size": 160, "objects_per_tile": 60}},
            "cutouts": {"size": 16},
            "models": [{"name": "ae", "model": "autoencoder.Autoencoder", "options": {"width": 8, "latent": 4}}],
            "training": {"epochs": 4, "batch_size": 16, "reference_fraction": 0.3, "workers": workers} | training,
            "cluster": {"workers": 2},
            "store": {"root": str(root)},
        }
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunSpec]:
    with running_cluster(spec(tmp_path_factory.mktemp("none"), 1)) as reached:
        yield reached


def trained(root: Path, cluster: RunSpec, workers: int, **training: Any) -> StageResult:
    """Cut, join and train, as plain functions, on the running cluster."""
    wanted = spec(root, 1, **training)
    wanted = wanted.model_copy(
        update={"cluster": cluster.cluster, "training": wanted.training.model_copy(update={"workers": workers})}
    )
    run = RunRecord(wanted)
    run.cutouts[None] = ingest.fn(run)
    run.joined[None] = join.fn(run)
    return train_models.fn(run)


def weights(root: Path, receipt: Receipt) -> dict[str, torch.Tensor]:
    state = TrainedModel.load(Store.open(root), receipt.product).module.state_dict()
    return {name: value for name, value in state.items() if not name.startswith("mixture")}


@pytest.mark.full
def test_two_workers_train_what_one_does(tmp_path: Path, cluster: RunSpec) -> None:
    (alone,) = trained(tmp_path / "one", cluster, 1).receipts
    (both,) = trained(tmp_path / "two", cluster, 2).receipts
    assert both.fingerprint == alone.fingerprint, "how many workers train is not part of what is trained"
    expected = weights(tmp_path / "one", alone)
    for name, value in weights(tmp_path / "two", both).items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-4, msg=name)
    again = trained(tmp_path / "two", cluster, 2)
    assert (again.made, again.receipts) == (0, (both,))


def test_a_dead_worker_costs_no_more_than_the_time_since_the_checkpoint(tmp_path: Path, cluster: RunSpec) -> None:
    wanted = spec(tmp_path, 2)
    store = Store.open(tmp_path)
    killed: list[int] = []

    def kill_once_there_is_a_checkpoint() -> None:
        deadline = time.monotonic() + 120
        with open_client(cluster.cluster) as client:
            while time.monotonic() < deadline:
                if any(key.endswith(CHECKPOINT) for key in store.list("models")):
                    killed.append(sorted(client.run(os.getpid).items())[1][1])
                    os.kill(killed[0], signal.SIGKILL)
                    return
                time.sleep(0.01)

    killer = threading.Thread(target=kill_once_there_is_a_checkpoint)
    killer.start()
    result = trained(tmp_path, cluster, 2, epochs=60, checkpoint_seconds=0.05)
    killer.join()
    assert killed, "nobody was killed: the training was too quick for this test"
    assert result.failures == ()
    (receipt,) = result.receipts
    assert find_receipts(store, "models")[receipt.fingerprint] == receipt
    card = TrainedModel.load(store, receipt.product).card
    assert [point.epoch for point in card.curves] == list(range(1, 61)), "every epoch once, across the restart"
    assert not [key for key in store.list("models") if key.endswith(CHECKPOINT)]
    assert plan_models(wanted, store, [u.fingerprint for u in plan_cutouts(wanted, wanted.survey, store)], {})


def test_more_workers_than_the_cluster_may_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"training\.workers is 5, but the cluster has 2 at most; raise"):
        spec(tmp_path, 5)


def test_a_training_over_the_network_is_not_taken_for_encrypted() -> None:
    tls = {"ca_file": "ca.pem", "cert_file": "me.pem", "key_file": "me.key"}

    def with_tls(host: str, workers: int, **more: bool) -> RunSpec:
        where = {"kind": "address", "address": f"tls://{host}:8786", "tls": {**tls, **more}}
        models = [{"name": "kmeans", "model": "kmeans.KMeans"}]
        return parse_spec({"name": "x", "survey": {"kind": "synthetic"}, "models": models, "cluster": where,
                           "training": {"workers": workers}})  # fmt: skip

    with pytest.raises(SpecError, match=r"training\.workers is 2 and cluster\.tls is given, .*plain_training: true"):
        with_tls("there", 2)
    assert with_tls("there", 2, plain_training=True).training.workers == 2
    assert with_tls("there", 1).training.workers == 1
    assert with_tls("127.0.0.1", 2).training.workers == 2


def test_more_workers_than_ever_come_is_a_recorded_failure(tmp_path: Path, cluster: RunSpec) -> None:
    impatient = cluster.cluster.model_copy(update={"wait_minutes": 0.01})
    result = trained(tmp_path, cluster.model_copy(update={"cluster": impatient}), 5)
    assert result.receipts == ()
    ((stage, reason),) = [(f.stage, f.reason) for f in result.failures]
    assert stage == "train"
    assert re.fullmatch(
        r"training.workers is 5, but the cluster has 2: \S+ \(tls://\S+\), \S+ \(tls://\S+\); "
        r"raise cluster.workers, or lower training.workers",
        reason,
    ), reason
