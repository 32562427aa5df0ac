"""What becomes of the light of neighbours: kept, masked, or replaced by the other side of the object (training.neighbours).

Three fields, a run each, in which every model is trained in all three ways on the same cutouts: `synthetic` with four
times as many galaxies as usual, the KiDS tile and the HSC patch. Planted copies say what is found; of the twenty
highest real objects of each score it is told whose light they show. $GALFLOW_DATA holds the two real fields.
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
from galflow.catalog.published import planted_copies
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag, has_flag
from galflow.cutouts.neighbours import NEIGHBOUR, OBJECT, segments
from galflow.runs.opened import PublishedRun
from galflow.scores.triage import KIND_CLASS
from galflow.spec.neighbours import Neighbours
from galflow.storage.layout import catalog_product

HIGHEST, TOP, COPIES = 20, 0.02, 270
MODELS: tuple[dict[str, Any], ...] = (
    {"name": "pca", "model": "pca.PCA"},
    {"name": "lof", "model": "outliers.LocalOutlierFactor", "options": {"features": "all"}},
    {"name": "vae", "model": "vae.VAE", "options": {"latent": 16, "width": 16}},
)
WAYS: tuple[Neighbours, ...] = get_args(Neighbours)
_EXAMPLES = Path(__file__).parents[1] / "examples"
_CROWDED = {
    "tiles": 1, "objects_per_tile": 1500, "tile_size": 1024, "overlap_pixels": 0, "seed": 1, "anomaly_fraction": 0.0,
    "catalog": "tile_truth",
}  # fmt: skip
COLUMNS = (
    "AUROC", "of interesting", "of artefacts", "top 2%", "its interesting", "neighbour's light", "bright flag",
    "rank correlation",
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
    """The run of a field: each model three times."""
    models = [m | {"name": f"{m['name']}_{way}", "training": {"neighbours": way}} for m in MODELS for way in WAYS]
    return {
        "name": field.replace("_", "-"),
        "seed": 1,
        "survey": parts["survey"],
        "cutouts": parts["cutouts"] | {"plant": {"per_tile": COPIES}},
        "models": models,
        "training": {"epochs": 12},
        "output": {"report": False},
    }


def run() -> Iterator[Figures]:
    """A table a field."""
    for field, parts in fields().items():
        with tempfile.TemporaryDirectory() as root:
            yield judged(field, galflow.run(specification(field, parts), root))


def judged(field: str, published: PublishedRun) -> Figures:
    """A row for each model and way, by the model's main score."""
    objects = published.catalog.to_pandas()
    objects = objects[objects.is_primary & objects.anomaly_score.notna()]
    columns = {name: f"{name}_{published.model(name).card.main_score}" for name in published.models}
    copies = planted_copies(published.store, catalog_product("anomalies", published.name), [*columns.values()])
    if copies is None:
        raise RuntimeError(f"{field}: no copy was planted")
    planted = copies.to_pandas().dropna()
    share = neighbour_shares(published, objects.cutout.to_numpy(), objects.row.to_numpy())
    outshone = has_flag(objects["flags"].to_numpy(), Flag.BRIGHT_NEIGHBOUR)
    of_class = planted.planted_kind.map(KIND_CLASS).to_numpy()
    rows: dict[str, tuple[float | str, ...]] = {}
    for name, column in columns.items():
        real, painted = objects[column].to_numpy(float), planted[column].to_numpy(float)
        highest = np.argsort(-real)[:HIGHEST]
        least = np.quantile(real, 1 - TOP)
        of = {kind: painted[of_class == kind] for kind in ("interesting", "artefact")}
        rows[name.replace("_", " ")] = (
            _auroc(real, painted), _auroc(real, of["interesting"]), _auroc(real, of["artefact"]),
            float((painted >= least).mean()), float((of["interesting"] >= least).mean()),
            float((share[highest] > 0.5).mean()), float(outshone[highest].mean()),
            float(spearmanr(real, share).statistic),
        )  # fmt: skip
    title = (
        f"{field}: {len(real)} objects, {(share > 0).mean():.0%} with a neighbour, "
        f"{(share > 0.5).mean():.0%} outshone by it ({outshone.mean():.0%} flagged), {len(planted)} planted copies"
    )
    return Figures(title, COLUMNS, rows)


def _auroc(real: np.ndarray, painted: np.ndarray) -> float:
    return float(roc_auc_score(np.r_[np.zeros(len(real)), np.ones(len(painted))], np.r_[real, painted]))


def neighbour_shares(published: PublishedRun, products: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(N,) the part of an object's cutout's light, object's and neighbours' together, that is neighbours'."""
    found = np.zeros(len(rows))
    for product in np.unique(products):
        cutouts = CutoutSet(published.store, product)
        share = np.zeros(len(cutouts))
        for chunk in cutouts.chunks():
            ivar = torch.from_numpy(cutouts.read("ivar", chunk))
            flux = torch.from_numpy(cutouts.read("flux", chunk)).where(ivar > 0, 0)
            whose, light = segments(flux, ivar), (flux * ivar.sqrt()).sum(1).clamp_min(0)
            theirs, own = (torch.where(whose == part, light, 0).sum((1, 2)) for part in (NEIGHBOUR, OBJECT))
            share[chunk] = (theirs / (theirs + own).clamp_min(1e-9)).numpy()
        here = products == product
        found[here] = share[rows[here]]
    return found
