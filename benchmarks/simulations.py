"""What a run's comparison finds of made simulations whose differences are known, and what it does not find.

The sky is ``synthetic`` with most of its discs' light in clumpy spiral arms. The simulations have its magnitudes, sizes
and profiles, but no arms; half as much in arms; galaxies brighter by half a magnitude and else the same; 5% of wrong
galaxies among right ones (ten of these); and nothing wrong at all (ten of these). The background model is the same
model, of galaxies without arms. One `galflow run`, and all is read from what it published.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.scratch import scratch
from benchmarks.tables import Figures, Finding, Findings

REPEATS = 10
LEVEL = 0.05
RATIO, RAW = "llr_pca_smooth", "loglike_pca"
_SKY: dict[str, Any] = {
    "tiles": 4,
    "objects_per_tile": 600,
    "tile_size": 1536,
    "magnitude_range": [18.0, 20.5],
    "anomaly_fraction": 0.0,
    "arms": 0.6,
}


def survey(name: str, seed: int, **options: Any) -> dict[str, Any]:
    """One population of synthetic galaxies, which differs from the sky's in these options and in its seed."""
    return {"kind": "synthetic", "name": name, "options": _SKY | {"tiles": 2, "seed": seed} | options}


def samples(repeats: int = REPEATS) -> dict[str, dict[str, Any]]:
    """Name -> survey."""
    found = {
        "background": survey("background", 101, arms=0.0, tiles=4),
        "armless": survey("armless", 102, arms=0.0),
        "half": survey("half", 103, arms=0.3),
        "brighter": survey("brighter", 104, magnitude_range=[17.5, 20.0]),
    }
    for number in range(repeats):
        found[f"right{number}"] = survey(f"right{number}", 200 + number)
        # 4 tiles: about 2,400 galaxies, of which some 1,100 find a partner among the held-out ones.
        found[f"wrong{number}"] = survey(f"wrong{number}", 300 + number, anomaly_fraction=0.05, tiles=4)
    return found


def document(repeats: int = REPEATS, **sky: Any) -> dict[str, Any]:
    """The specification of the run."""
    of = samples(repeats)
    return {
        "name": "simulations",
        "seed": 1,
        "survey": {"kind": "synthetic", "name": "sky", "options": _SKY | sky},
        "cutouts": {"size": 32, "defects": False},
        "models": [
            {"name": "pca", "model": "pca.PCA", "background": "smooth"},
            {"name": "smooth", "model": "pca.PCA", "sample": "background"},
            {"name": "mahal", "model": "outliers.Mahalanobis"},
        ],
        "training": {"reference_fraction": 0.45},
        "scoring": {"triage": False},
        "comparison": {
            "match": [{"column": "magnitude", "bins": 8}, {"column": "half_light_radius_arcsec", "bins": 4}],
            "bootstraps": 200,
            "samples": [{"name": name, "survey": one} for name, one in of.items()],
        },
        "cluster": {"workers": 1},
        "output": {"report": False},
    }


def compared(work: Path, specification: Mapping[str, Any]) -> dict[str, Any]:
    """The comparison that a run of this specification left."""
    path = work / "simulations.json"
    path.write_text(json.dumps(specification))
    words = [sys.executable, "-m", "flows.cli", "run", str(path), "--root", str(work / "store")]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=3600)
    (product,) = [p for p in (work / "store" / "comparisons").rglob("*.json") if "receipt" not in p.name]
    found: dict[str, Any] = json.loads(product.read_text())
    return found


def run() -> Iterator[Figures | Findings]:
    """The table of samples, then what was asked."""
    with scratch() as work:
        found = compared(work, document())
    yield from tables(found)


def tables(found: Mapping[str, Any], repeats: int = REPEATS) -> Iterator[Figures | Findings]:
    """Of a comparison."""
    matched = found["matched"]
    rows: dict[str, tuple[float | str, ...]] = {}
    for name in ("armless", "half", "brighter", "right0", "wrong0"):
        one = matched[name]
        ratio, raw = one["columns"][RATIO], one["columns"][RAW]
        rows[name] = (
            float(one["pairs"]),
            found["samples"][name][RAW]["statistics"]["auroc"]["value"],
            raw["statistics"]["auroc"]["value"],
            ratio["statistics"]["auroc"]["value"],
            ratio["p"]["auroc"],
            ratio["p"]["energy"],
            one["classifier"]["auroc"]["value"],
        )
    columns = ("pairs", "raw log p", "log p, matched", "ratio, matched", "its p", "p by energy", "classifier")
    yield Figures("AUROC: P(sample > sky); 0.5 is alike", columns, rows)
    right, wrong = (
        [matched[f"{kind}{n}"]["columns"][RATIO]["p"] for n in range(repeats)] for kind in ("right", "wrong")
    )
    distances = {s["sample"]: s["distance"] for s in found["order"][RATIO]["samples"]}
    known = [distances["right0"], distances["half"], distances["armless"]]
    ratio, raw_armless = matched["armless"]["columns"][RATIO], found["samples"]["armless"][RAW]
    yield Findings(
        "asked",
        (
            Finding("no arms at equal magnitude and size: AUROC of the ratio, lower = less like the sky",
                    1 - ratio["statistics"]["auroc"]["value"], low=0.9),
            Finding("the same by raw log p (above 0.5: the simulation is found more probable)",
                    raw_armless["statistics"]["auroc"]["value"]),
            Finding("brighter: raw log p, distance of AUROC from 0.5",
                    abs(found["samples"]["brighter"][RAW]["statistics"]["auroc"]["value"] - 0.5), low=0.1),
            Finding("brighter: matched ratio", matched["brighter"]["columns"][RATIO]["statistics"]["auroc"]["value"],
                    low=0.45, high=0.55),
            Finding("5% wrong galaxies: power of the ratio's energy distance at 5%",
                    sum(p["energy"] <= LEVEL for p in wrong) / repeats, low=0.9),
            Finding("5% wrong galaxies: power of the ratio's KS distance",
                    sum(p["ks"] <= LEVEL for p in wrong) / repeats),
            Finding("nothing wrong: called different at 5% by the energy distance",
                    sum(p["energy"] <= LEVEL for p in right) / repeats, high=0.3),
            Finding("right, half, armless in the order of their realism", float(known == sorted(known)), low=1.0),
        ),
    )  # fmt: skip
