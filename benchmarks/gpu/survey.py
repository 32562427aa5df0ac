"""Step 2: a small survey through the workers' own verbs, on a CPU and on ``LocalCUDACluster``, and what differs.

The stages of a run without Prefect: cut, join, train and score the Hubble deep field of scikit-image's wheel. The same
weights must give the same scores on both. Trainings that draw no random numbers are repeated on the GPU, where each
step rounds otherwise: their scores must rank the objects alike.
"""

from __future__ import annotations

import io
import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from distributed import Client
from scipy.stats import spearmanr

from benchmarks.gpu.figures import MIB, Figure, Settings, timed
from galflow.cutouts.joins import join_tiles
from galflow.runs.plan import part_settings, plan_models
from galflow.runs.plan_cutouts import plan_cutouts
from galflow.runs.plan_joins import plan_joins
from galflow.runs.plan_units import JoinedTile
from galflow.spec.run import RunSpec, parse_spec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.training.gpu_arithmetic import pick_device
from tasks.cluster import open_client, running_cluster
from tasks.worker_jobs import cut, score, train

SAME_WEIGHTS = 1e-3
"""Largest difference of a score by the same weights, in robust standard deviations of the objects' scores."""
LEAST_RANK_CORRELATION = 0.98
"""Spearman's, between scores of models trained on a CPU and on a GPU."""
SECONDS = 100.0
"""So long at the most for one verb."""
DRAW_NOTHING = ("kmeans", "ae", "flow")
"""Models whose losses take no random numbers."""


def measure(settings: Settings) -> Iterator[Figure]:
    """Start and work of both clusters in seconds; then the differences, model by model."""
    spec = _specification(settings, "local")
    work = _Work(spec, Store.open(spec.store.root))
    with _without_gpu(), timed() as passed, _client(spec) as client:
        yield Figure("LocalCluster on the CPU: start", passed(), "s")
        with timed() as passed:
            tiles = work.cut(client)
            own = work.train(client, tiles, dict.fromkeys(work.names))
            expected = work.score(client, tiles, own, "on-cpu")
            yield Figure(
                "cut, train and score on the CPU", passed(), "s", len(expected) > 0, f"{len(expected)} objects"
            )
    kind = "cuda" if settings.device == "cuda" else "local"
    name = {"cuda": "LocalCUDACluster", "local": "LocalCluster in its place: no GPU here"}[kind]
    with timed() as passed, _client(_specification(settings, kind)) as client:
        yield Figure(f"{name}: start", passed(), "s", note=f"workers at {_schemes(client)}")
        found = set(client.run(pick_device).values())
        yield Figure("workers that compute on the device asked for", len(found), "kinds", found == {settings.device})
        with timed() as passed:
            same = work.score(client, tiles, own, "same-weights")
            anew = work.train(client, tiles, {m: f"models/{m}/anew" for m in work.names if m in DRAW_NOTHING})
            again = work.score(client, tiles, anew, "own-weights")
            peak = max(client.run(_peak_mib).values()) if settings.device == "cuda" else None
            yield Figure("score, train and score there", passed(), "s", peak_mib=peak)
    yield from _differences(expected, same)
    yield from _ranks(work.spec, expected, again)


def _specification(settings: Settings, kind: str) -> RunSpec:
    options: dict[str, dict[str, Any]] = {
        "kmeans": {"model": "kmeans.KMeans", "options": {"clusters": 4}},
        "ae": {"model": "autoencoder.Autoencoder", "options": {}},
        "flow": {"model": "realnvp.RealNVP", "options": {"width": 8}},
        "vae": {"model": "vae.VAE", "options": {}},
        "pixels": {"model": "pixelcnn_pp.PixelCNNPP", "options": {"width": 8, "layers": 3}},
    }
    chosen = settings.pick(tuple(options), ("kmeans",))
    return parse_spec(
        {
            "name": "gpu",
            "survey": {"kind": "hubble"},
            "cutouts": {"size": 16},
            "models": [{"name": name, **options[name]} for name in chosen],
            "training": {"epochs": settings.pick(2, 1), "augment": False},
            "cluster": {"kind": kind, "workers": 1, "threads_per_worker": settings.pick(4, 1)},
            "store": {"root": str(settings.work / "store")},
        }
    )


@contextmanager
def _client(spec: RunSpec) -> Iterator[Client]:
    with running_cluster(spec) as reached, open_client(reached.cluster) as client:
        yield client


