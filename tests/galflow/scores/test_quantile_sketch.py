from __future__ import annotations

import json
from functools import reduce

import numpy as np
import pytest

from galflow.errors import SpecError
from galflow.scores.quantile_sketch import QuantileSketch

Q = np.linspace(0, 1, 201)


def _mixed(rng):
    values = np.concatenate([rng.normal(0, 1, 3000), 10 ** rng.uniform(-8, 8, 1000), -rng.exponential(50, 500)])
    return rng.permutation(np.concatenate([values, np.zeros(300)]))


@pytest.mark.parametrize("accuracy", [0.01, 0.001, 0.1])
def test_quantiles_are_within_the_declared_accuracy(accuracy):
    values = _mixed(np.random.default_rng(8))
    estimate = QuantileSketch.empty(accuracy).add(values).quantiles(Q)
    exact = np.quantile(values, Q, method="lower")
    assert np.all(np.abs(estimate - exact) <= accuracy * (1 + 1e-9) * np.abs(exact))
    assert np.all(np.diff(estimate) >= 0)
    assert (estimate[0], estimate[-1]) == (values.min(), values.max())


def test_merging_is_exact_in_any_order_and_grouping():
    rng = np.random.default_rng(9)
    values = np.append(_mixed(rng), [np.nan, np.inf])
    empty = QuantileSketch.empty()
    whole = empty.add(values)
    assert (whole.count, whole.non_finite) == (4800, 2)
    singles = [empty.add(part) for part in np.array_split(rng.permutation(values), 9)]
    assert reduce(lambda a, b: a.merge(b), singles) == whole
    assert reduce(lambda a, b: b.merge(a), singles, empty) == whole
    assert reduce(lambda a, b: a.merge(b), singles[:4]).merge(reduce(lambda a, b: a.merge(b), singles[4:])) == whole
    assert whole.merge(singles[0]) != whole
    assert QuantileSketch.from_json(json.loads(json.dumps(whole.to_json(), allow_nan=False))) == whole
    assert whole.keys.size < 5000


def test_extreme_floats_keep_their_place():
    values = np.array([-1.7e308, -5e-324, 0.0, 5e-324, 1e-300, 1.7e308])
    estimate = QuantileSketch.empty().add(values).quantiles([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(estimate[[0, 2, 4, 5]], values[[0, 2, 4, 5]], rtol=0.01)
    assert estimate[1] <= 0 <= estimate[3] < 1e-300


def test_a_sketch_of_nothing_has_no_quantiles():
    empty = QuantileSketch.empty().add([np.nan])
    with pytest.raises(SpecError, match="of 0 values do not exist"):
        empty.quantiles([0.5])
    with pytest.raises(SpecError, match="0 <= q <= 1"):
        empty.add([1.0]).quantiles([1.5])
    assert QuantileSketch.from_json(json.loads(json.dumps(empty.to_json(), allow_nan=False))) == empty
    with pytest.raises(SpecError, match=r"accuracy 0\.01 and 0\.02 do not merge"):
        empty.merge(QuantileSketch.empty(0.02))
    with pytest.raises(SpecError, match=r"sketch accuracy is 0\.0"):
        QuantileSketch.empty(0.0)
