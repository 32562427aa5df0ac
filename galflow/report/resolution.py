"""Whether a run could have discovered anything: what the number of held-out objects lets q-values say.

A conformal p-value is never below 1 / (n_reference + 1), so with few held-out objects and many scored ones no single
object can reach a small q, however odd it is. "No discoveries" then says nothing, and this file says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from galflow.scores.calibration import PValueCounts


@dataclass(frozen=True)
class Resolution:
    """The least that Benjamini-Hochberg can state on these p-values."""

    rate: float
    """The false discovery rate asked for."""
    objects: int
    """Scored ones: those over which q-values are taken."""
    references: int
    beyond: int
    """Objects that outscore every held-out one: those with the smallest possible p-value."""
    smallest_q: float
    """That occurs."""

    @classmethod
    def of(cls, p_counts: PValueCounts, rate: float) -> Resolution:
        """Of a run's p-values of its primary score."""
        counts = p_counts.counts
        taken = np.flatnonzero(counts)
        lowest = (taken[:1] + 1) / counts.size
        smallest = float(p_counts.q_values(lowest)[0]) if len(taken) else 1.0
        return cls(rate, int(counts.sum()), counts.size - 1, int(counts[0]), smallest)

    @property
    def smallest_p(self) -> float:
        """1 / (n_reference + 1)."""
        return 1.0 / (self.references + 1)

    @property
    def objects_needed(self) -> int:
        """The fewest objects k that count as discoveries if just they have the smallest p-value: p N / k <= rate."""
        return max(1, math.ceil(self.smallest_p * self.objects / self.rate - 1e-9))

    @property
    def references_needed(self) -> int:
        """The fewest held-out objects with which a single object could be a discovery among as many objects."""
        return max(1, math.ceil(self.objects / self.rate - 1e-9) - 1)

    @property
    def resolvable(self) -> bool:
        """Whether something is a discovery, or would be if it could: False means that p-values are too coarse to tell.

        Asked of the objects that outscore every held-out one, or of a lone object where there is none.
        """
        return self.smallest_q <= self.rate or max(1, self.beyond) >= self.objects_needed

    def sentence(self) -> str:
        """What cannot be told and what would mend it; "" if it can."""
        if self.resolvable or not self.objects:
            return ""
        found = {0: "none does", 1: "one does"}.get(self.beyond, f"{self.beyond:,} do")
        return (
            f"With {self.references:,} held-out objects the smallest possible p-value is 1/{self.references + 1} = "
            f"{self.smallest_p:.2g}. Among {self.objects:,} scored objects a false discovery rate of {self.rate:.0%} "
            f"is reached only if at least {self.objects_needed:,} of them outscore every held-out one; {found}, and "
            f"the smallest q is {self.smallest_q:.2g}. The held-out sample is too small to tell, which is no evidence "
            f"that nothing is anomalous: read the ranking, or hold out more (training.reference_fraction, more "
            f"tiles); a single object would need {self.references_needed:,} of them."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return {
            "reference_objects": self.references,
            "smallest_p": self.smallest_p,
            "smallest_q": self.smallest_q,
            "objects_beyond_reference": self.beyond,
            "objects_needed": self.objects_needed,
            "resolvable": self.resolvable,
            "resolution": self.sentence(),
        }
