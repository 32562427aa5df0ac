"""Step 5: scores that need one pass of an encoder, of 64 x 64 pixels in three bands, from Zarr to the stored part.

f-AnoGAN's scores without refinement of the latents (wgan.WGAN), and those of the autoencoder. The models are untrained:
what a pass costs does not depend on the weights. The inverse variance is one number for a chunk, as that of a survey's
tile mostly is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import galflow.scores.score as scoring
from benchmarks.gpu.figures import Figure, Settings, Subject, galaxies, timed, wait
from benchmarks.gpu.stopwatch import Stage, stopwatch
from benchmarks.untrained import BANDS, PRODUCT, STRETCH, as_trained, made_cutouts
from galflow.cutouts.batches import CutoutRows
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import write_cutout_set
from galflow.scores.score import PartFingerprints, PartSettings, score_set
from galflow.spec.run import CutoutSpec
from galflow.storage.receipts import Outcome
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel

DIFFERENT = 512
"""So many objects have pixels of their own; then they repeat."""
GOAL = 20_000
"""Objects a second, end to end."""
CHUNK_MEGABYTES = (5.0, 50.0)
"""galflow's default, and chunks that hold a batch for a GPU."""


def measure(settings: Settings) -> Iterator[Figure]:
    """For each size of chunk: writing; then for each model the rate end to end, and the seconds of each stage."""
    size, objects = settings.pick((64, 20_480), (16, 64))
    for megabytes in settings.pick(CHUNK_MEGABYTES, CHUNK_MEGABYTES[:1]):
        folder = settings.work / f"{megabytes:g}"
        store = Store.open(folder)
        spec = CutoutSpec(size=size, chunk_megabytes=megabytes)
        with timed() as passed:
            write_cutout_set(store, PRODUCT, made_cutouts(objects, size, DIFFERENT), spec)
            yield Figure(f"chunks of {megabytes:g} MB: made and written", objects / passed(), "objects/s")
        with timed() as passed:
            stored = sum(len(path.read_bytes()) for path in (folder / PRODUCT).rglob("*") if path.is_file())
            yield Figure(f"chunks of {megabytes:g} MB: bytes read alone", passed(), "s", note=f"{stored / 1e9:.2f} GB")
        options = settings.pick({}, {"width": 4, "latent": 4})
        for name, own in (("wgan.WGAN", options), ("autoencoder.Autoencoder", {})):
            subject = Subject(name, len(BANDS), size, own)
            yield from _scoring(settings, store, trained(subject, spec, settings.device), objects, megabytes)


def _scoring(settings: Settings, store: Store, model: TrainedModel, objects: int, megabytes: float) -> Iterator[Figure]:
    title = f"{model.card.model}, chunks of {megabytes:g} MB"
    score = partial(_score, settings, store, model)
    score("warm", 0)
    with timed() as passed:
        score("timed", objects)
        rate = objects / passed()
    asked = rate > GOAL if settings.device == "cuda" and not settings.small else None
    yield Figure(f"{title}: end to end", rate, "objects/s", asked, note=f"goal {GOAL:,}")
    after = partial(wait, settings.device)
    stages = (
        Stage("read, checksum, decode", CutoutSet, "read"),
        Stage("copy to the device, stretch", CutoutRows, "batch", after),
        Stage("model, and scores back", TrainedModel, "_measure", after),
        Stage("calibrate, table", scoring, "_part_table"),
        Stage("write part and receipt", scoring, "write_one_file"),
    )
    with stopwatch(stages) as seconds, timed() as passed:
        score("stages", objects)
        whole = passed()
    for name, spent in seconds.items():
        yield Figure(f"{title}: {name}", spent, "s", note=f"{spent / whole:.0%} of {whole:.2f} s")


def _score(settings: Settings, store: Store, model: TrainedModel, run: str, expected: int) -> None:
    """Once; without ``expected`` objects, of the first chunk's worth it only warms up."""
    out = Store.open(settings.work / f"out-{run}-{model.card.fingerprint}-{id(store)}")
    cutouts = CutoutSet(store, PRODUCT)
    if not expected:
        chunk = next(cutouts.chunks())
        objects = CutoutRows(cutouts.read("flux", chunk), cutouts.read("ivar", chunk), None, {})
        model.evaluate(objects.batch(STRETCH, model.contents, settings.device))
        return
    receipt = score_set(
        out,
        cutouts,
        {"m": model},
        PartFingerprints("s0", "c0"),
        PartSettings(),
        batch_objects=4096,
        device=settings.device,
    )
    if receipt.outcome is not Outcome.DONE or receipt.rows != expected:
        raise RuntimeError(f"scoring gave {receipt.outcome}, {receipt.rows} rows: {receipt.reasons}")


def trained(subject: Subject, spec: CutoutSpec, device: str) -> TrainedModel:
    """The model as it is before training, with reference distributions of the size that calibrates a run."""
    module = subject.made(device)
    batch = galaxies(module, 256, device)
    if subject.name == "autoencoder.Autoencoder":
        module.finish([batch])
    return as_trained("m", subject.name, module, subject.options, spec, batch, len(batch))
