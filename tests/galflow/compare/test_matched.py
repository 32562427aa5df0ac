"""Matched comparison: what brightness alone makes goes, what form makes stays, and equal samples are called equal."""

from __future__ import annotations

import json

import numpy as np
import pytest

from galflow.compare.classifier import classifier_two_sample
from galflow.compare.matched import MatchedSamples, Matching, compare_at_equal_properties
from galflow.compare.matching import match_counts
from galflow.compare.populations import Population
from galflow.compare.realism import order_of_samples
from galflow.compare.two_sample import STATISTICS, permutation_p
from galflow.errors import DataError
from galflow.spec.comparison import MatchSpec

MAGNITUDE = Matching((MatchSpec(column="magnitude", bins=12),), bootstraps=100, seed=3)


def population(n: int, rng: np.random.Generator, *, brighter: float = 0.0, clumps: float = 0.0) -> Population:
    """Galaxies whose likelihood follows their magnitude, and falls with their clumps, by ``clumps`` standard errors."""
    magnitude = rng.normal(21 - brighter, 1, n)
    size = rng.normal(0, 0.3, n)
    ratio = rng.normal(-clumps, 1, n)
    scores = {"loglike": 50 * magnitude + rng.normal(0, 10, n) - 10 * clumps, "llr": ratio}
    return Population(scores, np.stack([magnitude, size], axis=1)[:, :1], left_out=2)


def test_brightness_goes_and_form_stays() -> None:
    rng = np.random.default_rng(1)
    sky = population(1500, rng)
    brighter = compare_at_equal_properties(sky, population(1500, rng, brighter=1.0), MAGNITUDE).found
    clumpy = compare_at_equal_properties(sky, population(1500, rng, clumps=1.8), MAGNITUDE).found
    assert 0.45 < brighter["columns"]["llr"]["statistics"]["auroc"]["value"] < 0.55
    assert brighter["columns"]["llr"]["p"]["auroc"] > 0.01
    raw = np.mean(sky.scores["loglike"][:, None] > population(300, rng, brighter=1.0).scores["loglike"])
    assert raw > 0.7, "unmatched, brightness alone tells them apart"
    matched = brighter["columns"]["loglike"]["statistics"]["auroc"]
    assert 0.45 < matched["value"] < 0.55
    assert clumpy["columns"]["llr"]["statistics"]["auroc"]["high"] < 0.2
    assert clumpy["columns"]["llr"]["p"] == dict.fromkeys(STATISTICS, 1 / 101)
    assert clumpy["classifier"]["auroc"]["low"] > 0.8
    assert clumpy["columns"]["llr"]["halves"]["p"]["ks"] > 0.01, "two halves of the sky are alike"
    json.dumps(clumpy)


def test_a_small_difference_within_cells_is_seen_beside_a_large_one_between_them() -> None:
    """Exchanged within pairs, 1 is 5 standard errors; exchanged across cells it drowns in what magnitude does."""
    rng = np.random.default_rng(8)
    edges = MatchSpec(column="magnitude", edges=tuple(np.linspace(19, 23, 401)))
    sides = []
    for shift in (0.0, 1.0):
        magnitude = rng.uniform(19, 23, 4000)
        score = 50 * magnitude + shift + rng.normal(0, 3, 4000)
        sides.append(Population({"loglike": score}, magnitude[:, None], 0))
    found = compare_at_equal_properties(*sides, Matching((edges,), bootstraps=200)).found["columns"]["loglike"]
    assert found["p"]["auroc"] < 0.02
    assert permutation_p(*(side.scores["loglike"] for side in sides), permutations=200)["auroc"] > 0.2


def test_what_is_left_out_is_counted_and_adds_up() -> None:
    rng = np.random.default_rng(2)
    sky, sample = population(400, rng), population(300, rng, brighter=0.5)
    sample.properties[:7] = np.nan
    sample.scores["llr"][10:15] = np.nan
    found = compare_at_equal_properties(sky, sample, MAGNITUDE).found
    left = found["left_out"]["sample"]
    assert (left["without a property"], left["without a score"], left["defect or missing pixels"]) == (7, 5, 2)
    for side, n in (("survey", 400), ("sample", 300)):
        counted = {why: count for why, count in found["left_out"][side].items() if not why.startswith("defect")}
        assert found["pairs"] + sum(counted.values()) == n
    cells = found["cells"]
    assert {len(cell["bins"]) for cell in cells} == {1}
    assert sum(cell["n_a"] for cell in cells) <= 400


