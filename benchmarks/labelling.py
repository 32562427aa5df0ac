"""What forty labels find: real thumbnails sorted by eye, ranked anew by galflow.labels.reranking as they are labelled.

The 502 HSC thumbnails of ``benchmarks.labelled``: 77 interesting ones, 10 trails and 415 boring ones. Quickly trained
models learn all 502, as a survey's do: they see the interesting ones, too. An annotator is given a random 80% of them
and errs in one label of twenty. Objects are shown to each by one of several rules, 40 in all; then the top 50 of the
list is counted, by the truth. Settings (which features, and their weights) are chosen on five annotators and
reported on ten others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.labelled import BORING, FOLDER, Case, thumbnails, train
from benchmarks.tables import Figures
from galflow.batch import Batch
from galflow.labels.features import WEIGHTS
from galflow.labels.reranking import DRAWN, MIXED, PROMISING, UNCERTAIN, FeatureScale, Reranked
from galflow.layers.images import morphology
from galflow.layers.images.texture import texture
from galflow.models.base import GenerativeModel
from galflow.models.shared.object_features import describe

LABELS, TOP = 40, 50
CHOOSING, REPORTED = range(5), range(5, 15)
"""Annotators' seeds."""
SHARE, ERRORS = 0.8, 0.05
TRAILS = "trails"
RANDOM, MIX = "random", "mixed (galflow's)"
RULES: Mapping[str, tuple[str, ...]] = {
    MIX: MIXED, "most promising": (PROMISING,), "most uncertain": (UNCERTAIN,), RANDOM: (DRAWN,),
}  # fmt: skip
ALL = ("scores", "measurements", "textures", "residuals", "latents")
Weights = Mapping[str, float]
"""Group of features -> weight; a group that is not named is not used."""
GALFLOWS = "all, weighted (galflow's)"
SETTINGS: Mapping[str, Weights] = {
    "scores": {"scores": 1},
    "latents": {"latents": 1},
    "scores, measurements, textures": {"scores": 1, "measurements": 1, "textures": 1},
    "all alike": dict.fromkeys(ALL, 1.0),
    GALFLOWS: {group: WEIGHTS.get(group, 1.0) for group in ALL},
}
WITHOUT_MODEL_OF_ITS_OWN = "the WGAN's, as published"


@dataclass(frozen=True)
class Known:
    """What the models know of the thumbnails, in the order of the files."""

    groups: Mapping[str, np.ndarray]
    """Group -> (N, F)."""
    orders: Mapping[str, np.ndarray]
    """Plain ranking -> (N,), higher is more anomalous."""
    interesting: np.ndarray
    """(N,) bool, the truth."""


def know() -> Known:
    """Train a VAE and PCA on all thumbnails, and take scores, latents, residuals and shapes."""
    data = thumbnails()
    pixels = torch.cat([data.boring, data.others])
    batch = Batch.of(pixels)
    cases = (Case("VAE", "vae.VAE", {}, epochs=100), Case("PCA-32", "pca.PCA", {"components": 32}))
    models = {case.label: train(case, pixels, 0) for case in cases}
    with torch.no_grad():
        found = {f"{n} {s}": v.double().numpy() for n, m in models.items() for s, v in m.score(batch).items()}
        groups = {
            "scores": np.arcsinh(_sigmas(np.stack(list(found.values()), axis=1))),
            "measurements": morphology.measure(batch).numpy(),
            "textures": texture(batch).numpy(),
            "residuals": describe(batch, "residual", models["VAE"]).numpy(),
            "latents": _latents(models["VAE"], batch),
        }
    published, interesting = _said_by_files()
    orders = {"VAE, neg_elbo": found["VAE neg_elbo"], "PCA-32, residual": found["PCA-32 residual"]}
    return Known(groups, orders | {WITHOUT_MODEL_OF_ITS_OWN: published}, interesting)


