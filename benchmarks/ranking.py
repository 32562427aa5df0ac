"""Which anomalies a whole run finds: `synthetic`, 2,000 galaxies of which 2% are anomalies of nine kinds, three seeds.

Each seed is a survey and a run of its own, through ``galflow.run``. The table is read from the published catalogue,
beside the survey's own truth: AUROC of each kind, of all, and the share of all anomalies among the top 2% and 5%, for
what ranks and for every score, losers included. Anomalies stay in the survey that the models learn from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import galflow
from benchmarks.tables import Figures

SEEDS = (1, 2, 3)
TILES, OBJECTS = 2, 1000
TRUTH = "anomaly"
"""The survey's own column: the kind of anomaly, or an empty text."""
TOPS = (0.02, 0.05)
MODELS: tuple[dict[str, Any], ...] = (
    {"name": "pca", "model": "pca.PCA"},
    {"name": "kmeans", "model": "kmeans.KMeans"},
    {"name": "ae", "model": "autoencoder.Autoencoder", "options": {"width": 16, "latent": 16}},
    {"name": "vae", "model": "vae.VAE"},
    {"name": "features", "model": "outliers.Mahalanobis"},
    {"name": "lof", "model": "outliers.LocalOutlierFactor", "options": {"features": "all"}},
    {"name": "forest", "model": "outliers.IsolationForest"},
)


def specification(seed: int) -> dict[str, Any]:
    """One survey and its run."""
    survey = {
        "tiles": TILES, "objects_per_tile": OBJECTS, "tile_size": 1600, "overlap_pixels": 0, "seed": seed,
        "anomaly_fraction": 0.02, "catalog": "tile_truth",
    }  # fmt: skip
    return {
        "name": f"ranking-{seed}",
        "seed": seed,
        "survey": {"kind": "synthetic", "options": survey},
        "cutouts": {"size": 32},
        "models": list(MODELS),
        "training": {"epochs": 20},
        "output": {"report": False},
    }


def run() -> Iterator[Figures]:
    """The table, mean over seeds."""
    tables = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as root:
            published = galflow.run(specification(seed), root)
            tables.append(judged(published.catalog.to_pandas(), published.summary["ranked_by"]["rule"]))
    together = pd.concat(tables)
    mean = together.drop(columns="rule").groupby(level=0, sort=False).mean()
    mean = mean.sort_values("all", ascending=False)
    rules = "; ".join(f"seed {seed}: {table['rule'].iloc[0]}" for seed, table in zip(SEEDS, tables, strict=True))
    rows: dict[str, tuple[float | str, ...]] = {
        str(name): tuple(map(float, row)) for name, row in zip(mean.index, mean.to_numpy(), strict=True)
    }
    title = f"AUROC by kind, mean of {len(SEEDS)} seeds, {TILES * OBJECTS} objects each; ranked by {rules}"
    yield Figures(title, tuple(map(str, mean.columns)), rows)


def judged(catalog: pd.DataFrame, rule: str) -> pd.DataFrame:
    """A row for each score: AUROC of each kind, of all, and shares of the anomalies in the top of all objects."""
    objects = catalog[catalog.is_primary & catalog.anomaly_score.notna()]
    kind = objects[TRUTH].fillna("").to_numpy(dtype=str)
    scores = ["anomaly_score", *(name.removesuffix("_sigma") for name in objects.columns if name.endswith("_sigma"))]
    found = {}
    for score in dict.fromkeys(scores):
        values = objects[score].to_numpy(dtype=float)
        normal = kind == ""
        row: dict[str, Any] = {"all": roc_auc_score(~normal, values)}
        for top in TOPS:
            least = np.sort(values)[-max(1, round(top * len(values)))]
            row[f"top {top:.0%}"] = float((values[~normal] >= least).mean())
        for name in sorted(set(kind) - {""}):
            row[name] = roc_auc_score(kind[normal | (kind == name)] == name, values[normal | (kind == name)])
        found[score] = row | {"rule": rule}
    return pd.DataFrame.from_dict(found, orient="index")
