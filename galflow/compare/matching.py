"""Matched samples: equal counts per cell of magnitude x half-light radius (x Sersic index) from two catalogues.

So that two samples differ in what galaxies look like, not in how bright or large they are. Objects with a property
that is missing (NaN) or outside the edges are left out and counted. This file compares nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from galflow.errors import SpecError

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Matched:
    """Rows of two catalogues with equal counts in each cell. Unpacks as ``index_a, index_b = matched``."""

    index_a: IndexArray
    """(k,) rows of a, ordered by cell."""
    index_b: IndexArray
    """(k,) rows of b, ordered by cell: the i-th of both lie in one cell."""
    n_missing_a: int
    """Rows of a left out because a property is NaN."""
    n_missing_b: int
    n_outside_a: int
    """Rows of a left out because a property lies outside the edges (infinities too)."""
    n_outside_b: int

    def __iter__(self) -> Iterator[IndexArray]:
        return iter((self.index_a, self.index_b))

    def __len__(self) -> int:
        return int(self.index_a.size)


@dataclass(frozen=True, eq=False)
class _Cells:
    """The usable rows of one catalogue and the cell of each."""

    rows: IndexArray
    cells: IndexArray
    n_missing: int
    n_outside: int


def _checked_edges(edges: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    arrays = [np.asarray(e, dtype=np.float64) for e in edges]
    for number, array in enumerate(arrays):
        if array.ndim != 1 or array.size < 2 or not np.all(np.isfinite(array)) or np.any(np.diff(array) <= 0):
            raise SpecError(f"edges of property {number} are {array}; give two or more finite, increasing numbers")
    if not arrays:
        raise SpecError("matching needs edges for at least one property; got none")
    return arrays


def _cells_of(properties: npt.ArrayLike, edges: list[FloatArray], name: str) -> _Cells:
    values = np.asarray(properties, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(edges):
        raise SpecError(
            f"catalogue {name} has shape {values.shape}, with edges for {len(edges)} properties; "
            f"give (n, {len(edges)}), one column for each list of edges"
        )
    missing = np.isnan(values).any(axis=1)
    lows, highs = np.array([e[0] for e in edges]), np.array([e[-1] for e in edges])
    with np.errstate(invalid="ignore"):
        inside = ((values >= lows) & (values <= highs)).all(axis=1)
    rows = np.flatnonzero(inside)
    # Bins are [edge, next edge), the last one closed, as numpy's histogram has them.
    bins = [np.minimum(np.searchsorted(e, values[rows, d], side="right") - 1, e.size - 2) for d, e in enumerate(edges)]
    cells = np.ravel_multi_index(bins, [e.size - 1 for e in edges]).astype(np.int64)
    return _Cells(rows, cells, int(missing.sum()), int((~inside & ~missing).sum()))


def _draw(cells: IndexArray, quota: IndexArray, rng: np.random.Generator) -> IndexArray:
    """Positions, ordered by cell, of ``quota[cell]`` random members of each cell, without repetition."""
    shuffled = rng.permutation(cells.size)
    order = shuffled[np.argsort(cells[shuffled], kind="stable")]
    ordered = cells[order]
    start = np.searchsorted(ordered, ordered, side="left")
    return order[np.arange(cells.size) - start < quota[ordered]]


def _match(a: _Cells, b: _Cells, n_cells: int, rng: np.random.Generator) -> Matched:
    quota = np.minimum(np.bincount(a.cells, minlength=n_cells), np.bincount(b.cells, minlength=n_cells))
    index_a, index_b = a.rows[_draw(a.cells, quota, rng)], b.rows[_draw(b.cells, quota, rng)]
    return Matched(index_a, index_b, a.n_missing, b.n_missing, a.n_outside, b.n_outside)


def _n_cells(edges: list[FloatArray]) -> int:
    return int(np.prod([e.size - 1 for e in edges]))


def cell_numbers(properties: npt.ArrayLike, edges: Sequence[npt.ArrayLike]) -> IndexArray:
    """(n,) number of each object's cell, in row-major order of the D lists of ``edges``; -1 where it lies in none."""
    checked = _checked_edges(edges)
    found = _cells_of(properties, checked, "given")
    numbers = np.full(len(np.asarray(properties)), -1, dtype=np.int64)
    numbers[found.rows] = found.cells
    return numbers


def match_counts(
    a: npt.ArrayLike, b: npt.ArrayLike, edges: Sequence[npt.ArrayLike], rng: np.random.Generator
) -> Matched:
    """Random rows of (N, D) ``a`` and (M, D) ``b`` with equal counts in each cell of the D lists of ``edges``.

    Each cell gives as many rows as the catalogue that has fewer there; no row is drawn twice.
    """
    checked = _checked_edges(edges)
    return _match(_cells_of(a, checked, "a"), _cells_of(b, checked, "b"), _n_cells(checked), rng)


def match_bootstraps(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    edges: Sequence[npt.ArrayLike],
    *,
    bootstraps: int = 50,
    seed: int = 0,
) -> Iterator[Matched]:
    """Matched samples of ``bootstraps`` resamplings with replacement of the usable rows of ``a`` and of ``b``.

    A row may be drawn several times, as bootstraps do. The same seed gives the same samples.
    """
    if bootstraps < 1:
        raise SpecError(f"bootstraps is {bootstraps}; give at least 1 (50 or more for an interval)")
    checked = _checked_edges(edges)
    cells = [_cells_of(a, checked, "a"), _cells_of(b, checked, "b")]
    return _bootstrapped(cells, _n_cells(checked), bootstraps, np.random.default_rng(seed))


def _bootstrapped(cells: list[_Cells], n_cells: int, bootstraps: int, rng: np.random.Generator) -> Iterator[Matched]:
    for _ in range(bootstraps):
        drawn = []
        for one in cells:
            # An empty catalogue has no row to draw, and rng.integers refuses the empty range.
            pick = rng.integers(0, one.rows.size, one.rows.size) if one.rows.size else np.empty(0, dtype=np.int64)
            drawn.append(_Cells(one.rows[pick], one.cells[pick], one.n_missing, one.n_outside))
        yield _match(drawn[0], drawn[1], n_cells, rng)