def _latents(model: GenerativeModel, batch: Batch) -> np.ndarray:
    return describe(batch, "latents", model).numpy()


def _sigmas(values: np.ndarray) -> np.ndarray:
    scale = FeatureScale.of(values)
    return np.asarray((values - scale.centre) / scale.scale)


def _said_by_files() -> tuple[np.ndarray, np.ndarray]:
    """The published score in each file's name, and whether people found it interesting."""
    folders = [FOLDER / BORING, *sorted(p for p in FOLDER.iterdir() if p.is_dir() and p.name != BORING)]
    files = [path for folder in folders for path in sorted(folder.glob("*.png"))]
    scores = np.array([float(path.stem.rpartition("score")[2]) for path in files])
    return scores, np.array([path.parent.name not in (BORING, TRAILS) for path in files])


@dataclass(frozen=True)
class Outcome:
    """Of one annotator."""

    top: int
    """Truly interesting among the first ``TOP`` of the list, labelled ones at their label."""
    unlabelled: int
    """Among the first ``TOP`` that nobody labelled."""
    labelled: int
    """Among the labelled."""
    plain: int
    """Among the first ``TOP`` of the plain ranking."""


def annotate(known: Known, order: np.ndarray, weights: Weights, rule: str, seed: int) -> Outcome:
    """One annotator with a seed, who is shown objects by a rule from a plain ranking on."""
    draw = np.random.default_rng(seed)
    given = np.flatnonzero(draw.random(len(order)) < SHARE)
    given = given[np.argsort(-order[given], kind="stable")]
    truth = known.interesting[given]
    said = truth ^ (draw.random(len(given)) < ERRORS)
    parts = [FeatureScale.of(part := known.groups[group][given])(part) * weight for group, weight in weights.items()]
    scaled, labels = np.concatenate(parts, axis=1), dict[int, bool]()
    hidden = np.zeros(len(given), bool)
    for shown in range(LABELS):
        again = Reranked(scaled, labels)
        free = np.flatnonzero(~hidden)
        row = int(draw.choice(free)) if rule == RANDOM else again.next_rows(1, hidden, shown, RULES[rule])[0]
        labels = labels | {row: bool(said[row])}
        hidden[row] = True
    ranked = Reranked(scaled, labels).order
    fresh = [row for row in ranked if row not in labels][:TOP]
    seen = list(labels)
    return Outcome(*(int(truth[rows].sum()) for rows in (ranked[:TOP], fresh, seen, np.arange(TOP))))


def _mean(known: Known, order: str, weights: Weights, rule: str, seeds: range) -> tuple[float, ...]:
    found = [annotate(known, known.orders[order], weights, rule, seed) for seed in seeds]
    values = np.array([(o.top, o.unlabelled, o.labelled, o.plain) for o in found], float)
    mean = values.mean(0)
    return (*mean[:1], float(values[:, 0].std()), *mean[1:], float(mean[0] / max(mean[3], 1e-9)))


def run() -> Iterator[Figures]:
    """Settings on the choosing annotators; then galflow's on the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        known = know()
    finally:
        torch.set_num_threads(threads)
    rows: dict[str, tuple[float | str, ...]] = {
        name: tuple(_mean(known, order, weights, MIX, CHOOSING)[0] for order in known.orders)
        for name, weights in SETTINGS.items()
    }
    title = f"interesting in the top {TOP} after {LABELS} labels, by the run's own ranking: annotators that choose"
    yield Figures(title, tuple(known.orders), rows)
    table: dict[str, tuple[float | str, ...]] = {}
    for order in known.orders:
        for rule in RULES:
            table[f"{order}: {rule}"] = _mean(known, order, SETTINGS[GALFLOWS], rule, REPORTED)
    columns = (f"top {TOP}", "+-", "of the unlabelled", f"of {LABELS} labelled", f"plain top {TOP}", "gain")
    yield Figures("ten other annotators", columns, table)
