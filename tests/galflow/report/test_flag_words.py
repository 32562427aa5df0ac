from __future__ import annotations

from galflow.cutouts.flags import Flag
from galflow.report.flag_words import FLAG_WORDS, flag_words


def test_every_flag_has_words_of_its_own():
    assert set(FLAG_WORDS) == set(Flag)
    assert len(set(FLAG_WORDS.values())) == len(Flag)


def test_words_come_in_the_order_of_the_bits():
    assert flag_words(int(Flag.TRAIL | Flag.EDGE)) == ["at the edge of its tile", "satellite trail"]
    assert flag_words(0) == []
