from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from galflow.report.planted import KindRecall, heat_rows
from galflow.report.planted import recall_by_kind as recall_of_ranked
from galflow.report.ranking import rank_copies


def table(real: np.ndarray, **kinds: np.ndarray) -> pa.Table:
    values = np.concatenate([real, *kinds.values()])
    names = np.concatenate([[None] * len(real), *([kind] * len(v) for kind, v in kinds.items())])
    columns = {"s": pa.array(values, mask=~np.isfinite(values)), "planted_kind": pa.array(names, pa.string())}
    return pa.table(columns | {"t": pa.array(-values, mask=~np.isfinite(values))})


def recall_by_kind(whole: pa.Table, scores: list[str]) -> list[KindRecall]:
    """Of copies among the real objects of a catalogue in files of 30 rows."""
    is_copy = whole["planted_kind"].is_valid()
    copies, real = whole.filter(is_copy), whole.filter(pc.invert(is_copy))
    files = [real.slice(start, 30) for start in range(0, len(real), 30)]
    rankings = rank_copies(lambda columns: (file.select(columns) for file in files), copies, scores)
    return recall_of_ranked(copies, rankings)


def test_the_percentile_is_the_mean_share_of_real_objects_below_with_ties_half():
    rng = np.random.default_rng(0)
    real, ring = rng.integers(0, 20, 100).astype(float), rng.integers(5, 25, 9).astype(float)
    (found,) = recall_by_kind(table(real, ring=ring), ["s", "t"])
    expected = np.mean([[(r < c) + 0.5 * (r == c) for r in real] for c in ring])
    assert found.percentile["s"] == pytest.approx(100 * expected)
    assert found.percentile["t"] == pytest.approx(100 - 100 * expected)


def test_other_planted_kinds_do_not_count_as_real():
    real = np.arange(100.0)
    ring, trail = recall_by_kind(table(real, ring=np.array([49.5]), trail=np.full(300, 1e6)), ["s"])
    assert (ring.kind, ring.planted, ring.percentile["s"]) == ("ring", 1, 50.0)
    assert (trail.planted, trail.percentile["s"]) == (300, 100.0)


def test_objects_without_a_score_are_left_out():
    real = np.array([1.0, 2.0, np.nan, 4.0] * 10)
    ring, trail = recall_by_kind(table(real, ring=np.array([3.0, np.nan]), trail=np.array([np.nan])), ["s"])
    assert ring.percentile["s"] == pytest.approx(100 * 2 / 3)
    assert ring.by_score["s"] is not None
    assert ring.by_score["s"].n == 1
    assert trail.percentile["s"] is None
    assert trail.by_score["s"] is None


def test_the_heat_table_marks_the_best_score_and_colours_by_rank():
    kinds = recall_by_kind(
        table(np.arange(100.0), faint_ring=np.array([99.5] * 3), nothing=np.array([np.nan])), ["s", "t"]
    )
    ring, nothing = heat_rows(kinds, ["s", "t"])
    high, low = ring.cells
    assert ring.kind == "faint ring"
    assert high is not None
    assert low is not None
    assert (high.percentile, high.found, high.colour, high.best) == (
        "100",
        "3 of 3",
        "heat-20",
        True,
    )
    assert (low.percentile, low.found, low.colour, low.best) == ("0", "0 of 3", "heat-0", False)
    assert nothing.cells == [None, None]
    (middle,) = heat_rows(recall_by_kind(table(np.arange(100.0), ring=np.array([49.5])), ["s"]), ["s"])
    assert middle.cells[0] is not None
    assert middle.cells[0].colour == "heat-10"  # chance
