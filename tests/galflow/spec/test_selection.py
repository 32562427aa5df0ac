"""The part survey.select: how it may be written, what is refused, and that its absence changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from galflow.errors import SpecError
from galflow.spec.run import RunSpec, parse_spec
from galflow.spec.selection import BoxSpec


def specified(select: Any = None) -> RunSpec:
    survey = {"kind": "synthetic"} | ({} if select is None else {"select": select})
    return parse_spec({"name": "x", "survey": survey, "models": [{"name": "k", "model": "kmeans.KMeans"}]})


def test_a_rule_is_a_text_or_has_a_name() -> None:
    spec = specified({"where": ["mag  <\n 22", {"name": "too far", "rule": "z < 0.1"}]})
    assert spec.survey.selection is not None
    assert [rule.reason for rule in spec.survey.selection.where] == ["mag < 22", "too far"]
    assert parse_spec(spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize("select", [None, {}, {"where": [], "regions": []}])
def test_without_a_selection_the_content_is_what_it_was_before_there_were_any(select: Any) -> None:
    spec = specified(select)
    assert spec.survey.selection is None
    assert spec.content()["survey"] == {"kind": "synthetic", "name": None, "release": "1", "options": {}}


def test_all_that_is_wrong_is_told_at_once_with_its_place() -> None:
    regions = [
        {"box": {"ra_deg": [1, 2], "dec_deg": [3, 2]}},
        {"polygon": [[0, 0], [1, 1]]},
        {"circle": {"ra_deg": 1, "dec_deg": 91, "radius_deg": 1}},
        {"polygon": [[0, 0], [120, 0], [240, 0]]},
        {"polygon": [[0, 0], [90, 0], [170, 0]]},
        {},
    ]
    with pytest.raises(SpecError) as refused:
        specified({"where": ["mag <", {"rule": "open('x')"}, 3], "regions": regions, "stars": "yes", "mag": 3})
    for place in ("where.0.rule", "where.1.rule", "where.2", "regions.0.box", "regions.1.polygon", "regions.2.circle",
                  "regions.3", "regions.4", "regions.5", "stars", "mag"):  # fmt: skip
        assert f"survey.select.{place}" in str(refused.value), str(refused.value)


def test_two_rules_of_one_name_could_not_be_counted_apart() -> None:
    with pytest.raises(SpecError, match="rules must differ in name or text, but 'cut' occurs more than once"):
        specified({"where": [{"name": "cut", "rule": "a > 1"}, {"name": "cut", "rule": "b > 1"}]})


@pytest.mark.parametrize(("edges", "width"), [((350, 10), 20), ((10, 350), 340), ((-10, 10), 20), ((0, 360), 360)])
def test_the_width_of_a_box_through_zero(edges: tuple[float, float], width: float) -> None:
    assert BoxSpec(ra_deg=edges, dec_deg=(0, 1)).width_deg == width
