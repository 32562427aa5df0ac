"""What a run found, in the few numbers that the manifest, the terminal and the report state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.catalog.published import read_files
from galflow.compare.samples import INCONSISTENT_LEVEL
from galflow.cutouts.flags import Flag
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.report.columns import floats
from galflow.report.planted import TOP_FRACTION
from galflow.report.resolution import Resolution
from galflow.scores.calibration import Reference, inconsistent_fraction, recall_in_top
from galflow.scores.score import ScoreColumn, columns_of
from galflow.scores.summary import PartSummary
from galflow.store import Store
from galflow.training.trained_model import TrainedModel

FALSE_DISCOVERY_RATE = 0.1
REAL, PLANTED = "real objects", "planted copies"
"""Groups beside the comparison samples, whose names have no space."""


def findings(
    store: Store,
    catalog: str,
    summary: PartSummary,
    models: Mapping[str, TrainedModel],
    comparison: Mapping[str, Any] | None,
    planted: bool,
) -> dict[str, Any]:
    """What a run found, as plain values.

    Objects and those scored; discoveries, and whether there could be any; per score the recall of planted anomalies
    and the fraction inconsistent with the held-out normal objects; and how far each sample is.
    """
    found: dict[str, Any] = {
        "rows": summary.rows,
        "planted": summary.flags.by_name.get("PLANTED", 0),
        "scored": summary.outcomes.by_name.get("scored", 0),
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
    }
    found["objects"] = found["rows"] - found["planted"]
    calibrated = [c for c in columns_of(models) if c.calibrated]
    with_copies = planted and found["planted"] > 0
    wanted = ["anomaly_q", "flags", *(c.name for c in calibrated), *([PLANTED_COLUMN] if with_copies else [])]
    table = read_files(store, catalog, wanted)
    real = (table.column("flags").to_numpy() & int(Flag.PLANTED)) == 0
    found["discoveries"] = int(np.count_nonzero((floats(table, "anomaly_q") <= FALSE_DISCOVERY_RATE) & real))
    found |= Resolution.of(summary.p_counts, FALSE_DISCOVERY_RATE).to_json()
    if with_copies:
        is_copy = table.column(PLANTED_COLUMN).is_valid().to_numpy()
        recall = {c.name: _recall(floats(table, c.name), is_copy) for c in calibrated}
        found["recall_in_top_5_percent"] = {name: r for name, r in recall.items() if r is not None}
    groups = {REAL: real} | ({PLANTED: ~real} if with_copies else {})
    found["inconsistent_level"] = INCONSISTENT_LEVEL
    found["inconsistent"] = {name: _inconsistent(table, rows, calibrated, models) for name, rows in groups.items()}
    if comparison is not None:
        samples = comparison["samples"].items()
        found["inconsistent"] |= {
            name: {column: r["inconsistent"] for column, r in results.items() if "inconsistent" in r}
            for name, results in samples
        }
        found["samples"] = {
            name: {column: _headline(result["statistics"]) for column, result in results.items()}
            for name, results in samples
        }
    return found


def _recall(scores: npt.NDArray[np.float64], is_copy: npt.NDArray[np.bool_]) -> dict[str, Any] | None:
    scored = np.isfinite(scores)
    if not is_copy[scored].any():
        return None
    return recall_in_top(scores[scored], is_copy[scored], TOP_FRACTION).to_json()


def _inconsistent(
    table: pa.Table,
    rows: npt.NDArray[np.bool_],
    columns: list[ScoreColumn],
    models: Mapping[str, TrainedModel],
) -> dict[str, Any]:
    """Score column -> fraction of the chosen rows that is inconsistent; without columns that none of them has."""
    found = {}
    for column in columns:
        scores = floats(table, column.name)[rows]
        scores = scores[np.isfinite(scores)]
        if len(scores):
            reference = Reference(column.name, models[column.model].reference[column.score])
            found[column.name] = inconsistent_fraction(scores, reference, INCONSISTENT_LEVEL).to_json()
    return found


def _headline(statistics: Mapping[str, Any]) -> dict[str, Any]:
    keep = ("auroc", "ks", "wasserstein", "median_a", "median_b", "n_a", "n_b")
    return {name: statistics[name] for name in keep}
