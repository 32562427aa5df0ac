import hashlib

import numpy as np
import pytest

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.identity import check_tile_size, id_base, object_ids, tile_keys


def test_a_key_is_the_head_of_the_names_sha256():
    digest = hashlib.sha256(b"9813/402").hexdigest()
    assert tile_keys(["9813/402"])["9813/402"] == int(digest[:16], 16) >> 31


def test_keys_differ_even_where_hashes_meet_and_do_not_depend_on_the_order():
    names = [f"tile{i}" for i in range(64)]
    heads = {hashlib.sha256(name.encode()).digest()[0] >> 2 for name in names}
    assert len(heads) < 64, "the test needs collisions to resolve"
    keys = tile_keys(names, bits=6)
    assert sorted(keys.values()) == list(range(64))
    assert tile_keys(reversed(names), bits=6) == keys


def test_a_name_that_meets_no_other_keeps_its_key_when_tiles_arrive():
    few, many = tile_keys(["a", "b"]), tile_keys(["a", "b", *(f"t{i}" for i in range(2000))])
    assert (many["a"], many["b"]) == (few["a"], few["b"])


@pytest.mark.parametrize(
    ("names", "bits", "text"), [(["a", "b", "a"], 33, "'a' is given twice"), ("abc", 1, "do not fit")]
)
def test_names_that_cannot_have_keys_are_refused(names, bits, text):
    with pytest.raises(SpecError, match=text):
        tile_keys(names, bits=bits)


def test_ids_are_exact_positive_and_tell_tile_and_pixel():
    key, pixels = (1 << 33) - 1, np.array([0, 12345, (1 << 30) - 1])
    ids = object_ids(key, pixels)
    assert ids.dtype == np.int64
    assert [int(i) >> 30 for i in ids] == [key] * 3
    assert [int(i) & ((1 << 30) - 1) for i in ids] == pixels.tolist()
    assert int(ids[-1]) == 2**63 - 1


def test_pixels_and_tiles_beyond_30_bits_are_refused():
    with pytest.raises(DataError, match="expected 0"):
        object_ids(1, np.array([1 << 30]))
    with pytest.raises(SpecError, match="take it from tile_keys"):
        id_base(1 << 33)
    check_tile_size((1 << 15, 1 << 15))
    with pytest.raises(DataError, match="cut it into smaller tiles"):
        check_tile_size((1 << 15, (1 << 15) + 1))
