"""What becomes of the light of neighbours (training.neighbours): kept, masked, or replaced by sky.

Three fields: `synthetic` with six times as many galaxies as usual, the KiDS tile and the HSC patch. A run cuts each;
then models are trained in these ways on the same cutouts. Anomalies painted into held-out objects say what is found; of
the twenty highest real objects of each score it is told whose light they show. $GALFLOW_DATA holds the real fields.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import yaml
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

import galflow
from benchmarks.tables import Figures
from galflow.cutouts.batches import PIXELS_ALONE, CutoutRows
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_SCORED, Flag, has_flag
from galflow.cutouts.neighbours import NEIGHBOUR, OBJECT, segments
from galflow.cutouts.painted import held_out_objects, painted_copies
from galflow.cutouts.stream import stretch_for
from galflow.photometry import Stretch
from galflow.runs.opened import PublishedRun
from galflow.scores.score import score_cutouts
from galflow.scores.triage import KIND_CLASS
from galflow.spec.models import ModelSpec
from galflow.spec.neighbours import Neighbours
from galflow.spec.run import parse_spec
from galflow.spec.training import TrainingSpec
from galflow.storage.products import Target
from galflow.storage.receipts import find_receipts
from galflow.storage.store import Store
from galflow.training.train_model import Recipe, train_model
from galflow.training.trained_model import TrainedModel

HIGHEST, TOP, COPIES, SEED = 20, 0.02, 40, 1
MODELS: tuple[dict[str, Any], ...] = (
    {"name": "vae", "model": "vae.VAE", "options": {"latent": 16, "width": 8}},
    {
        "name": "lof",
        "model": "outliers.LocalOutlierFactor",
        "options": {"features": "measured", "inner": "kmeans.KMeans"},
    },
    {"name": "kmeans", "model": "kmeans.KMeans"},
    {"name": "pca", "model": "pca.PCA"},
)
WAYS: tuple[Neighbours, ...] = get_args(Neighbours)
LEFT_OUT = {("pca", "mask")}
"""PCA integrates missing pixels out for each object by itself: minutes where most objects miss some."""
_EXAMPLES = Path(__file__).parents[1] / "examples"
_CROWDED = {
    "tiles": 1, "objects_per_tile": 1500, "tile_size": 1024, "overlap_pixels": 0, "seed": 1, "anomaly_fraction": 0.0,
    "catalog": "tile_truth",
}  # fmt: skip
COLUMNS = (
    "AUROC", "artefacts", "interesting", "merger", "tail", "ring", "top 2%", "interesting in top 2%",
    "neighbours in top 20", "flagged in top 20", "rank correlation",
)  # fmt: skip


def fields() -> dict[str, dict[str, Any]]:
    """Field -> survey and cutouts of its run; of real ones those that are there."""
    found = {"crowded": {"survey": {"kind": "synthetic", "options": _CROWDED}, "cutouts": {"size": 32}}}
    for name in ("kids_viking", "hsc_patch"):
        text = os.path.expandvars((_EXAMPLES / f"{name}.yaml").read_text())
        document = yaml.safe_load(text)
        if Path(document["survey"]["options"]["root"]).is_dir():
            found[name] = {part: document[part] for part in ("survey", "cutouts")}
    return found


def specification(field: str, parts: dict[str, Any]) -> dict[str, Any]:
    """A run that cuts a field."""
    named = {
        "name": field.replace("_", "-"),
        "seed": SEED,
        "models": [{"name": "kmeans", "model": "kmeans.KMeans"}],
        "output": {"report": False},
    }
    return named | parts


def run() -> Iterator[Figures]:
    """A table a field."""
    for field, parts in fields().items():
        with tempfile.TemporaryDirectory() as root:
            yield judged(field, galflow.run(specification(field, parts), root))


def judged(field: str, published: PublishedRun) -> Figures:
    """A row for each model and way, by the model's main score."""
    store, spec = published.store, parse_spec(published.spec | {"store": {"root": published.store.root}})
    (join,) = find_receipts(store, "joins").values()
    (product,) = set(published.catalog["cutout"].to_pylist())
    cutouts = CutoutSet(store, product, join.product)
    stretch = stretch_for([cutouts], spec.stretch)
    shares = (spec.training.validation_fraction, spec.training.reference_fraction)
    held_out = held_out_objects([cutouts], PIXELS_ALONE, shares, len(cutouts), SEED)
    painted = painted_copies(held_out, COPIES, SEED)
    flags = cutouts.read("flags")
    real = ~has_flag(flags, NOT_SCORED)
    theirs = neighbour_shares(cutouts)[real]
    flagged = has_flag(flags, Flag.BRIGHT_NEIGHBOUR)[real]
    rows: dict[str, tuple[float | str, ...]] = {}
    for model in MODELS:
        for way in WAYS:
            if (model["name"], way) in LEFT_OUT:
                continue
            trained = _trained(store, cutouts, stretch, ModelSpec(**model), TrainingSpec(epochs=10, neighbours=way))
            score = trained.card.main_score
            found = score_cutouts(cutouts, {"m": trained}, 128)
            (values,) = (of[real] for column, of in found.items() if column.score == score)
            copies = np.concatenate([_scores(trained, tile, score) for tile in painted.tiles])
            rows[f"{model['name']} {way}"] = _row(values, copies, painted.kind, theirs, flagged)
    title = (
        f"{field}: {real.sum()} objects, {(theirs > 0).mean():.0%} with a neighbour, {(theirs > 0.5).mean():.0%} "
        f"outshone by it, {flagged.mean():.0%} flagged; {len(painted.kind)} copies of {len(held_out)} held-out objects"
    )
    return Figures(title, COLUMNS, rows)


