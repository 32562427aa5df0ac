"""What the report says of matched samples: no more than p-values allow, and every figure that the comparison has."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from galflow.compare.matched import MatchedSamples, Matching
from galflow.compare.populations import Population
from galflow.report.matched import order_rows, shown_samples
from galflow.spec.comparison import MatchSpec
from galflow.spec.models import Ratio

RATIO = Ratio("maf", "plain")


def population(n: int, rng: np.random.Generator, shift: float = 0.0) -> Population:
    properties = rng.normal(0, 1, (n, 3))
    return Population({"bpd_maf": rng.normal(4, 0.2, n), RATIO.column: rng.normal(-shift, 1, n)}, properties, 0)


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    match = tuple(MatchSpec(column=name, bins=2) for name in ("magnitude", "size", "index"))
    samples = {"alike": population(300, rng), "other": population(300, rng, 1.5)}
    found = MatchedSamples(population(300, rng), samples, Matching(match, bootstraps=60)).compare([])
    plain: dict[str, Any] = json.loads(json.dumps(found, sort_keys=True))
    return plain


def test_a_sentence_says_what_p_values_allow(comparison: dict[str, Any]) -> None:
    alike, other = shown_samples(comparison, [RATIO])
    assert "llr_maf_plain alone does not tell them apart" in alike.sentence
    assert "a classifier of all scores does not tell them apart either" in alike.sentence
    assert "galaxies of other have lower llr_maf_plain" in other.sentence
    assert "a classifier of all scores tells them apart" in other.sentence
    assert (
        f"In {other.pairs} pairs of galaxies of other and galaxies of the sky of equal magnitude, size, index, "
        in other.sentence
    )
    assert [row.column for row in other.rows] == ["llr_maf_plain", "bpd_maf"]


def test_the_map_has_a_panel_a_bin_of_the_third_property(comparison: dict[str, Any]) -> None:
    shown = shown_samples(comparison, [RATIO])[1]
    assert shown.figure is not None
    svg = base64.b64decode(shown.figure.partition(",")[2]).decode()
    assert svg.count("QuadMesh") == 2


def test_the_order_is_of_the_ratio_with_its_certainty(comparison: dict[str, Any]) -> None:
    found = order_rows(comparison, [RATIO])
    assert found is not None
    column, holds, rows = found
    assert column == "llr_maf_plain"
    assert [row.sample for row in rows] == ["alike", "other"]
    assert holds == "100%"
    assert order_rows({"matched": {}}, [RATIO]) is None
    assert shown_samples(None, []) == []


def test_an_interval_that_holds_a_half_claims_nothing_whatever_p_says(comparison: dict[str, Any]) -> None:
    found = json.loads(json.dumps(comparison))
    one = found["matched"]["other"]
    one["columns"][RATIO.column]["statistics"]["auroc"]["high"] = 0.51
    one["classifier"]["auroc"]["low"] = 0.49
    sentence = shown_samples(found, [RATIO])[1].sentence
    assert "llr_maf_plain alone does not tell them apart" in sentence
    assert "a classifier of all scores does not tell them apart either" in sentence
