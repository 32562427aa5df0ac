"""What a run found, in the few numbers that the manifest, the terminal and the report state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.published import read_files
from galflow.cutouts.flags import Flag
from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.scores.calibration import recall_in_top
from galflow.scores.summary import PartSummary
from galflow.store import Store

TOP_FRACTION = 0.05
FALSE_DISCOVERY_RATE = 0.1


def findings(
    store: Store,
    catalog: str,
    summary: PartSummary,
    columns: Sequence[str],
    comparison: Mapping[str, Any] | None,
    planted: bool,
) -> dict[str, Any]:
    """Objects, those scored, discoveries, the recall of planted anomalies per score, and how far each sample is."""
    found: dict[str, Any] = {
        "rows": summary.rows,
        "planted": summary.flags.by_name.get("PLANTED", 0),
        "scored": summary.outcomes.by_name.get("scored", 0),
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
    }
    found["objects"] = found["rows"] - found["planted"]
    table = read_files(store, catalog, ["anomaly_q", "flags"])
    q = pc.fill_null(table.column("anomaly_q"), np.inf).to_numpy()
    real = (table.column("flags").to_numpy() & int(Flag.PLANTED)) == 0
    found["discoveries"] = int(np.count_nonzero((q <= FALSE_DISCOVERY_RATE) & real))
    if planted and found["planted"]:
        table = read_files(store, catalog, [*columns, PLANTED_COLUMN])
        found["recall_in_top_5_percent"] = {c: r for c in columns if (r := _recall(table, c)) is not None}
    if comparison is not None:
        found["samples"] = {
            name: {column: _headline(result["statistics"]) for column, result in results.items()}
            for name, results in comparison["samples"].items()
        }
    return found


def _recall(table: pa.Table, column: str) -> dict[str, Any] | None:
    scores = pc.fill_null(table.column(column), np.nan).to_numpy()
    scored = np.isfinite(scores)
    planted = table.column(PLANTED_COLUMN).is_valid().to_numpy()
    if not planted[scored].any():
        return None
    return recall_in_top(scores[scored], planted[scored], TOP_FRACTION).to_json()


def _headline(statistics: Mapping[str, Any]) -> dict[str, Any]:
    keep = ("auroc", "ks", "wasserstein", "median_a", "median_b", "n_a", "n_b")
    return {name: statistics[name] for name in keep}