@contextmanager
def _without_gpu() -> Iterator[None]:
    """Processes that start inside see no GPU."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _schemes(client: Client) -> str:
    """tls, if connections are encrypted."""
    return ", ".join({str(address).partition(":")[0] for address in client.run(pick_device)})


def _peak_mib() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / MIB


@dataclass(frozen=True)
class _Work:
    """The stages, each on the client's workers."""

    spec: RunSpec
    store: Store

    @property
    def names(self) -> list[str]:
        """The models."""
        return [model.name for model in self.spec.models]

    def _do(self, client: Client, verb: Any, **arguments: Any) -> Receipt:
        return client.submit(verb, self.store, **arguments, pure=False).result(timeout=SECONDS)

    def cut(self, client: Client) -> list[JoinedTile]:
        """Cut and join all tiles."""
        spec = self.spec
        units = plan_cutouts(spec, spec.survey, self.store)
        survey = spec.survey.model_dump_json()
        for unit in units:
            self._do(
                client,
                cut,
                survey=survey,
                tile=unit.tile,
                spec=spec.cutouts,
                fingerprint=unit.fingerprint,
                rows_key=None,
            )
        cuts = [unit.cut for unit in units]
        joins = plan_joins(spec, spec.survey, self.store, cuts, {unit.name: unit.place for unit in units})
        for task, outcome in join_tiles(self.store, [unit.task for unit in joins if unit.task is not None], spec.join):
            if isinstance(outcome, str):
                raise RuntimeError(f"tile {task.own.tile} could not be joined: {outcome}")
        return [unit.joined for unit in joins]

    def train(self, client: Client, tiles: Sequence[JoinedTile], products: dict[str, str | None]) -> dict[str, str]:
        """Train these models, each to its own key or the one given; name -> key."""
        made = {}
        for unit in plan_models(self.spec, self.store, [tile.fingerprint for tile in tiles], {}):
            if unit.name not in products:
                continue
            product = products[unit.name] or unit.product
            names = {"name": unit.name, "product": product, "fingerprint": product.rpartition("/")[2]}
            self._do(client, train, spec=self.spec, sets=tiles, sky=tiles, **names)
            made[unit.name] = product
        return made

    def score(self, client: Client, tiles: Sequence[JoinedTile], models: dict[str, str], name: str) -> pa.Table:
        """All objects' scores; ``models``: name -> key."""
        classes = {model.name: model.model for model in self.spec.models}
        parts = [
            self._do(
                client,
                score,
                tile=tile,
                models={model: (key, classes[model]) for model, key in models.items()},
                fingerprint=name,
                settings=part_settings(self.spec, self.spec.survey),
                batch_objects=self.spec.scoring.batch_objects,
                earlier=None,
            )
            for tile in tiles
        ]
        return pa.concat_tables([pq.read_table(io.BytesIO(self.store.get(part.product))) for part in parts])


def _scores(table: pa.Table) -> dict[str, np.ndarray]:
    """The raw scores and likelihoods: a score has its p-value beside it."""
    names = table.column_names
    chosen = [name for name in names if f"{name}_p" in names or name.startswith("loglike_")]
    return {name: table[name].to_numpy(zero_copy_only=False) for name in chosen}


def _differences(expected: pa.Table, found: pa.Table) -> Iterator[Figure]:
    equal = expected["object_id"].equals(found["object_id"]) and expected["outcome"].equals(found["outcome"])
    yield Figure("rows, objects and outcomes as on the CPU", len(found), "rows", equal)
    others = _scores(found)
    for name, values in _scores(expected).items():
        spread = 1.4826 * float(np.nanmedian(np.abs(values - np.nanmedian(values))))
        gap = float(np.nanmax(np.abs(others[name] - values))) / max(spread, 1e-12)
        missing = not np.array_equal(np.isnan(values), np.isnan(others[name]))
        passed = gap < SAME_WEIGHTS and not missing
        yield Figure(f"{name}: largest difference, same weights", gap, "sigma", passed, f"below {SAME_WEIGHTS:g}")


def _ranks(spec: RunSpec, expected: pa.Table, found: pa.Table) -> Iterator[Figure]:
    others = _scores(found)
    for model in [m.name for m in spec.models if m.name in DRAW_NOTHING]:
        alike = [
            float(spearmanr(values, others[name], nan_policy="omit").statistic)
            for name, values in _scores(expected).items()
            if name.startswith(f"{model}_")
        ]
        worst = min(alike)
        note = f"of {len(alike)} scores the least; median {statistics.median(alike):.5f}"
        passed = worst > LEAST_RANK_CORRELATION
        yield Figure(f"{model} trained on both: rank correlation of scores", worst, "", passed, note)
