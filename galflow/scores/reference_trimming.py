"""Which held-out objects are themselves anomalies: those that lie where their own tail expects none.

Held-out objects are a survey's own, and of a survey with anomalies some of them are anomalies. Then no object
can lie beyond them, and no conformal p-value is small. Who declares ``scoring.trim_reference`` has these left out of
the reference. It rests on an assumption that conformal p-values do without: that scores of ordinary objects have the
generalised Pareto tail which the bulk of the references shows (galflow.scores.tail). Where their tail grows heavier
than its beginning, ordinary objects are left out and p-values are too small; this file cannot know.
"""

from __future__ import annotations

import numpy as np

from galflow.scores.tail import CENSORED, FloatArray, ParetoTail

MOST = CENSORED
"""Share of the references beyond which the tail cannot be told from anomalies: so many count by their number alone."""
RATE = 0.1
"""False discovery rate at which a reference counts as an anomaly (Benjamini & Hochberg 1995)."""


def trimmed_reference(reference: FloatArray, most: float) -> FloatArray:
    """Those of (r,) sorted references that are not taken for anomalies; at most the share ``most`` of them is.

    A tail is fitted, what it does not expect is left out, and again to the rest, until nothing more is. All of them
    where they are too few for a tail.
    """
    kept, fewest = reference, len(reference) - int(most * len(reference))
    while (tail := ParetoTail.of(kept)) is not None:
        beyond = kept[kept > tail.limit]
        q = tail.p_values(beyond) * len(kept) / np.arange(len(beyond), 0, -1)
        unexpected = len(beyond) - int(np.argmax(q <= RATE)) if (q <= RATE).any() else 0
        left = max(fewest, len(kept) - unexpected)
        if left == len(kept):
            break
        kept = kept[:left]
    return kept
