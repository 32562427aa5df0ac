"""What a run found, in the few numbers that the manifest, the terminal and the report state.

The catalogue goes by file by file and is counted, so that a survey's need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.catalog.files import each_file
from galflow.catalog.published import planted_copies
from galflow.catalog.ranking import ANOMALY, RunRanking
from galflow.compare.samples import INCONSISTENT_LEVEL
from galflow.report.planted import TOP_FRACTION
from galflow.report.ranking import rank_copies
from galflow.report.resolution import Resolution
from galflow.report.trimmed import trimmed_counts
from galflow.scores.calibration import Reference
from galflow.scores.fractions import Fraction, inconsistent_above
from galflow.scores.part_columns import floats
from galflow.scores.score import columns_of
from galflow.scores.summary import PartSummary
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel

FALSE_DISCOVERY_RATE = 0.1
REAL, PLANTED = "real objects", "planted copies"
"""Groups beside the comparison samples, whose names have no space."""


def findings(
    store: Store,
    catalog: str,
    summary: PartSummary,
    ranking: RunRanking,
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
        "objects": summary.objects,
        "planted": summary.planted,
        "scored": summary.outcomes.by_name.get("scored", 0),
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
    }
    calibrated = [c for c in columns_of(models) if c.calibrated]
    names = [c.name for c in calibrated]
    files = partial(each_file, store, catalog)
    references = {c.name: Reference(c.name, models[c.model].reference[c.score]) for c in calibrated}
    tally = _Tally({name: inconsistent_above(r, INCONSISTENT_LEVEL) for name, r in references.items()})
    bound = 0.0
    for table in files(["anomaly_q", "anomaly_fdp", "anomaly_tail_q", *names]):
        discovered = floats(table, "anomaly_q") <= FALSE_DISCOVERY_RATE
        tally.by_tail += int(np.count_nonzero(floats(table, "anomaly_tail_q") <= FALSE_DISCOVERY_RATE))
        tally.discoveries += int(np.count_nonzero(discovered))
        bound = max(bound, float(floats(table, "anomaly_fdp")[discovered].max(initial=0.0)))
        tally.add(REAL, table)
    found["discoveries"] = tally.discoveries
    found |= Resolution.of(ranking.p_counts, FALSE_DISCOVERY_RATE).to_json()
    found["false_share_bound"] = bound
    found["judged"] = int(ranking.p_counts.counts.sum())
    found["tile_levels"] = ranking.levels.to_json()
    found["tail"] = _tail(ranking, tally.by_tail)
    found["left_out"] = trimmed_counts(models, ranking)
    copies = planted_copies(store, catalog, [ANOMALY, *names]) if planted else None
    if copies is not None:
        tally.add(PLANTED, copies)
        ranked = rank_copies(files, copies, [ANOMALY, *names])
        recall = {n: r.recall(r.copies, TOP_FRACTION) for n, r in ranked.items()}
        found["recall_in_top_5_percent"] = {name: r.to_json() for name, r in recall.items() if r is not None}
    found["inconsistent_level"] = INCONSISTENT_LEVEL
    groups = (REAL, PLANTED)[: 1 + (copies is not None)]
    found["inconsistent"] = {group: tally.inconsistent(group) for group in groups}
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


def _tail(ranking: RunRanking, discoveries: int) -> dict[str, Any] | None:
    """What the fitted tail says and how well it fits; None where there is none."""
    tail = ranking.tail
    if tail is None:
        return None
    seen, expected = tail.quantiles(ranking.reference)
    return {
        "discoveries": discoveries,
        "fitted": tail.fitted,
        "misfit_p": tail.misfit_p,
        "unexpected": tail.unexpected(ranking.reference),
        "threshold": tail.threshold,
        "limit": tail.limit,
        "seen": seen.tolist(),
        "expected": expected.tolist(),
    }


@dataclass
class _Tally:
    """What is counted while files go by."""

    above: Mapping[str, float]
    """Score column -> value above which an object is inconsistent with the reference."""
    discoveries: int = 0
    """Real objects."""
    by_tail: int = 0
    """The same by the extrapolated tail."""
    scored: dict[tuple[str, str], int] = field(default_factory=dict)
    """(group, score column) -> objects that have the score."""
    beyond: dict[tuple[str, str], int] = field(default_factory=dict)
    """(group, score column) -> those of them that are inconsistent."""

    def add(self, group: str, table: pa.Table) -> None:
        """Count some objects of a group."""
        for name, above in self.above.items():
            key, values = (group, name), floats(table, name)
            self.scored[key] = self.scored.get(key, 0) + int(np.count_nonzero(np.isfinite(values)))
            self.beyond[key] = self.beyond.get(key, 0) + int(np.count_nonzero(values > above))

    def inconsistent(self, group: str) -> dict[str, Any]:
        """Score column -> fraction of the group that is inconsistent; without columns that none of it has."""
        counts = {name: (self.beyond[group, name], self.scored[group, name]) for name in self.above}
        return {name: Fraction.of(*count).to_json() for name, count in counts.items() if count[1]}


def _headline(statistics: Mapping[str, Any]) -> dict[str, Any]:
    keep = ("auroc", "ks", "wasserstein", "median_a", "median_b", "n_a", "n_b")
    return {name: statistics[name] for name in keep}
