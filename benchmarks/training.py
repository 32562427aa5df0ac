"""Training of one model: galflow.training.fit.fit from stored cutouts, beside a bare loop over the objects in memory.

The bare loop has what any training has: batches of a permutation of a tensor, each player's loss, its gradient, a step
of fused Adam, and after each epoch the losses of a validation split. Opening and decoding Zarr, the stretch, the
symmetries, missing pixels, seeds, the look for losses that are no numbers, and the learning curve are galflow's
overhead. Both train the same objects for the same epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks.scratch import scratch
from benchmarks.timing import Table, interleaved, table
from benchmarks.untrained import BANDS, PRODUCT, STRETCH, made_cutouts
from galflow.batch import Batch
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.set_writing import write_cutout_set
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.models.base import GenerativeModel, Player, build_model
from galflow.spec.run import CutoutSpec, TrainingSpec
from galflow.storage.store import Store
from galflow.training.fit import fit
from galflow.training.players import trainable_parameters

OBJECTS = 2000
SPEC = CutoutSpec(size=32)
TRAINING = TrainingSpec(epochs=3)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("vae.VAE", {}),
    "ae": ("autoencoder.Autoencoder", {}),
    "wgan": ("wgan.WGAN", {"width": 16}),
}
"""Name -> class and options."""


def run() -> Iterator[Table]:
    """Each model with one torch thread and with two."""
    before = torch.get_num_threads()
    try:
        with scratch() as work:
            store = Store.open(work)
            write_cutout_set(store, PRODUCT, made_cutouts(OBJECTS, SPEC.size), SPEC)
            for threads in (1, 2):
                torch.set_num_threads(threads)
                yield from measure(store, threads)
    finally:
        torch.set_num_threads(before)


def measure(store: Store, threads: int) -> Iterator[Table]:
    """A table a model."""
    data = training_set(store)
    kept = {split: next(data.batches(split, data.count(split))) for split in (Split.TRAIN, Split.VALIDATION)}
    for name in MODELS:
        cases: dict[str, Callable[[], object]] = {
            "galflow": partial(galflow_way, store, name),
            "bare loop": partial(bare_loop, name, kept[Split.TRAIN], kept[Split.VALIDATION]),
        }
        objects = data.count(Split.TRAIN) * TRAINING.epochs
        title = (
            f"training, {name}: {objects} objects seen, {len(BANDS)} bands, {SPEC.size} px, {threads} torch thread(s)"
        )
        yield table(title, "bare loop", interleaved(cases), objects=objects)


def training_set(store: Store) -> TrainingSet:
    """As a run makes it."""
    shares = TRAINING.validation_fraction, TRAINING.reference_fraction
    return TrainingSet([CutoutSet(store, PRODUCT)], STRETCH, validation=shares[0], reference=shares[1])


def made(name: str) -> GenerativeModel:
    """The model before training."""
    path, options = MODELS[name]
    torch.manual_seed(4)
    return build_model(path, channels=len(BANDS), size=SPEC.size, **options)


def galflow_way(store: Store, name: str) -> None:
    """From the stored cutouts to the trained weights and the learning curve."""
    fit(made(name), training_set(store), TRAINING, seed=1)


def bare_loop(name: str, train: Batch, validation: Batch) -> None:
    """The steps alone, phase after phase."""
    model = made(name)
    model.initialise(train[: TRAINING.batch_size])
    for phase in sorted({player.phase for player in model.players}):
        players = [player for player in model.players if player.phase == phase]
        bare_phase(model, players, train, validation)
    model.eval()
    model.finish([train])


def bare_phase(model: GenerativeModel, players: Sequence[Player], train: Batch, validation: Batch) -> None:
    """As many epochs as the phase has in a run."""
    own = {player.name: trainable_parameters(model, player) for player in players}
    optimisers = {p.name: torch.optim.Adam(own[p.name], lr=p.learning_rate, betas=p.betas, fused=True) for p in players}
    turns = [player.name for player in players for _ in range(player.steps)]
    for _ in range(max(1, round(TRAINING.epochs * max(player.effort for player in players)))):
        model.train()
        batches = torch.randperm(len(train)).split(TRAINING.batch_size)
        for number in range(len(batches) // len(turns) * len(turns)):
            mover = turns[number % len(turns)]
            model.requires_grad_(False)
            for parameter in own[mover]:
                parameter.requires_grad_(True)
            optimisers[mover].zero_grad()
            model.loss(train[batches[number]], mover).backward()
            optimisers[mover].step()
        model.eval()
        with torch.no_grad():
            for start in range(0, len(validation), TRAINING.batch_size):
                for player in players:
                    model.loss(validation[start : start + TRAINING.batch_size], player.name)
        model.requires_grad_(True)
