"""Which kinds of planted anomaly each score finds: recall in the top 5%, and how far up the ranking copies come.

Recall alone cannot tell a score that misses by little from one that ranks a kind below ordinary objects; the mean rank
percentile can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from galflow.cutouts.plant import PLANTED_COLUMN
from galflow.report.ranking import Ranking
from galflow.scores.fractions import Fraction
from galflow.scores.part_columns import floats

TOP_FRACTION = 0.05
"""A planted anomaly counts as found if it is among this fraction of all scored objects."""


@dataclass(frozen=True)
class KindRecall:
    """How well each score finds one kind of planted anomaly."""

    kind: str
    planted: int
    by_score: Mapping[str, Fraction | None]
    """Score column -> fraction in the top 5%; None where no such object has that score."""
    percentile: Mapping[str, float | None]
    """Score column -> mean over copies of the percentage of real objects that score lower, ties half; chance is 50."""


@dataclass(frozen=True)
class HeatCell:
    """One kind under one score."""

    percentile: str
    found: str
    colour: str
    """Its class (``shade``)."""
    best: bool
    """Whether no other score ranks the kind higher."""


@dataclass(frozen=True)
class HeatRow:
    """One kind under all scores; None where it has no such score."""

    kind: str
    planted: int
    cells: list[HeatCell | None]


def recall_by_kind(copies: pa.Table, rankings: Mapping[str, Ranking]) -> list[KindRecall]:
    """A row for each kind of the planted ``copies``, by the score columns that are ranked among all objects."""
    kinds = np.asarray(copies.column(PLANTED_COLUMN).to_pylist(), dtype=str)
    values = {score: floats(copies, score) for score in rankings}
    found = []
    for kind in map(str, np.unique(kinds)):
        own = kinds == kind
        found.append(
            KindRecall(
                kind,
                int(own.sum()),
                {score: ranking.recall(values[score][own], TOP_FRACTION) for score, ranking in rankings.items()},
                {score: ranking.percentile(values[score][own]) for score, ranking in rankings.items()},
            )
        )
    return found


def heat_rows(recall: Sequence[KindRecall], scores: Sequence[str]) -> list[HeatRow]:
    """The table kind x score."""
    rows = []
    for kind in recall:
        known = [p for score in scores if (p := kind.percentile[score]) is not None]
        best = max(known, default=100.0)
        cells = [_cell(kind.percentile[s], kind.by_score[s], best) for s in scores]
        rows.append(HeatRow(kind.kind.replace("_", " "), kind.planted, cells))
    return rows


def _cell(percentile: float | None, share: Fraction | None, best: float) -> HeatCell | None:
    if percentile is None:
        return None
    found = "" if share is None else f"{round(share.value * share.n)} of {share.n}"
    text = f"{percentile:.0f}"
    return HeatCell(text, found, shade(percentile), text == f"{best:.0f}")


def shade(percentile: float) -> str:
    """The class of a cell with this percentile, which the pages' style colours: heat-0 (worst) over heat-10 (chance) to
    heat-20 (best)."""
    return f"heat-{round(20 * percentile / 100)}"
