"""Where planted copies stand among all objects, counted while the catalogue goes by, file by file.

Recall and rank need the order of all scores, but only of the few copies' own: it is enough to count how many real
objects lie between two of them. Two passes, and nothing of the real objects is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from galflow.scores.fractions import Fraction
from galflow.scores.part_columns import floats

FloatArray = npt.NDArray[np.float64]


@dataclass(eq=False)
class Ranking:
    """One score of the planted copies, and how many real objects score lower than, or the same as, each."""

    copies: FloatArray
    """(m,) finite, sorted."""
    _marks: FloatArray = field(init=False)
    """The different ones of them."""
    _between: npt.NDArray[np.int64] = field(init=False)
    """Real objects below the first mark, at it, between it and the next, at that, ..., above the last."""

    def __post_init__(self) -> None:
        self.copies = np.sort(self.copies[np.isfinite(self.copies)])
        self._marks = np.unique(self.copies)
        self._between = np.zeros(2 * len(self._marks) + 1, dtype=np.int64)

    def add(self, real: FloatArray) -> None:
        """Count the scores of some real objects; those that are not finite are left out."""
        values = real[np.isfinite(real)]
        place = np.searchsorted(self._marks, values, "left") + np.searchsorted(self._marks, values, "right")
        self._between += np.bincount(place, minlength=len(self._between))

    @property
    def real(self) -> int:
        """How many real objects have been counted."""
        return int(self._between.sum())

    def percentile(self, copies: FloatArray) -> float | None:
        """Mean over these copies of the percentage of real objects that score lower, ties half; None without either."""
        values = copies[np.isfinite(copies)]
        if not len(values) or not self.real:
            return None
        below, to = self._below(values)
        return float(100 * np.mean((below + to) / 2) / self.real)

    def recall(self, copies: FloatArray, fraction: float) -> Fraction | None:
        """How many of these copies are in the top ``fraction`` of all objects, as ``recall_in_top`` counts them.

        None if none of them has the score, or if the top is less than one object.
        """
        values = copies[np.isfinite(copies)]
        top = math.floor(self._largest_top(fraction))
        if not len(values) or top < 1:
            return None
        return Fraction.of(int(np.count_nonzero(self._as_high(values) <= top)), len(values))

    def threshold(self, fraction: float) -> float:
        """The lowest score of a copy that is in the top ``fraction``; infinite if none is."""
        within = self.copies[self._as_high(self.copies) <= self._largest_top(fraction)]
        return float(within[0]) if len(within) else math.inf

    def _largest_top(self, fraction: float) -> float:
        return fraction * (self.real + len(self.copies)) + 1e-9  # 0.29 * 100 is 28.999999999999996

    def _below(self, copies: FloatArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(n,) real objects that score lower than each of these copies, and lower or the same."""
        up_to = np.concatenate([[0], np.cumsum(self._between)])
        mark = np.searchsorted(self._marks, copies)
        return up_to[2 * mark + 1], up_to[2 * mark + 2]

    def _as_high(self, copies: FloatArray) -> npt.NDArray[np.int64]:
        """(n,) objects, copies among them, that score as high as each of these copies or higher."""
        lower = self._below(copies)[0] + np.searchsorted(self.copies, copies, side="left")
        return self.real + len(self.copies) - lower


def rank_copies(
    files: Callable[[Sequence[str]], Iterator[pa.Table]], copies: pa.Table, columns: Sequence[str]
) -> Mapping[str, Ranking]:
    """The ranking of each column of the planted ``copies`` among all objects.

    ``files`` gives the catalogue's objects file by file with the columns it is asked for.
    """
    rankings = {name: Ranking(floats(copies, name)) for name in columns}
    for table in files(columns):
        for name, ranking in rankings.items():
            ranking.add(floats(table, name))
    return rankings
