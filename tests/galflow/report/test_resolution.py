from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from galflow.report.resolution import Resolution
from galflow.scores.calibration import PValueCounts


def resolution(p: np.ndarray, references: int, rate: float = 0.1) -> Resolution:
    return Resolution.of(PValueCounts.empty(references).add(p), rate)


def with_floor(beyond: int, objects: int, references: int) -> np.ndarray:
    """p-values of which ``beyond`` are the smallest possible and the rest as large as can be."""
    p = np.ones(objects)
    p[:beyond] = 1 / (references + 1)
    return p


@pytest.mark.parametrize(("objects", "references"), [(1192, 216), (1000, 99), (50, 999), (7, 3), (1, 9)])
def test_the_objects_needed_are_the_fewest_that_benjamini_hochberg_takes(objects, references):
    needed = resolution(np.ones(objects), references).objects_needed
    for beyond in range(1, min(objects, 200) + 1):
        q = false_discovery_control(with_floor(beyond, objects, references))
        assert (q[0] <= 0.1 + 1e-12) == (beyond >= needed)


@pytest.mark.parametrize("objects", [1, 30, 1192])
def test_the_references_needed_are_the_fewest_for_which_one_object_is_enough(objects):
    needed = resolution(np.ones(objects), 216).references_needed
    for references, enough in ((needed, True), (needed - 1, False)):
        q = false_discovery_control(with_floor(1, objects, references))[0]
        assert bool(q <= 0.1 + 1e-12) is enough


def test_the_demo_cannot_resolve_anything():
    p = np.random.default_rng(0).integers(2, 218, 1192) / 217
    found = resolution(p, 216)
    assert not found.resolvable
    assert found.smallest_q == pytest.approx(false_discovery_control(p).min())
    sentence = found.sentence()
    for expected in (
        "With 216 held-out objects the smallest possible p-value is 1/217 = 0.0046.",
        "Among 1,192 scored objects a false discovery rate of 10% is reached only if at least 55 of them outscore",
        "none does",
        "a single object would need 11,919 of them",
    ):
        assert expected in sentence
    stated = found.to_json()
    assert stated["smallest_p"] == 1 / 217
    assert (stated["objects_needed"], stated["objects_beyond_reference"], stated["resolvable"]) == (55, 0, False)
    assert stated["resolution"] == sentence


def test_objects_at_the_floor_that_are_too_few_are_counted():
    found = resolution(with_floor(12, 1192, 216), 216)
    assert not found.resolvable
    assert "; 12 do, and the smallest q is 0.46." in found.sentence()
    assert "; one does, and" in resolution(with_floor(1, 1192, 216), 216).sentence()


def test_discoveries_say_that_it_can_be_resolved():
    enough = resolution(with_floor(60, 1192, 216), 216)
    assert enough.resolvable
    assert enough.sentence() == ""
    fine = resolution(np.ones(100), 5000)  # nothing anomalous, but a single object would have been found
    assert fine.resolvable
    assert fine.smallest_q == 1.0


def test_many_objects_above_the_floor_can_be_discoveries_together():
    p = np.ones(200)
    p[:150] = 2 / 51  # none at the floor, and yet q = 2/51 * 200/150
    found = resolution(p, 50)
    assert found.smallest_q == pytest.approx(2 / 51 * 200 / 150)
    assert found.resolvable


def test_a_run_without_scored_objects_says_nothing():
    found = resolution(np.zeros(0), 10)
    assert found.sentence() == ""
    assert found.smallest_q == 1.0
