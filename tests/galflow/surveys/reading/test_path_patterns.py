"""Patterns of paths: what they match, what their placeholders stand for, and how soon that is known."""

from __future__ import annotations

import re
import time

import pytest

from galflow.errors import SpecError
from galflow.surveys.reading.path_patterns import Hole, PathPattern

TILE = {"tile": Hole(), "tile:path": Hole(across=True), "band": Hole(among=("g", "g2"))}
CASES = [
    ("*.fits", "a.fits", {}),
    ("*.fits", "x/a.fits", None),
    ("**.fits", "x/a.fits", {}),
    ("**/*.fits", "a.fits", None),
    ("x[1].fits", "x[1].fits", {}),
    ("x.fits", "xyfits", None),
    ("{tile}/{band}.fits", "t1/g2.fits", {"tile": "t1", "band": "g2"}),
    ("{tile}/{band}.fits", "t1/r.fits", None),
    ("{tile}/{tile}_{band}.fits", "t1/t1_g.fits", {"tile": "t1", "band": "g"}),
    ("{tile}/{tile}_{band}.fits", "t1/t2_g.fits", None),
    ("{tile:path}/i.fits", "a/b/i.fits", {"tile": "a/b"}),
    ("*/*/*-{tile}-*.fits", "a/b/x-y-z-w.fits", {"tile": "z"}),
    ("**/**/{tile}_*_*_*.fits", "a/b/x_y_z_w_v.fits", {"tile": "x_y"}),
    ("*_*_*_*{tile}.fits", "a_b_c_d.fits", {"tile": "d"}),
]


@pytest.mark.parametrize(("pattern", "path", "found"), CASES)
@pytest.mark.parametrize("few", [0, 99])
def test_with_and_without_a_regular_expression(
    pattern: str, path: str, found: dict[str, str] | None, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galflow.surveys.reading.path_patterns._FEW", few)
    assert PathPattern(pattern, TILE).match(path) == found


@pytest.mark.parametrize("pattern", ["**a" * 40 + "b.fits", "*a" * 40 + "b.fits", "**/" * 40 + "{tile}.fits"])
def test_forty_wildcards_are_soon_known_not_to_match(pattern: str) -> None:
    wanted = PathPattern(pattern, TILE)
    started = time.monotonic()
    for path in ("a" * 250 + ".fits", "a/" * 120 + "c.fit"):
        assert wanted.match(path) is None
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize(
    ("pattern", "glob"), [("{tile}/x*{band}", "*/x**"), ("{tile:path}/{tile}", "**/**"), ("a", "a")]
)
def test_a_glob_takes_what_the_pattern_takes(pattern: str, glob: str) -> None:
    assert PathPattern(pattern, TILE).glob == glob


def test_an_unknown_placeholder_is_refused_with_those_there_are() -> None:
    with pytest.raises(SpecError, match=re.escape("{tle}; expected {tile}, {tile:path}, {band}")):
        PathPattern("{tle}.fits", TILE)
    assert PathPattern("{tle}.fits").match("{tle}.fits") == {}
