"""The same galaxies in two samples: a shift that distributions hide is seen galaxy by galaxy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from galflow.compare.matched import MatchedSamples, Matching
from galflow.compare.pairs import compare_pairs
from galflow.compare.populations import Population
from galflow.compare.two_sample import compare_scalars
from galflow.errors import DataError
from galflow.spec.comparison import PairSpec

BY = ("galaxy",)


def sample(keys: list[str], values: np.ndarray) -> Population:
    return Population({"llr": values}, np.empty((len(keys), 0)), 0, {BY: np.array(keys, object)})


def test_a_small_shift_of_every_galaxy_is_seen() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(0, 5, 200)
    keys = [f"{i}/0" for i in range(200)]
    first = sample(keys, level + 0.2 + rng.normal(0, 0.1, 200))
    order = rng.permutation(200)
    second = sample([keys[i] for i in order], level[order])
    assert compare_scalars(first.scores["llr"], second.scores["llr"], bootstraps=100).auroc.low < 0.5, "hidden"
    found = compare_pairs(first, second, BY, bootstraps=500, seed=1)
    column = found["columns"]["llr"]
    assert found["pairs"] == column["n"] == 200
    assert column["difference"]["low"] < 0.2 < column["difference"]["high"]
    assert column["difference"]["high"] - column["difference"]["low"] < 0.05
    assert column["p"] == 1 / 501
    assert column["higher"]["value"] > 0.9
    json.dumps(found)


def test_what_has_no_partner_is_counted() -> None:
    rng = np.random.default_rng(1)
    keys = [f"g{i}" for i in range(30)]
    first = sample([*keys, "only", "twice", "twice", ""], rng.normal(0, 1, 34))
    second = sample([*keys[:25], "other"], rng.normal(0, 1, 26))
    found = compare_pairs(first, second, BY, bootstraps=100, seed=0)
    assert found["pairs"] == 25
    assert found["left_out"] == {"only in the first": 6, "only in the second": 1, "several objects of one key": 2}
    assert found["columns"]["llr"]["p"] > 0.01
    with pytest.raises(DataError, match=r"only 1 galaxies are in both samples \(1 and 1 keys, such as 'a' and 'a'\)"):
        compare_pairs(sample(["a"], np.zeros(1)), sample(["a"], np.zeros(1)), BY, bootstraps=10, seed=0)


def test_equal_samples_differ_as_often_as_the_level_says() -> None:
    found = []
    for repeat in range(300):
        rng = np.random.default_rng([3, repeat])
        keys = [str(i) for i in range(40)]
        level = rng.normal(0, 3, 40)
        first, second = (sample(keys, level + rng.normal(0, 1, 40)) for _ in range(2))
        found.append(compare_pairs(first, second, BY, bootstraps=99, seed=repeat)["columns"]["llr"]["p"])
    assert abs(np.mean(np.array(found) <= 0.05) - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 / 300)


def test_a_pair_that_cannot_be_compared_is_a_reason() -> None:
    matching = Matching((), pairs=(PairSpec(first="rt", second="plain", by=("galaxy",)),), bootstraps=50)
    nobody = sample([], np.empty(0))
    reasons: list[str] = []
    assert MatchedSamples(None, {"rt": nobody, "plain": nobody}, matching).compare(reasons) == {"pairs": []}
    assert reasons[0].startswith("rt and plain, in pairs: only 0 galaxies are in both samples")
