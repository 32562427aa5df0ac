"""Levels of tiles: found where there are some, 0 where chance explains them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from galflow.scores.tile_levels import TileLevels


def drawn(levels: list[float], objects: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"t{i}": level + rng.normal(size=objects) for i, level in enumerate(levels)}


def test_tiles_that_differ_by_chance_alone_have_no_level() -> None:
    found = [TileLevels.of(drawn([0.0] * 20, 50, seed)).by_tile for seed in range(200)]
    assert np.mean([bool(levels) for levels in found]) <= 0.05


def test_levels_are_found_and_shrunk_by_what_chance_gives() -> None:
    true = list(np.random.default_rng(1).normal(size=30))
    many, few = (TileLevels.of(drawn(true, n, 2)) for n in (400, 6))
    expected = np.array(true) - np.mean(true)
    assert np.abs(np.array(list(many.by_tile.values())) - expected).max() < 0.35
    assert many.scatter == pytest.approx(np.std(true), rel=0.2)
    plain = {t: np.median(v) for t, v in drawn(true, 6, 2).items()}
    centred = np.array(list(plain.values())) - np.mean(list(plain.values()))
    shrunk = np.array(list(few.by_tile.values()))
    assert np.square(shrunk - expected).mean() < np.square(centred - expected).mean()
    assert TileLevels.from_json(json.loads(json.dumps(few.to_json()))).by_tile == few.by_tile


def test_a_row_is_levelled_by_its_own_tile() -> None:
    levels = TileLevels({"a": 0.5})
    part = pa.table({"tile": ["a", "b", "a"]})
    np.testing.assert_allclose(levels.levelled(np.array([1.0, 1.0, np.nan]), part), [0.5, 1.0, np.nan])
    assert TileLevels.of({"a": np.arange(9.0)}).by_tile == {}
    assert TileLevels.of({"a": np.zeros(9), "b": np.zeros(9)}).by_tile == {}