def _trained(
    store: Store, cutouts: CutoutSet, stretch: Stretch, model: ModelSpec, training: TrainingSpec
) -> TrainedModel:
    product = f"models/{model.name}/{training.neighbours}"
    spec = parse_spec({"name": "x", "survey": {"kind": "synthetic"}, "models": [model.model_dump()]}).cutouts
    recipe = Recipe(model, training, spec.model_copy(update={"size": cutouts.pixel_shape[-1]}), stretch, SEED)
    train_model(Target(store, product, training.neighbours, {}), recipe, [cutouts])
    return TrainedModel.load(store, product)


def _scores(model: TrainedModel, rows: CutoutRows, score: str) -> np.ndarray:
    return model.evaluate(rows.batch(model.stretch, model.contents))[score]


def _row(
    real: np.ndarray, copies: np.ndarray, kind: np.ndarray, theirs: np.ndarray, flagged: np.ndarray
) -> tuple[float, ...]:
    """As ``COLUMNS``; ``theirs``: (n,) shares of the real objects' light that are neighbours'."""
    highest, least = np.argsort(-real)[:HIGHEST], np.quantile(real, 1 - TOP)
    of_class = np.array([KIND_CLASS[name] for name in kind])
    interesting = copies[of_class == "interesting"]
    kinds = (copies[kind == name] for name in ("merger_pair", "tidal_tail", "ring"))
    aurocs = (copies, copies[of_class == "artefact"], interesting, *kinds)
    return (
        *(_auroc(real, of) for of in aurocs),
        *(float((of >= least).mean()) for of in (copies, interesting)),
        float((theirs[highest] > 0.5).mean()),
        float(flagged[highest].mean()),
        float(spearmanr(real, theirs).statistic),
    )


def _auroc(real: np.ndarray, painted: np.ndarray) -> float:
    return float(roc_auc_score(np.r_[np.zeros(len(real)), np.ones(len(painted))], np.r_[real, painted]))


def neighbour_shares(cutouts: CutoutSet) -> np.ndarray:
    """(N,) the part of a cutout's light, its object's and neighbours' together, that is neighbours'."""
    share = np.zeros(len(cutouts))
    for chunk in cutouts.chunks():
        ivar = torch.tensor(cutouts.read("ivar", chunk))
        flux = torch.tensor(cutouts.read("flux", chunk)).where(ivar > 0, 0)
        whose, light = segments(flux, ivar), (flux * ivar.sqrt()).sum(1).clamp_min(0)
        theirs, own = (torch.where(whose == part, light, 0).sum((1, 2)) for part in (NEIGHBOUR, OBJECT))
        share[chunk] = (theirs / (theirs + own).clamp_min(1e-9)).numpy()
    return share
