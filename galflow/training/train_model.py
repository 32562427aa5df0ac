"""From cutouts to a trained model on the store, with its receipt: what one training task calls.

It is told which sets, which stretch and under which key; it plans nothing, and asks no store what is already done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import common_white
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.errors import DataError, ModelError
from galflow.models.base import Density, GenerativeModel, abilities, build_model, find_model
from galflow.photometry import Stretch
from galflow.spec.models import ModelSpec
from galflow.spec.run import CutoutSpec, TrainingSpec
from galflow.spec.run import fingerprint as fingerprint_of
from galflow.spec.stretch import StretchSpec
from galflow.storage.products import Target, outcome_of, write_product
from galflow.storage.receipts import Receipt
from galflow.surveys.base import TileFile
from galflow.training.brought_weights import give_weights
from galflow.training.check import constructor_arguments
from galflow.training.checkpoint import Checkpoint
from galflow.training.corrected_likelihood import TYPICALITY, scores_of, typicality
from galflow.training.fit import fit
from galflow.training.learning_curve import FitResult, Progress
from galflow.training.randomness import derived_seed, seeded
from galflow.training.ranks import SINGLE_PROCESS, Ranks
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import BPD, ModelCard, TrainedModel, fields_of
from galflow.training.trimming import left_out_facts

TRAINING_VERSION = "2"
"""Raised when the same specification and cutouts would give other weights or reference scores."""
FEW_REFERENCE_OBJECTS = 20
"""With fewer, p-values come in steps coarser than 5%."""

_WITHOUT_EFFECT = {"checkpoint_seconds", "workers", "seeds", "tensorboard"}


def model_fingerprint(
    model: ModelSpec,
    training: TrainingSpec,
    cutouts: CutoutSpec,
    stretch: StretchSpec,
    seed: int,
    cutout_fingerprints: Sequence[str],
    sky_fingerprints: Sequence[str] = (),
    weights: TileFile | None = None,
) -> str:
    """The fingerprint of a trained model. ``training`` has the model's own overrides applied (RunSpec.training_of).

    How often checkpoints are written and how many workers train changes no weight and is left out; how much is held in
    memory decides the order of a larger set's batches and is part of it. ``sky_fingerprints`` are of the sets that the
    stretch is measured on, where they are others. The order of fingerprints does not matter. ``weights`` is the file
    that the model brings.
    """
    # Came later: models from before these keep their fingerprint.
    later = {"precision": "float32", "compiled": False, "neighbours": "keep", "trim": 0.0, "trim_rounds": 1}
    defaults = {name for name, default in later.items() if getattr(training, name) == default}
    if not training.trim:
        defaults.add("trim_rounds")
    return fingerprint_of(
        {
            "training_version": TRAINING_VERSION,
            "model": [model.name, model.model, find_model(model.model).version, model.options],
            "training": training.model_dump(mode="json", exclude=_WITHOUT_EFFECT | defaults),
            "cutouts": cutouts.model_dump(mode="json"),
            "stretch": stretch.content(),
            "seed": seed,
            "sets": sorted(cutout_fingerprints),
        }
        | ({"sky": sorted(sky_fingerprints)} if sky_fingerprints else {})
        | ({"weights": weights.checksum} if weights else {})
    )


@dataclass(frozen=True)
class Recipe:
    """How a model is made from cutout sets."""

    model: ModelSpec
    training: TrainingSpec
    cutouts: CutoutSpec
    """As the sets were cut, for the card."""
    stretch: Stretch
    seed: int
    weights: TileFile | None = None
    """The file that the model brings, as it was planned with."""


def train_model(
    target: Target,
    recipe: Recipe,
    sets: Sequence[CutoutSet],
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[Progress], None] | None = None,
    ranks: Ranks = SINGLE_PROCESS,
) -> Receipt | None:
    """Train, measure the held-out objects, store all under ``target.product`` and write the receipt.

    ``sets`` are used in the order of their product keys, however they come. An earlier attempt's checkpoint is taken
    up, and removed at the end. Of several ``ranks`` the first stores, and the others return None once the model is
    trained.
    """
    started = time.perf_counter()
    training, seed = recipe.training, recipe.seed
    ordered = sorted(sets, key=lambda s: s.product)
    bands, unit, size = require_one_layout(ordered)
    arguments = constructor_arguments(recipe.model, len(bands), size, recipe.stretch)
    with seeded(derived_seed(seed, "weights"), torch.device(device)):
        model = build_model(recipe.model.model, **arguments)
        give_weights(model, recipe.model, recipe.weights)
    data = _training_set(recipe, ordered, model)
    counts = {split: data.count(split) for split in Split}
    _require_reference(recipe.model.name, counts)
    checkpoint = Checkpoint(target.store, target.product, target.fingerprint, every_seconds=training.checkpoint_seconds)
    fitted = fit(model, data, training, seed=seed, device=device, checkpoint=checkpoint, progress=progress, ranks=ranks)
    if not ranks.is_main:
        return None
    left_out = {"left_out": left_out_facts(fitted, data)} if training.trim else {}
    card = ModelCard(
        bands=bands,
        unit=unit,
        display_white=common_white(ordered),
        arguments=arguments,
        metrics=_metrics(model, fitted),
        curves=fitted.curves,
        training=_training_facts(target, recipe, counts) | left_out,
        fingerprint=target.fingerprint,
        code_version=version("galflow"),
        **_recipe_facts(recipe),
        **_class_facts(model),
    )
    reference = reference_distributions(TrainedModel(card, model, {}), data, training.batch_size)
    outcome, told = outcome_of(_few_reference_objects(counts[Split.REFERENCE]))
    unwritten = Receipt(
        product=target.product,
        fingerprint=target.fingerprint,
        inputs=dict(target.inputs),
        rows=counts[Split.TRAIN],
        outcome=outcome,
        reasons=told,
        details={"counts": card.training["counts"], "metrics": card.metrics} | _left_out_counts(card),
    )
    trained = TrainedModel(card, model, reference)
    receipt = write_product(target.store, unwritten, lambda key: trained.save(target.store, key), started)
    checkpoint.delete()
    return receipt


def _training_set(recipe: Recipe, sets: Sequence[CutoutSet], model: GenerativeModel) -> TrainingSet:
    return TrainingSet(
        sets,
        recipe.stretch,
        validation=recipe.training.validation_fraction,
        reference=recipe.training.reference_fraction,
        memory_bytes=recipe.training.memory_gigabytes * 1e9,
        contents=fields_of(model, recipe.training.neighbours),
    )


def _recipe_facts(recipe: Recipe) -> dict[str, Any]:
    """What the card says of the specification."""
    return {
        "name": recipe.model.name,
        "model": recipe.model.model,
        "cutouts": recipe.cutouts.model_dump(mode="json"),
        "stretch": StretchCard.of(recipe.stretch),
        "neighbours": recipe.training.neighbours,
    }


def _training_facts(target: Target, recipe: Recipe, counts: Mapping[Split, int]) -> dict[str, Any]:
    """What the card says of the training."""
    return {
        "settings": recipe.training.model_dump(mode="json"),
        "seed": recipe.seed,
        "inputs": dict(target.inputs),
        "counts": {str(split): count for split, count in counts.items()},
    }


def reference_distributions(trained: TrainedModel, data: TrainingSet, batch_size: int) -> dict[str, np.ndarray]:
    """Each score of the held-out normal objects, sorted float64; of a Density also "loglike" (nats) and "bpd"."""
    found: dict[str, list[np.ndarray]] = {}
    for batch in data.batches(Split.REFERENCE, batch_size):
        values = trained.measure(batch)
        for name, part in values.items():
            found.setdefault(name, []).append(part)
    reference = {name: np.sort(np.concatenate(parts)) for name, parts in found.items()}
    if TYPICALITY in trained.card.scores:
        reference[TYPICALITY] = np.sort(typicality(reference[BPD], reference[BPD]))
    for name, sorted_values in reference.items():
        bad = int(np.count_nonzero(~np.isfinite(sorted_values)))
        if bad:
            raise ModelError(
                f"{trained.card.model} gives {name!r} that is not finite for {bad} of {len(sorted_values)} held-out "
                "normal objects; expected finite numbers to calibrate with. Raise stretch.white_sigma if their pixels "
                "lie outside the model's valid input range, or train with a lower training.learning_rate"
            )
    return reference


def _left_out_counts(card: ModelCard) -> dict[str, Any]:
    found = card.training.get("left_out")
    return {} if found is None else {"left_out": {name: found[name] for name in ("objects", "of")}}


def require_one_layout(sets: Sequence[CutoutSet]) -> tuple[tuple[str, ...], str, int]:
    """Bands, unit and side in pixels that all sets share; DataError if they do not, or if there is no set."""
    if not sets:
        raise DataError("there are no cutouts to train on: ingest gave no object at all; check the survey's catalogue")
    layouts = {
        s.product: (tuple(s.attributes["bands"]), str(s.attributes["unit"]), int(s.pixel_shape[-1])) for s in sets
    }
    first = sets[0].product
    for product, layout in layouts.items():
        if layout != layouts[first]:
            raise DataError(
                f"cutout sets do not fit together: {first} has bands, unit, size {layouts[first]}, but {product} has "
                f"{layout}; cut both with one specification"
            )
    return layouts[first]


def _require_reference(name: str, counts: dict[Split, int]) -> None:
    if counts[Split.REFERENCE] == 0:
        raise DataError(
            f"model {name!r} cannot be calibrated: the splits hold "
            f"{', '.join(f'{split} {count}' for split, count in counts.items())} normal objects, and at least one for "
            "reference is needed. Give more tiles or a looser selection, or raise training.reference_fraction"
        )


def _few_reference_objects(count: int) -> tuple[str, ...]:
    if count >= FEW_REFERENCE_OBJECTS:
        return ()
    return (
        f"only {count} held-out normal objects calibrate the scores (at least {FEW_REFERENCE_OBJECTS} are expected): "
        f"no p-value is below 1/{count + 1}; give more tiles or raise training.reference_fraction",
    )


def _class_facts(model: GenerativeModel) -> dict[str, Any]:
    """The part of the card that can be read off the model's class."""
    return {
        "model_version": model.version,
        "source": model.source,
        "bin_width": model.bin_width if isinstance(model, Density) else None,
        "scores": scores_of(type(model)),
        "main_score": next(iter(model.scores)),
        "abilities": abilities(type(model)),
    }


def _metrics(model: GenerativeModel, fitted: FitResult) -> dict[str, float]:
    return {
        **fitted.metrics(),
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "training_seconds": fitted.seconds,
    }
