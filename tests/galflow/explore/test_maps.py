"""What a map counts is what there is: in pieces, of a selection, across 0, with and without a third number."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.explore import maps, values
from galflow.explore.cell_counts import CellCounts
from galflow.explore.explored import ExploredRun
from galflow.explore.maps import MapQuery
from galflow.explore.query import Query, Selection
from tests.galflow.explore.conftest import COUNT, FIRST_ID

BOUNDS = (-1.0, 3.0, 0.0, 2.0)


@pytest.mark.parametrize("width", [0.5, 20.0])
def test_cells_added_up_in_pieces_are_those_of_all(width: float) -> None:
    """Most points inside, and few."""
    rng = np.random.default_rng(2)
    x, y, colour = rng.normal(1, width, 900), rng.normal(1, width, 900), rng.normal(5, 2, 900)
    x[::50], y[::70], colour[::9] = np.nan, np.inf, np.nan
    x[3], y[3] = BOUNDS[1], BOUNDS[3]  # on the upper edges: in the last cell
    counted = CellCounts(BOUNDS, (8, 5), 1000, True)
    for start in range(0, 900, 100):
        part = slice(start, start + 100)
        counted.add(np.arange(900)[part], x[part], y[part], colour[part])
    known = np.isfinite(x) & np.isfinite(y)
    edges = [np.linspace(*BOUNDS[2:], 6), np.linspace(*BOUNDS[:2], 9)]
    wanted, *_ = np.histogram2d(y[known], x[known], edges)
    np.testing.assert_array_equal(counted.counts, wanted)
    assert counted.total == wanted.sum()
    inside = known & (x >= -1) & (x <= 3) & (y >= 0) & (y <= 2)
    assert counted.rows is not None
    np.testing.assert_array_equal(counted.rows, np.flatnonzero(inside))
    coloured = known & np.isfinite(colour)
    sums, *_ = np.histogram2d(y[coloured], x[coloured], edges, weights=colour[coloured])
    with_colour, *_ = np.histogram2d(y[coloured], x[coloured], edges)
    assert counted.means is not None
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(counted.means, sums / with_colour, rtol=1e-5)


def test_of_many_rows_the_highest_ranked_in_view_are_points(
    local_run: ExploredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "MOST_POINTS", 7)
    monkeypatch.setattr(values, "PIECE", 11)
    chosen = Selection("flags & 1 == 0")
    rows = local_run.rows.ordered(Query(chosen, "anomaly_rank"))
    x = local_run.rows.numbers("x")
    low = float(np.median(x))
    found = local_run.maps.draw(MapQuery("x", "y", "mag_r", chosen, (low, 200, 0, 200)))
    there = rows[x[rows] >= low]
    assert found.count == len(there) == found.counts.sum()
    assert not found.whole
    assert found.points["id"].tolist() == (FIRST_ID + there[:7].astype(np.int64)).tolist()
    np.testing.assert_array_equal(found.points["x"], x[there[:7]])
    assert local_run.maps.draw(MapQuery("x", "y")).count == COUNT


def test_a_page_of_a_selection_is_found_along_its_order(
    local_run: ExploredRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "PIECE", 7)
    for where in ("flags & 1 == 0", "mag_r > 30"):
        query = Query(Selection(where), "mag_r", True)
        pages = [local_run.rows.page(query, offset, 4, ["object_id"]) for offset in range(0, COUNT, 4)]
        ids = [i for _, page in pages for i in page.column("object_id").to_pylist()]
        wanted = local_run.rows.ordered(query)
        assert ids == (FIRST_ID + wanted.astype(np.int64)).tolist()
        assert {total for total, _ in pages} == {len(wanted)}
