"""Which stretch a specification asks for: chosen, implied by its numbers, or left to the survey's pixels."""

from __future__ import annotations

import json
from typing import Any

import pytest

from galflow.spec.run import parse_spec
from galflow.spec.stretch import StretchSpec


@pytest.mark.parametrize(
    ("given", "of_pictures", "of_flux"),
    [
        ({}, "linear", "asinh"),
        ({"kind": None}, "linear", "asinh"),
        ({"kind": "linear"}, "linear", "linear"),
        ({"kind": "asinh"}, "asinh", "asinh"),
        ({"softening_sigma": 3.0}, "asinh", "asinh"),  # the default, but somebody wrote it
        ({"white_sigma": 300}, "asinh", "asinh"),
        ({"sky_sigma": {"r": 2.0}}, "asinh", "asinh"),
        ({"kind": None, "white_sigma": 300}, "asinh", "asinh"),  # as a form sends it
    ],
)
def test_the_kind_follows_the_pixels_unless_something_is_chosen(
    given: dict[str, Any], of_pictures: str, of_flux: str
) -> None:
    spec = StretchSpec.model_validate(given)
    assert (spec.kind_for(True), spec.kind_for(False)) == (of_pictures, of_flux)
    # As it is written down and read again: in manifests, as a flow's parameter.
    again = StretchSpec.model_validate(json.loads(spec.model_dump_json()))
    assert (again.kind_for(True), again.kind_for(False)) == (of_pictures, of_flux)


def test_a_run_that_says_nothing_leaves_it_to_the_pixels() -> None:
    document = {"name": "x", "survey": {"kind": "hubble"}, "models": [{"name": "k", "model": "kmeans.KMeans"}]}
    assert parse_spec(document).stretch.chosen is None
    assert parse_spec(parse_spec(document).model_dump(mode="json")).stretch.chosen is None
    assert parse_spec(document | {"stretch": {"white_sigma": 300}}).stretch.chosen == "asinh"


def test_models_differ_by_what_they_see_and_those_from_before_keep_their_fingerprint() -> None:
    before = {"softening_sigma": 3.0, "white_sigma": 1000.0, "sky_sigma": None}
    assert StretchSpec().content() == before
    assert StretchSpec(white_sigma=300).content() == before | {"white_sigma": 300.0}
    kinds = [StretchSpec(), StretchSpec(kind="linear"), StretchSpec(kind="asinh"), StretchSpec(white_sigma=300),
             StretchSpec(kind="linear", white_sigma=300)]  # fmt: skip
    assert len({json.dumps(spec.content()) for spec in kinds}) == len(kinds)
