from __future__ import annotations

import json
from functools import reduce

import numpy as np
import pytest

from galflow.errors import SpecError
from galflow.scores.distributions import Counts, Histogram


def _parts(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = [rng.normal(1e3, 1.0, 500), rng.normal(0, 5, 3), np.empty(0), rng.exponential(2.0, 1000), np.zeros(7)]
    parts[3][:4] = [np.nan, np.inf, -np.inf, np.nan]
    return parts


def _merged_all_ways(empty, parts):
    """The same parts merged in order, reversed, as a tree, and added to one another."""
    singles = [empty.add(part) for part in parts]
    yield reduce(lambda a, b: a.merge(b), singles, empty)
    yield reduce(lambda a, b: b.merge(a), singles, empty)
    yield singles[0].merge(singles[1]).merge(singles[2].merge(singles[3]).merge(singles[4]))
    yield reduce(lambda a, part: a.add(part), parts, empty)
    yield empty.add(np.concatenate(parts))


def _through_json(value):
    return type(value).from_json(json.loads(json.dumps(value.to_json(), allow_nan=False)))


def test_counts():
    whole = Counts.empty().add(["scored", "scored", "not scored: NO_DATA"]).merge(Counts.empty().add(["scored"]))
    assert whole.by_name == {"scored": 3, "not scored: NO_DATA": 1}
    assert _through_json(whole) == whole
    assert whole.add([]) == whole
    assert whole != Counts.empty()


def test_histogram_is_numpys_and_merges_exactly():
    edges = np.array([-2.0, 0.0, 0.5, 3.0, 1001.0])
    parts = _parts(6)
    values = np.concatenate(parts)
    finite = values[np.isfinite(values)]
    for merged in _merged_all_ways(Histogram.empty(edges), parts):
        np.testing.assert_array_equal(merged.bins, np.histogram(finite, edges)[0])
        assert merged.underflow == np.sum(finite < -2.0)
        assert merged.overflow == np.sum(finite > 1001.0)
        assert merged.counts.sum() + merged.non_finite == values.size
        assert merged.non_finite == 4
        assert _through_json(merged) == merged


def test_histogram_edges():
    histogram = Histogram.empty([0.0, 1.0, 2.0]).add([0.0, 1.0, 2.0, np.nextafter(2.0, 3.0), -0.1])
    assert histogram.counts.tolist() == [1, 1, 2, 1]
    with pytest.raises(SpecError, match="do not merge"):
        histogram.merge(Histogram.empty([0.0, 1.0]))
    for bad in ([1.0], [1.0, 1.0], [0.0, np.inf]):
        with pytest.raises(SpecError, match="finite, increasing"):
            Histogram.empty(bad)
