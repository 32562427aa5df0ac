"""A user's regular expressions: as Python's where both mean the same, and never slow."""

from __future__ import annotations

import re
import time

import pytest

from galflow.errors import SpecError
from galflow.surveys.reading.text_patterns import TextPattern

NAMES = ["a/objectid0123_score7.jpg", "b/objectid99.jpg", "none.jpg", "x(1)[2]", "é12"]


@pytest.mark.parametrize(
    "pattern",
    [
        r"objectid(\d+)",
        r"(?P<id>\d+)",
        r"(\d+)\.",
        r"_(\w+)\.(jpg)",
        r"([^/]+)/",
        r"\((\d)\)",
        r"[([](\d)[])]",
        r"(é)(\d)",
    ],
)
def test_they_find_what_pythons_find(pattern: str) -> None:
    found = TextPattern(pattern)
    expected = [match.group(1) if (match := re.search(pattern, name)) else None for name in NAMES]
    assert found.find(NAMES, found.groups[0]).to_pylist() == expected
    assert len(found.groups) == re.compile(pattern).groups
    assert found.names == list(re.compile(pattern).groupindex)


@pytest.mark.parametrize(
    "pattern", [r"(a+)+$", r"((a|a)*)*$", r"(.*)(.*)(.*)(.*)(.*)(.*)=", r"(a|aa)+$", r"(\w+\s?)*$"]
)
def test_no_pattern_takes_longer_than_the_text_is(pattern: str) -> None:
    names = ["a" * 5000 + "!"] * 20
    began = time.perf_counter()
    found = TextPattern(pattern)
    found.find(names, found.groups[0])
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(?P<a", "is no regular expression"),
        (r"(?=x)(a)", "is no regular expression: .*without lookaround"),
        (r"(a)\1", "is no regular expression"),
        ("(" * 2000, "has 2,000 characters"),
        ("abc", "has no group in round brackets"),
        ("(?P<a>x)(?P<a>y)", "has two groups of one name"),
    ],
    ids=["unclosed", "lookahead", "reference", "long", "groupless", "twice"],
)
def test_what_is_not_taken_is_told(pattern: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        TextPattern(pattern)
