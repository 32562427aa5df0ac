"""A large catalogue is copied once, whole or not at all; what is asked of it is what a small one answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from galflow.errors import SpecError
from galflow.explore import index
from galflow.explore import rows as row_module
from galflow.explore.explored import ExploredRun
from galflow.explore.polygons import Polygon
from galflow.explore.query import Lasso, Query, Selection
from galflow.storage.store import Store
from tests.galflow.explore.conftest import COUNT, publish_small_run

QUERIES = [
    Query(order="mag_r"),
    Query(order="mag_r", descending=True),
    Query(order="triage"),
    Query(descending=True),
    Query(Selection(where="mag_r > 20"), "anomaly_score_sigma", True),
    Query(Selection(lasso=Lasso("x", "y", ((0, 0), (100, 0), (100, 200), (0, 200)))), "ra"),
]


def test_a_large_catalogue_answers_as_a_small_one(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = publish_small_run(store)  # in a folder, and on S3
    small = ExploredRun.open(store, manifest, tmp_path / "unused")
    assert not (tmp_path / "unused").exists()
    monkeypatch.setattr(index, "LARGEST_IN_MEMORY", 10)
    said: list[str] = []
    for _ in range(2):
        large = ExploredRun.open(store, manifest, tmp_path / "cache", said.append)
        assert large.described == small.described
        for query in QUERIES:
            np.testing.assert_array_equal(large.rows.ordered(query), small.rows.ordered(query))
            assert large.rows.page(query, 5, 9)[1].equals(small.rows.page(query, 5, 9)[1])
        large.close()
    assert said[0] == "rows: file 1 of 2"
    assert len(said) == len(set(said))  # built once
    small.close()


def test_what_was_not_built_to_the_end_is_built_anew(
    local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = publish_small_run(local_store)
    monkeypatch.setattr(index, "LARGEST_IN_MEMORY", 10)

    def stop(words: str) -> None:
        raise KeyboardInterrupt(words)

    with pytest.raises(KeyboardInterrupt):
        ExploredRun.open(local_store, manifest, tmp_path, stop)
    assert list(tmp_path.glob("*/*.duckdb")) == []
    explored = ExploredRun.open(local_store, manifest, tmp_path)
    assert explored.rows.count == COUNT
    explored.close()


def test_pieces_of_very_many_rows_are_all_of_them(local_run: ExploredRun, monkeypatch: pytest.MonkeyPatch) -> None:
    query = Query(Selection(where="flags & 1 == 0"), "anomaly_rank", True)
    few = [i for table in local_run.rows.pieces(query, ["object_id"]) for i in table["object_id"].to_pylist()]
    monkeypatch.setattr(row_module, "_FEW", 5)
    monkeypatch.setattr(row_module, "_BLOCK", 7)
    many = [i for table in local_run.rows.pieces(query, ["object_id"]) for i in table["object_id"].to_pylist()]
    assert few == sorted(many, reverse=True)
    assert many == sorted(many)
    assert len(many) == COUNT // 2


def test_rows_that_are_not_there_are_refused(local_run: ExploredRun) -> None:
    with pytest.raises(SpecError, match="numbered from 0 to 59"):
        local_run.rows.fetch([COUNT])


def test_a_polygon_by_its_raster_is_the_polygon() -> None:
    rng = np.random.default_rng(1)
    turn = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    star = np.stack([np.cos(turn) * (1 + 0.5 * np.sin(5 * turn)), np.sin(turn)], axis=1)
    x, y = rng.uniform(-1.5, 1.5, (2, 60_000))
    polygon = Polygon(star)
    by_raster, plainly = polygon.holds(x, y), polygon.holds(x, y, plainly=True)
    np.testing.assert_array_equal(by_raster, plainly)
    assert 0.2 < by_raster.mean() < 0.6
