"""Scoring of one cutout set: galflow.scores.score.score_set, beside the bare forward passes of the same models.

The floor is given what it needs in memory: whole batches of the same size, stretched, of completely observed pixels. It
calls each model once a batch (``log_prob`` of a Density, ``score`` of the others) and throws the result away. Opening
and decoding Zarr, the stretch, the flags, calibration, the Parquet part, its checksum and the receipt are galflow's
overhead. The models are untrained: what a forward pass costs does not depend on its weights.

The store is a folder, and then S3: a SeaweedFS of the benchmark's own, on this machine and on its cores.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.s3_server import s3_server
from benchmarks.scratch import scratch
from benchmarks.timing import Table, interleaved, table
from benchmarks.untrained import BANDS, PRODUCT, STRETCH, as_trained, made_cutouts
from galflow.batch import Batch
from galflow.cutouts.batches import make_batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import write_cutout_set
from galflow.models.base import Density, build_model
from galflow.scores.score import PartFingerprints, PartSettings, score_set
from galflow.spec.run import CutoutSpec, ScoringSpec
from galflow.storage.receipts import Outcome
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel

OBJECTS = 4000
SPEC = CutoutSpec(size=32)
BATCH_OBJECTS = ScoringSpec().batch_objects
REFERENCE_OBJECTS = 200
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("vae.VAE", {}),
    "ae": ("autoencoder.Autoencoder", {}),
    "kmeans": ("kmeans.KMeans", {}),
    "wgan": ("wgan.WGAN", {"width": 16}),
    "pixelcnn": ("pixelcnn_pp.PixelCNNPP", {"width": 16}),
}
"""Name -> class and options."""
SLOWEST = "pixelcnn"
"""It takes most of the time of all models together, and hides what the others' scoring costs."""


def run() -> Iterator[Table]:
    """From a folder with one torch thread and with two, then from S3: all models, without the slowest, each alone."""
    before = torch.get_num_threads()
    fast = tuple(name for name in MODELS if name != SLOWEST)
    try:
        with scratch() as work:
            for threads in (1, 2):
                yield from measure(work, threads, (tuple(MODELS), fast, *((name,) for name in fast)))
            with s3_server(work) as bucket:
                yield from measure(work, 1, (fast, ("kmeans",), ("vae",)), f"{bucket}/scoring")
    finally:
        torch.set_num_threads(before)


def measure(work: Path, threads: int, groups: Sequence[tuple[str, ...]], root: str | None = None) -> Iterator[Table]:
    """A table a group of models, scored together with so many torch threads; ``root``: of a store that is no folder."""
    torch.set_num_threads(threads)
    data = made_cutouts(OBJECTS, SPEC.size)
    shutil.rmtree(work / "in", ignore_errors=True)
    store, out = (Store.open(f"{root}/{name}" if root else work / name) for name in ("in", "out"))
    write_cutout_set(store, PRODUCT, data, SPEC)
    batches = [
        make_batch(data.flux[rows], data.ivar[rows], STRETCH)
        for rows in (slice(i, i + BATCH_OBJECTS) for i in range(0, OBJECTS, BATCH_OBJECTS))
    ]
    models = {name: trained(name, batches[0]) for name in MODELS}
    for names in groups:
        some = {name: models[name] for name in names}
        cases: dict[str, Callable[[], object]] = {
            "galflow": partial(galflow_way, store, out, some, triage=False),
            "with triage": partial(galflow_way, store, out, some, triage=True),
            "bare passes": partial(bare_passes, some, batches),
        }
        timings = interleaved(cases, between=lambda: out.delete("scores"))
        where = "from S3" if root else "from a folder"
        size = f"{OBJECTS} objects, {len(BANDS)} bands, {SPEC.size} px, {threads} torch thread(s), {where}"
        yield table(f"scoring, {' + '.join(names)}: {size}", "bare passes", timings, objects=OBJECTS)


def galflow_way(store: Store, out: Store, models: Mapping[str, TrainedModel], *, triage: bool) -> None:
    """From the stored cutouts to the stored part and its receipt, with the triage's measurements or without."""
    receipt = score_set(
        out,
        CutoutSet(store, PRODUCT),
        models,
        PartFingerprints("s0", "c0"),
        PartSettings(triage=triage),
        batch_objects=BATCH_OBJECTS,
    )
    if receipt.outcome is not Outcome.DONE or receipt.rows != OBJECTS:
        raise RuntimeError(f"the benchmark's scoring gave {receipt.outcome}, {receipt.rows} rows: {receipt.reasons}")


def bare_passes(models: Mapping[str, TrainedModel], batches: list[Batch]) -> None:
    """The forward passes alone."""
    with torch.no_grad():
        for batch in batches:
            for model in models.values():
                module = model.module
                if isinstance(module, Density):
                    module.log_prob(batch)
                else:
                    module.score(batch)


def trained(name: str, batch: Batch) -> TrainedModel:
    """The model as it is before training, with reference distributions of the size that calibrates a run."""
    path, options = MODELS[name]
    torch.manual_seed(4)
    module = build_model(path, channels=len(BANDS), size=SPEC.size, **options)
    module.initialise(batch)
    return as_trained(name, path, module, options, SPEC, batch, REFERENCE_OBJECTS)
