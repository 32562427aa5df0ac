"""Flags against their definitions, written out object by object."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.cutouts.flags import NOT_NORMAL, NOT_SCORED, Flag, has_flag, outcome_text, pixel_flags
from galflow.surveys.base import Plane

SIZE = 12


def _clean(n: int = 1, bands: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cutouts with a source in the middle and nothing wrong."""
    flux = np.zeros((n, bands, SIZE, SIZE), np.float32)
    flux[:, :, 5:8, 5:8] = 10.0
    return flux, np.ones_like(flux), np.zeros(flux.shape, np.uint16)


def _plain(flux: np.ndarray, ivar: np.ndarray, mask: np.ndarray, minimum: float) -> int:
    """The flags of one object by the words of their definitions."""
    seen = (ivar > 0).mean()
    found = 0
    found |= int(Flag.NO_DATA) if seen < minimum else 0
    found |= int(Flag.MISSING_PIXELS) if seen < 1 else 0
    found |= int(Flag.BAND_MISSING) if any(not (band > 0).any() for band in ivar) else 0
    for plane, flag in (
        (Plane.SATURATED, Flag.SATURATED),
        (Plane.TRAIL, Flag.TRAIL),
        (Plane.BRIGHT_STAR, Flag.BRIGHT_NEIGHBOUR),
    ):
        found |= int(flag) if any(int(v) & plane for v in mask.ravel()) else 0
    low, high = SIZE // 3, SIZE - SIZE // 3
    inner, outer = [0.0], [0.0]
    for y in range(SIZE):
        for x in range(SIZE):
            if ivar[0, y, x] > 0:
                (inner if low <= x < high and low <= y < high else outer).append(float(flux[0, y, x]))
    found |= int(Flag.BRIGHT_NEIGHBOUR) if max(outer) > 2 * max(inner) else 0
    return found


def test_has_flag_asks_for_any_of_the_named_bits() -> None:
    flags = np.array([0, int(Flag.PLANTED), int(Flag.EDGE | Flag.DUPLICATE_ID), int(Flag.EDGE)], np.int64)
    assert has_flag(flags, Flag.PLANTED).tolist() == [False, True, False, False]
    assert has_flag(flags, Flag.PLANTED | Flag.DUPLICATE_ID).tolist() == [False, True, True, False]


def test_a_clean_cutout_has_no_flag() -> None:
    assert pixel_flags(*_clean(3), 0.5).tolist() == [0, 0, 0]
    assert pixel_flags(*_clean(0), 0.5).shape == (0,)


def test_random_cutouts_have_the_flags_of_their_definitions() -> None:
    rng = np.random.default_rng(0)
    flux, ivar, mask = _clean(400)
    flux += rng.normal(0, 1, flux.shape).astype(np.float32)
    for i in range(len(flux)):
        if i % 2:
            ivar[i][rng.random(ivar[i].shape) < rng.choice([0.001, 0.3, 0.6, 1.0])] = 0
        if i % 3 == 0:
            flux[i, 0, rng.integers(SIZE), rng.integers(SIZE)] = rng.choice([15.0, 21.0, 50.0])
        if i % 5 == 0:
            ivar[i, rng.integers(2)] = 0
        if i % 7 == 0:
            mask[i, 1, rng.integers(SIZE), rng.integers(SIZE)] = rng.choice([int(p) for p in Plane])
        if i % 11 == 0:
            flux[i] -= 100.0  # a background taken off too deep: nothing is positive
    flux[ivar == 0] = np.nan
    expected = [_plain(flux[i], ivar[i], mask[i], 0.5) for i in range(len(flux))]
    assert pixel_flags(flux, ivar, mask, 0.5).tolist() == expected
    assert len(set(expected)) > 15


@pytest.mark.parametrize("size", [8, 9, 10, 11, 32])
def test_the_brightest_pixel_decides_by_where_it_lies(size: int) -> None:
    low, high = size // 3, size - size // 3
    for y, x in ((0, 0), (low - 1, low), (high, high - 1), (low, low), (high - 1, high - 1)):
        flux = np.ones((1, 1, size, size), np.float32)
        flux[0, 0, size // 2, size // 2] = 10.0
        flux[0, 0, y, x] = 25.0
        outside = not (low <= x < high and low <= y < high)
        flags = pixel_flags(flux, np.ones_like(flux), np.zeros(flux.shape, np.uint16), 0.5)
        assert bool(flags[0] & Flag.BRIGHT_NEIGHBOUR) == outside


def test_the_fraction_that_must_be_observed_is_as_given() -> None:
    flux, ivar, mask = _clean(2, bands=1)
    ivar[0, 0, :6], ivar[1, 0, :7] = 0, 0  # half, and less than half observed
    assert ((pixel_flags(flux, ivar, mask, 0.5) & Flag.NO_DATA) != 0).tolist() == [False, True]
    assert ((pixel_flags(flux, ivar, mask, 0.51) & Flag.NO_DATA) != 0).tolist() == [True, True]
    assert ((pixel_flags(flux, ivar, mask, 1.0) & Flag.NO_DATA) != 0).tolist() == [True, True]


def test_every_flag_is_a_bit_of_its_own_and_the_outcome_names_those_that_forbid() -> None:
    values = [int(f) for f in Flag]
    assert all(v.bit_count() == 1 for v in values)
    assert len(set(values)) == len(values)
    flags = np.array([0, int(Flag.EDGE), int(Flag.NO_DATA | Flag.EDGE), int(Flag.OUTSIDE | Flag.DUPLICATE_ID)])
    assert outcome_text(flags).tolist() == [
        "scored", "scored", "not scored: NO_DATA", "not scored: OUTSIDE, DUPLICATE_ID",
    ]  # fmt: skip
    assert not NOT_SCORED & Flag.PLANTED
    assert NOT_NORMAL & Flag.PLANTED


def test_cutouts_known_to_be_whole_are_not_searched_for_missing_pixels() -> None:
    flux, ivar, mask = _clean(4)
    ivar[1, 0, 0, 0] = ivar[2, 1] = 0
    mask[2, 1] = mask[3, 0, 4, 4] = Plane.SATURATED
    flux[0, 0, 0, 0] = 50.0
    every = pixel_flags(flux, ivar, mask, 0.5)
    assert every.all()
    whole = np.array([True, False, False, False])
    np.testing.assert_array_equal(pixel_flags(flux, ivar, mask, 0.5, whole), every)
    trusted = pixel_flags(flux, ivar, mask, 0.5, np.ones(4, bool))
    assert trusted.tolist() == [Flag.BRIGHT_NEIGHBOUR, 0, 0, 0]