def test_cells_tell_where_a_sample_differs() -> None:
    rng = np.random.default_rng(5)
    sky, sample = population(3000, rng), population(3000, rng)
    faint = sample.properties[:, 0] > 22
    sample.scores["llr"][faint] -= 2.0
    edges = MatchSpec(column="magnitude", edges=(18, 20, 22, 24))
    cells = compare_at_equal_properties(sky, sample, Matching((edges,), bootstraps=50)).found["cells"]
    aurocs = {cell["bins"][0]: cell["columns"]["llr"]["auroc"] for cell in cells}
    assert aurocs[2] < 0.15
    assert 0.45 < aurocs[0] < 0.55
    assert 0.45 < aurocs[1] < 0.55


def test_samples_that_cannot_be_matched_are_told_why() -> None:
    rng = np.random.default_rng(6)
    sky = population(200, rng)
    with pytest.raises(DataError, match=r"values of column 'magnitude' do not overlap: the survey's objects have"):
        compare_at_equal_properties(sky, population(200, rng, brighter=50), MAGNITUDE)
    sample = population(200, rng)
    sample.properties[:] = np.nan
    with pytest.raises(DataError, match=r"none of the sample's objects has a value in column 'magnitude'"):
        compare_at_equal_properties(sky, sample, MAGNITUDE)
    with pytest.raises(DataError, match=r"only \d+ of 200 held-out objects of the survey and 10 of the sample"):
        compare_at_equal_properties(sky, population(10, rng), MAGNITUDE)
    reasons: list[str] = []
    found = MatchedSamples(sky, {"mock": sample}, MAGNITUDE).compare(reasons)
    assert found == {"matched": {}}
    assert reasons == ["mock, matched: none of the sample's objects has a value in column 'magnitude'; samples cannot "
                       "be matched by it"]  # fmt: skip


def test_three_samples_are_put_in_the_order_of_their_realism() -> None:
    rng = np.random.default_rng(7)
    sky = population(2000, rng)
    samples = {
        name: population(1000, rng, clumps=clumps) for name, clumps in (("far", 0.9), ("near", 0.2), ("mid", 0.5))
    }
    found = MatchedSamples(sky, samples, MAGNITUDE).compare([])
    order = found["order"]["llr"]
    assert [row["sample"] for row in order["samples"]] == ["near", "mid", "far"]
    assert order["holds"] >= 0.95
    assert [(row["rank_low"], row["rank_high"]) for row in order["samples"]] == [(1, 1), (2, 2), (3, 3)]
    tied = order_of_samples({"a": rng.random(200), "b": rng.random(200)})
    assert 0.2 < tied["holds"] < 0.8


@pytest.mark.parametrize("matched", [False, True])
def test_two_halves_of_one_population_differ_as_often_as_the_level_says(matched: bool) -> None:
    """At the 5% level in 5% of 200 repeats, within 3.5 standard errors, for each statistic and the classifier."""
    repeats, found = 200, []
    for repeat in range(repeats):
        rng = np.random.default_rng([9, repeat])
        one, two = population(90, rng), population(90, rng)
        a, b = one.stacked(["loglike", "llr"]), two.stacked(["loglike", "llr"])
        if matched:
            edges = [np.quantile(np.concatenate([one.properties, two.properties]), np.linspace(0, 1, 5))]
            pairs = match_counts(one.properties, two.properties, edges, rng)
            a, b = a[pairs.index_a], b[pairs.index_b]
        p = permutation_p(a[:, 1], b[:, 1], permutations=99, seed=repeat, paired=matched)
        classifier = classifier_two_sample(a, b, repeat, folds=2, bootstraps=99, paired=matched)
        found.append([*p.values(), classifier.p])
    shares = (np.array(found) <= 0.05).mean(axis=0)
    assert (np.abs(shares - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 / repeats)).all(), shares


@pytest.mark.full
def test_halves_of_one_population_differ_as_often_as_the_level_says_in_a_runs_own_path() -> None:
    """The whole matched comparison of 200 repeats: a minute."""
    found = []
    for repeat in range(200):
        rng = np.random.default_rng([10, repeat])
        matching = Matching(MAGNITUDE.match, bootstraps=99, seed=repeat)
        result = compare_at_equal_properties(population(300, rng), population(300, rng), matching).found
        found.append([*result["columns"]["llr"]["p"].values(), *result["columns"]["loglike"]["p"].values(),
                      *result["columns"]["llr"]["halves"]["p"].values(), result["classifier"]["p"]])  # fmt: skip
    shares = (np.array(found) <= 0.05).mean(axis=0)
    assert (np.abs(shares - 0.05) < 3.5 * np.sqrt(0.05 * 0.95 / 200)).all(), shares
