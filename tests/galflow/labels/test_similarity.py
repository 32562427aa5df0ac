"""The index of latents against comparing with every object, exact and approximate."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.labels import similarity
from galflow.labels.similarity import empty_index


def latents(n: int, dimensions: int = 16) -> np.ndarray:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(40, dimensions)) * 3
    return (centres[draw.integers(40, size=n)] + draw.normal(size=(n, dimensions))).astype(np.float32)


def nearest(points: np.ndarray, query: np.ndarray, n: int) -> np.ndarray:
    return np.argsort(np.square(points - query).sum(1), kind="stable")[:n]


def test_a_small_index_is_exact() -> None:
    points = latents(3000)
    index = empty_index(len(points), 16, lambda n: points[:n])
    index.add(points)
    _, found = index.search(points[:50], 10)
    for row in range(50):
        np.testing.assert_array_equal(found[row], nearest(points, points[row], 10))


def test_a_large_index_finds_nearly_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "EXACT_OBJECTS", 5000)
    points = latents(20_000)
    index = empty_index(len(points), 16, lambda n: points[:n])
    for start in range(0, len(points), 4096):
        index.add(points[start : start + 4096])
    _, found = index.search(points[:100], 10)
    hits = [len(np.intersect1d(found[row], nearest(points, points[row], 10))) for row in range(100)]
    assert np.mean(hits) > 9.0
