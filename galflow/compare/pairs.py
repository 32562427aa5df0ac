"""Two samples of the same galaxies, compared galaxy by galaxy: with and without radiative transfer, from two codes.

What both have in common (mass, size, orientation) cancels, so a difference is seen that two distributions would hide.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.compare.populations import Population
from galflow.compare.two_sample import Interval, require_bootstraps
from galflow.errors import DataError
from galflow.scores.fractions import Fraction

FloatArray = npt.NDArray[np.float64]
MINIMUM_PAIRS = 10
_BLOCK = 2_000_000
"""Signs drawn at once."""


def compare_pairs(
    first: Population, second: Population, by: tuple[str, ...], *, bootstraps: int, seed: int
) -> dict[str, Any]:
    """Every score that both have, first minus second, of the galaxies with one object of the same key in each.

    ``by``: which of the populations' keys.

    Plain values: of each column the mean difference with its 95% bootstrap interval, the share of galaxies with the
    higher value in ``first`` with its Wilson interval, and the p-value of the mean by exchanging the two of each pair.
    DataError where fewer than ``MINIMUM_PAIRS`` galaxies are in both.
    """
    require_bootstraps(bootstraps)
    (keys, one, several_first), (others, two, several_second) = _single(first.keys[by]), _single(second.keys[by])
    _, place_a, place_b = np.intersect1d(keys, others, assume_unique=True, return_indices=True)
    if len(place_a) < MINIMUM_PAIRS:
        raise DataError(
            f"only {len(place_a)} galaxies are in both samples ({len(keys)} and {len(others)} keys, such as "
            f"{_example(keys)} and {_example(others)}); give columns that name a galaxy alike in both"
        )
    rows_a, rows_b = one[place_a], two[place_b]
    columns = {}
    for name in first.scores.keys() & second.scores.keys():
        difference = first.scores[name][rows_a] - second.scores[name][rows_b]
        known = difference[np.isfinite(difference)]
        if len(known) >= MINIMUM_PAIRS:
            columns[name] = _of_column(known, bootstraps, seed)
    return {
        "pairs": len(place_a),
        "left_out": {
            "only in the first": len(keys) - len(place_a),
            "only in the second": len(others) - len(place_a),
            "several objects of one key": several_first + several_second,
        },
        "columns": columns,
    }


def _single(texts: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64], int]:
    """Keys that one object alone has, its row, and how many objects share theirs with another."""
    known = np.flatnonzero(texts != "")
    keys, rows, counts = np.unique(texts[known], return_index=True, return_counts=True)
    return keys[counts == 1], known[rows[counts == 1]], int(counts[counts > 1].sum())


def _example(keys: npt.NDArray[np.object_]) -> str:
    return repr(str(keys[0])) if len(keys) else "none"


def _of_column(difference: FloatArray, bootstraps: int, seed: int) -> dict[str, Any]:
    rng, n, mean = np.random.default_rng(seed), len(difference), float(difference.mean())
    drawn, as_far = np.empty(bootstraps), 0
    for start in range(0, bootstraps, block := max(1, _BLOCK // n)):
        rows = min(block, bootstraps - start)
        drawn[start : start + rows] = difference[rng.integers(0, n, (rows, n))].mean(axis=1)
        signs = np.where(rng.random((rows, n)) < 0.5, -1.0, 1.0)
        as_far += int((np.abs(signs @ difference) / n >= abs(mean) * (1 - 1e-9)).sum())
    differing = difference[difference != 0]
    return {
        "n": n,
        "difference": vars(Interval.of(mean, drawn)),
        "higher": Fraction.of(int((differing > 0).sum()), len(differing)).to_json() if len(differing) else None,
        "p": (1 + as_far) / (1 + bootstraps),
    }
