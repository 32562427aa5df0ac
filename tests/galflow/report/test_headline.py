"""The headline: one sentence, which calls no sample different unless interval and corrected p-value both do."""

from __future__ import annotations

from typing import Any

import numpy as np

from galflow.compare.two_sample import compare_scalars, permutation_p
from galflow.report.headline import headline
from galflow.spec.models import Ratio

RATIO = Ratio("maf", "plain")


def compared(shifts: dict[str, float], column: str, permutations: int = 400) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    sky = rng.normal(0, 1, 300)
    found = {}
    for name, shift in shifts.items():
        values = rng.normal(shift, 1, 300)
        statistics = compare_scalars(sky, values, bootstraps=200, seed=0).to_json()
        p = permutation_p(sky, values, permutations=permutations, seed=0)
        found[name] = {column: {"statistics": statistics, "p": p}}
    return found


def matched(samples: dict[str, Any]) -> dict[str, Any]:
    by = [{"column": "magnitude"}, {"column": "size"}]
    return {"matched": {name: {"columns": of, "matched_by": by} for name, of in samples.items()}, "samples": {}}


def test_it_says_which_samples_differ_and_which_cannot_be_told_apart():
    found = matched(compared({"armless": -1.5, "odd": 1.0, "same": 0.0}, RATIO.column))
    said = headline(found, [RATIO], "vae_elbo")
    assert said is not None
    assert said.startswith("At equal magnitude and size, llr_maf_plain finds armless (AUROC 0.1")
    assert "less like the survey, and finds odd (AUROC 0.7" in said
    assert "more like the survey than the sky's own galaxies, and cannot tell same (AUROC 0." in said
    assert said.count(". ") == 0, "one sentence"


def test_without_matching_it_says_that_brightness_counts():
    found = {"samples": compared({"bright": 1.5}, "bpd_maf")}
    said = headline(found, [], "vae_elbo")
    assert said is not None
    assert said.startswith("With brightness and size not held equal, bpd_maf finds bright (AUROC 0.8")
    assert said.endswith("less probable than the sky's own galaxies.")


def test_neither_an_interval_nor_a_p_value_is_enough_alone():
    found = compared({"far": -1.5}, RATIO.column)
    found["far"][RATIO.column]["p"]["auroc"] = 0.06
    assert "cannot tell far" in str(headline(matched(found), [RATIO], ""))
    found = compared({"far": -1.5}, RATIO.column)
    found["far"][RATIO.column]["statistics"]["auroc"]["high"] = 0.51
    assert "cannot tell far" in str(headline(matched(found), [RATIO], ""))


def test_a_p_value_is_corrected_for_the_number_of_samples():
    found = compared(dict.fromkeys("abcd", -1.5), RATIO.column)
    for of in found.values():
        of[RATIO.column]["p"]["auroc"] = 0.02
    assert "cannot tell a (AUROC" in str(headline(matched(found), [RATIO], ""))
    assert "finds a (AUROC" in str(headline(matched({"a": found["a"]}), [RATIO], ""))


def test_nothing_compared_is_nothing_said():
    assert headline(None, [], "vae_elbo") is None
    assert headline({"samples": {"bright": {}}}, [], "vae_elbo") is None
