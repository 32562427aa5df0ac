"""What a run needs to know of a score part without reading it again: small aggregates that merge in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.cutouts.flags import Flag, flag_counts, has_flag
from galflow.errors import DataError
from galflow.scores.distributions import Counts, Histogram
from galflow.scores.part_columns import floats

SIGMA_EDGES = np.concatenate([np.arange(-10.0, 20.0, 0.25), np.geomspace(20.0, 2000.0, 81)])
"""Edges of the histograms of ``<score>_sigma``: linear around the reference, logarithmic in the far tail."""


@dataclass(frozen=True, eq=False)
class PartSummary:
    """Counts and histograms of one part, or of many merged."""

    rows: int
    """Of real objects; planted copies are no rows of the catalogue."""
    planted: int
    objects: int
    """Primary rows of real objects: each object of the sky once. All that follows is of them."""
    outcomes: Counts
    flags: Counts
    sigma: Mapping[str, Histogram]
    """Calibrated score column -> histogram of its sigma."""

    @classmethod
    def of(cls, part: pa.Table, columns: list[str]) -> PartSummary:
        """The summary of one part whose calibrated score columns are ``columns``."""
        planted = has_flag(part.column("flags").to_numpy(), Flag.PLANTED)
        objects = part.filter(pa.array(part.column("is_primary").to_numpy() & ~planted))
        flags = flag_counts(objects.column("flags").to_numpy())
        histograms = {}
        for column in columns:
            values = floats(objects, f"{column}_sigma")
            histograms[column] = Histogram.empty(SIGMA_EDGES).add(values[np.isfinite(values)])
        return cls(
            int((~planted).sum()),
            int(planted.sum()),
            len(objects),
            Counts.empty().add(objects.column("outcome").to_pylist()),
            Counts.empty().merge(Counts(flags)),
            histograms,
        )

    def merge(self, other: PartSummary) -> PartSummary:
        """Both together."""
        return PartSummary(
            self.rows + other.rows,
            self.planted + other.planted,
            self.objects + other.objects,
            self.outcomes.merge(other.outcomes),
            self.flags.merge(other.flags),
            {name: histogram.merge(other.sigma[name]) for name, histogram in self.sigma.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for the receipt."""
        return {
            "rows": self.rows,
            "planted": self.planted,
            "objects": self.objects,
            "outcomes": self.outcomes.to_json(),
            "flags": self.flags.to_json(),
            "sigma": {name: histogram.to_json() for name, histogram in self.sigma.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PartSummary:
        """The inverse of ``to_json``."""
        return cls(
            value["rows"],
            value["planted"],
            value["objects"],
            Counts.from_json(value["outcomes"]),
            Counts.from_json(value["flags"]),
            {name: Histogram.from_json(histogram) for name, histogram in value["sigma"].items()},
        )


def merge_summaries(summaries: Iterable[PartSummary]) -> PartSummary:
    """All together; DataError if there is none."""
    merged: PartSummary | None = None
    for summary in summaries:
        merged = summary if merged is None else merged.merge(summary)
    if merged is None:
        raise DataError("no score part to summarise: no tile was ingested; `galflow plan` says what is missing")
    return merged
