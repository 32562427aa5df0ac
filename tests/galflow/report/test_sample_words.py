from __future__ import annotations

import pytest

from galflow.report.sample_words import begun, objects_of


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        ("tng50", "Galaxies of tng50"),
        ("empty_sky", "Cutouts of empty sky"),
        ("background_galaxies", "Single-Sersic galaxies"),
    ],
)
def test_a_sample_is_called_what_it_is(sample: str, words: str) -> None:
    assert begun(objects_of(sample)) == words
