from __future__ import annotations

import numpy as np
import pytest

from galflow.compare.matching import match_bootstraps, match_counts
from galflow.errors import SpecError

EDGES = [np.linspace(18, 24, 7), np.array([0.0, 0.5, 1.0, 4.0])]


def _catalogues() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(17)
    a = np.column_stack([rng.normal(21, 1.5, 900), rng.gamma(2, 0.5, 900)])
    b = np.column_stack([rng.normal(22, 1.0, 500), rng.gamma(3, 0.4, 500)])
    a[3, 0] = b[7, 1] = b[8, 0] = np.nan
    b[9, 0], b[9, 1] = np.inf, np.nan
    b[10] = np.inf, 0.7
    return a, b


def _cells(values: np.ndarray) -> np.ndarray:
    return np.histogramdd(values, EDGES)[0]


def test_cells_hold_equal_counts_as_many_as_there_are():
    a, b = _catalogues()
    matched = match_counts(a, b, EDGES, np.random.default_rng(0))
    index_a, index_b = matched
    usable_b = b[np.isfinite(b).all(axis=1)]
    expected = np.minimum(_cells(a[~np.isnan(a).any(axis=1)]), _cells(usable_b))
    np.testing.assert_array_equal(_cells(a[index_a]), expected)
    np.testing.assert_array_equal(_cells(b[index_b]), expected)
    assert len(matched) == expected.sum() > 200
    assert np.unique(index_a).size == np.unique(index_b).size == len(matched)
    # Partners, row by row, lie in one cell.
    for one, two in zip(a[index_a][:50], b[index_b][:50], strict=True):
        np.testing.assert_array_equal(_cells(one[None]), _cells(two[None]))


def test_left_out_rows_are_counted():
    a, b = _catalogues()
    matched = match_counts(a, b, EDGES, np.random.default_rng(0))
    assert (matched.n_missing_a, matched.n_missing_b) == (1, 3)
    inside = [int(_cells(v[np.isfinite(v).all(axis=1)]).sum()) for v in (a, b)]
    assert (matched.n_outside_a, matched.n_outside_b) == (900 - 1 - inside[0], 500 - 3 - inside[1])
    assert not np.isin([7, 8, 9, 10], matched.index_b).any()


def test_every_row_of_a_cell_is_equally_likely():
    a, b = np.full((10, 1), 20.0), np.full((4, 1), 20.5)
    rng = np.random.default_rng(18)
    drawn = np.concatenate([match_counts(a, b, [[20.0, 21.0]], rng).index_a for _ in range(1000)])
    counts = np.bincount(drawn, minlength=10)
    assert counts.sum() == 4000
    # Binomial(1000, 0.4), 4.5 sigmas.
    assert np.all(np.abs(counts - 400) < 4.5 * np.sqrt(1000 * 0.4 * 0.6))


def test_the_last_edge_is_inside_and_cells_are_closed_below():
    a = np.array([[20.0], [21.0], [22.0], [22.1]])
    b = np.array([[20.9], [21.0], [21.5], [19.0]])
    matched = match_counts(a, b, [[20.0, 21.0, 22.0]], np.random.default_rng(0))
    assert sorted(matched.index_a) == [0, 1, 2]
    assert sorted(matched.index_b) == [0, 1, 2]
    assert (matched.n_outside_a, matched.n_outside_b) == (1, 1)


def test_bootstraps_vary_repeat_rows_and_are_seeded():
    a, b = _catalogues()
    samples = list(match_bootstraps(a, b, EDGES, bootstraps=20, seed=5))
    again = list(match_bootstraps(a, b, EDGES, bootstraps=20, seed=5))
    for one, two in zip(samples, again, strict=True):
        np.testing.assert_array_equal(one.index_a, two.index_a)
        np.testing.assert_array_equal(_cells(a[one.index_a]), _cells(b[one.index_b]))
    assert not np.array_equal(samples[0].index_b, samples[1].index_b)
    assert np.unique(samples[0].index_b).size < len(samples[0])
    assert len(list(match_bootstraps(a, b, EDGES))) == 50


def test_catalogues_without_a_common_cell_match_nothing():
    a, b = np.array([[20.0]]), np.array([[23.0]])
    assert len(match_counts(a, b, [[18.0, 22.0, 24.0]], np.random.default_rng(0))) == 0
    assert [len(m) for m in match_bootstraps(a, b * np.nan, [[18.0, 24.0]], bootstraps=2)] == [0, 0]


def test_unusable_edges_and_shapes_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(SpecError, match="edges of property 0"):
        match_counts(np.zeros((2, 1)), np.zeros((2, 1)), [[1.0, 0.0]], rng)
    with pytest.raises(SpecError, match=r"catalogue b has shape \(2, 2\), with edges for 1 properties"):
        match_counts(np.zeros((2, 1)), np.zeros((2, 2)), [[0.0, 1.0]], rng)
    with pytest.raises(SpecError, match="got none"):
        match_counts(np.zeros((2, 1)), np.zeros((2, 1)), [], rng)
    with pytest.raises(SpecError, match="bootstraps is 0"):
        match_bootstraps(np.zeros((2, 1)), np.zeros((2, 1)), [[0.0, 1.0]], bootstraps=0)
