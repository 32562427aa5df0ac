"""What a cutout set alone says of its rows, and hashes that are the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.cutouts.identities import Identities, can_be_primary, hashed_unit
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.errors import DataError, IntegrityError
from galflow.spec.run import CutoutSpec
from galflow.storage.store import Store

MakeData = Callable[..., CutoutData]


@pytest.fixture
def stored(data: MakeData, local_store: Store) -> Callable[..., CutoutSet]:
    def store(**columns: Any) -> CutoutSet:
        made = data(n=4, **columns)
        names = ["ra" if n == "ra_deg" else "dec" if n == "dec_deg" else n for n in made.rows.column_names]
        rows = made.rows.rename_columns(names)
        made = CutoutData(made.flux, made.ivar, made.mask, rows, made.attributes)
        write_cutout_set(local_store, "set.zarr", made, CutoutSpec(size=8))
        return CutoutSet(local_store, "set.zarr")

    return store


def test_hash_is_splitmix64s_first_output() -> None:
    # 0xE220A8397B1DCDAF, 0x910A2DEC89025CC1: outputs of the generator for seeds 0 and 1 (Steele+14, reference code).
    expected = np.array([0xE220A8397B1DCDAF, 0x910A2DEC89025CC1], np.uint64)
    np.testing.assert_array_equal(hashed_unit(np.array([0, 1])), (expected >> np.uint64(11)) / 2.0**53)
    assert hashed_unit(np.array([-1]))[0] == hashed_unit(np.array([2**64 - 1], np.uint64))[0]
    u = hashed_unit(np.arange(20_000))
    np.testing.assert_allclose(np.histogram(u, 10, (0, 1))[0] / 2000, 1, atol=0.1)


def test_planted_copies_and_repeated_ids_are_never_primary(stored: Callable[..., CutoutSet]) -> None:
    flags = np.array([0, Flag.PLANTED, Flag.DUPLICATE_ID, Flag.TRAIL], np.int64)
    np.testing.assert_array_equal(can_be_primary(flags), [True, False, False, True])
    found = Identities.of_one_tile(stored(flags=flags))
    np.testing.assert_array_equal(found.is_primary, [True, False, False, True])
    np.testing.assert_array_equal(found.split_hash, hashed_unit(found.object_id))
    assert np.isinf(found.neighbour_hash).all()


def test_the_surveys_own_primary_flags_decide(stored: Callable[..., CutoutSet]) -> None:
    found = Identities.of_one_tile(stored(is_primary=pa.array([True, False, None, True])))
    np.testing.assert_array_equal(found.is_primary, [True, False, True, True])


@pytest.mark.parametrize("group", [["a", "a", None, "b"], [7, 7, None, 9], [7.0, 7.0, None, 9.0]])
def test_a_group_of_near_duplicates_has_one_hash(group: list[Any], stored: Callable[..., CutoutSet]) -> None:
    found = Identities.of_one_tile(stored(group=pa.array(group)))
    u = found.split_hash
    assert u[0] == u[1] != u[3]
    assert u[2] == hashed_unit(found.object_id)[2]


def test_a_group_of_broken_numbers_is_refused(stored: Callable[..., CutoutSet]) -> None:
    with pytest.raises(DataError, match="must be whole numbers or texts"):
        _ = Identities.of_one_tile(stored(group=pa.array([0.5, 0.5, 1.5, 2.5]))).split_hash


def test_bytes_that_are_no_join_are_said_to_be_damaged() -> None:
    with pytest.raises(IntegrityError, match=r"there is no table of joined objects .*verify --discard"):
        Identities.parse(b"PAR1 cut off", "there")
