"""How many of the objects above a threshold may be normal, with 95% confidence, whichever threshold is chosen.

A q-value holds for a threshold that was fixed before looking. Who moves it until a list pleases needs a bound for all
thresholds at once: an envelope of how many normal objects conformal p-values put below each level (Blanchard, Neuvial &
Roquain 2020, Ann. Stat. 48, 1281, with the joint distribution of conformal p-values drawn: Gazin, Blanchard & Roquain
2024, AISTATS).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from galflow.scores.calibration import PValueCounts

CONFIDENCE = 0.95
_DRAWS = 4000
_LEVELS = 96
_SEED = 20
"""The envelope is a property of two numbers of objects; it is drawn alike in every run."""


class Envelope(NamedTuple):
    """The most normal objects below some p-values, all at once with 95% confidence."""

    ranks: npt.NDArray[np.int64]
    """(k,) r stands for the p-value (r + 1) / (references + 1); ascending."""
    most: npt.NDArray[np.int64]
    """(k,) of the tested objects."""


def envelope(references: int, tested: int, draws: int = _DRAWS) -> Envelope:
    """For ``tested`` normal objects against ``references``: half of the draws shape it, the other half hold it to 95%.

    The gaps between sorted references are exponential draws, and the objects fall into them by binomial ones.
    """
    rng = np.random.default_rng(_SEED)
    ranks = np.unique(np.rint(np.geomspace(1, references + 1, _LEVELS)).astype(np.int64)) - 1
    steps = np.diff(ranks, prepend=-1)
    gaps = rng.gamma(steps[None, :], size=(draws, len(steps)))
    left = gaps[:, ::-1].cumsum(1)[:, ::-1]  # what lies at or beyond each level
    below = np.zeros((draws, len(steps)), np.int64)
    remaining = np.full(draws, tested)
    for level in range(len(steps)):
        found = rng.binomial(remaining, np.clip(gaps[:, level] / left[:, level], 0.0, 1.0))
        remaining = remaining - found
        below[:, level] = tested - remaining
    ordered, holding = np.sort(below[: draws // 2], axis=0), below[draws // 2 :]
    most = ordered[-1]
    for lower in ordered[::-1]:  # as low as it may be
        if (holding > lower).any(1).mean() > 1 - CONFIDENCE:
            break
        most = lower
    return Envelope(ranks, np.maximum.accumulate(most))


def false_share(counts: PValueCounts) -> npt.NDArray[np.float64]:
    """(references + 1,) for each p-value: at most this share of the objects with as low a one or lower is normal.

    Holds for all of them at once with 95% confidence, if the objects and the references are exchangeable. 1 where
    nothing can be said, and where there is no such object.
    """
    references, tested = counts.counts.size - 1, int(counts.counts.sum())
    reported = np.cumsum(counts.counts)
    if not tested:
        return np.ones(references + 1)
    levels = envelope(references, tested)
    normal = np.full(references + 1, np.inf)
    for rank, most in zip(levels.ranks, levels.most, strict=True):
        # Of the objects beyond this level any may be normal, and of those before it no more than up to it.
        normal = np.minimum(normal, most + np.maximum(0, reported - reported[rank]))
    return np.asarray(np.minimum(1.0, normal / np.maximum(reported, 1)), dtype=np.float64)
