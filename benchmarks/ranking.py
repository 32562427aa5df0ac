"""Which anomalies a whole run finds: `synthetic`, 2,000 galaxies of which 2% are anomalies of nine kinds, three seeds.

Each seed is a survey and a run of its own, through ``galflow.run``. The table is read from the published catalogue,
beside the survey's own truth: AUROC of each kind, of all, the share of all anomalies above all but 2% of the other
objects, and their share among the top 2% and 5% of all, for what ranks and for every score, losers included. Anomalies
stay in the survey that the models learn from. The truth knows no neighbours, though a trail or an edge reaches them
too: the second table leaves out what lies within a cutout and a half of an anomaly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import galflow
from benchmarks.contamination import NEAR_PIXELS, near
from benchmarks.tables import Figures

SEEDS = (1, 2, 3)
TILES, OBJECTS = 2, 1000
TRUTH = "anomaly"
"""The survey's own column: the kind of anomaly, or an empty text."""
FALSE, TOPS = 0.02, (0.02, 0.05)
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
    """The tables, means over seeds: of all objects, and without what lies near an anomaly."""
    catalogs, rules = [], []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as root:
            published = galflow.run(specification(seed), root)
            catalogs.append(published.catalog.to_pandas())
            rules.append(f"seed {seed}: {published.summary['ranked_by']['rule']}")
    told = f"mean of {len(SEEDS)} seeds, {TILES * OBJECTS} objects each; ranked by {'; '.join(rules)}"
    yield _table(f"AUROC by kind, {told}", [judged(catalog) for catalog in catalogs])
    apart = [judged(catalog[~beside_anomaly(catalog)]) for catalog in catalogs]
    yield _table(f"the same without objects whose cutout an anomaly nearby may reach ({NEAR_PIXELS} pixels)", apart)


def _table(title: str, tables: Sequence[pd.DataFrame]) -> Figures:
    mean = pd.concat(tables).groupby(level=0, sort=False).mean().sort_values("all", ascending=False)
    rows: dict[str, tuple[float | str, ...]] = {
        str(name): tuple(map(float, row)) for name, row in zip(mean.index, mean.to_numpy(), strict=True)
    }
    return Figures(title, tuple(map(str, mean.columns)), rows)


def beside_anomaly(catalog: pd.DataFrame) -> np.ndarray:
    """(n,) bool: objects without an anomaly of their own, and with another's near."""
    odd, place = (catalog[TRUTH].fillna("") != "").to_numpy(), catalog[["x", "y"]].to_numpy(dtype=float)
    beside = np.zeros(len(catalog), bool)
    for tile in catalog["tile"].unique():
        own = (catalog["tile"] == tile).to_numpy()
        beside[own] = near(place[own], place[own & odd])
    return beside & ~odd


def judged(catalog: pd.DataFrame) -> pd.DataFrame:
    """A row for each score: AUROC of each kind, of all, and shares of the anomalies in the top of all objects."""
    objects = catalog[catalog.is_primary & catalog.anomaly_score.notna()]
    kind = objects[TRUTH].fillna("").to_numpy(dtype=str)
    scores = ["anomaly_score", *(name.removesuffix("_sigma") for name in objects.columns if name.endswith("_sigma"))]
    found = {}
    for score in dict.fromkeys(scores):
        values = objects[score].to_numpy(dtype=float)
        normal = kind == ""
        row: dict[str, Any] = {"all": roc_auc_score(~normal, values)}
        row[f"{FALSE:.0%} false"] = float((values[~normal] > np.quantile(values[normal], 1 - FALSE)).mean())
        for top in TOPS:
            least = np.sort(values)[-max(1, round(top * len(values)))]
            row[f"top {top:.0%}"] = float((values[~normal] >= least).mean())
        for name in sorted(set(kind) - {""}):
            row[name] = roc_auc_score(kind[normal | (kind == name)] == name, values[normal | (kind == name)])
        found[score] = row
    return pd.DataFrame.from_dict(found, orient="index")
