"""Who trains, validates and calibrates: shares by hash, nobody with a defect, close objects on one side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from galflow.cutouts.flags import Flag
from galflow.cutouts.identities import Identities
from galflow.cutouts.splits import Split, side_of, split_rows, splits


@dataclass(frozen=True)
class FakeSet:
    """A cutout set of flags and identities alone."""

    flags: np.ndarray
    join: Identities
    product: str = "fake"

    def read(self, name: str) -> np.ndarray:
        assert name == "flags"
        return self.flags


@pytest.fixture
def make() -> Callable[..., Any]:
    def made(u: Any, flags: Any = 0, primary: Any = True, neighbour: Any = np.inf) -> Any:
        u = np.asarray(u, float)
        every = [np.broadcast_to(np.asarray(v), u.shape) for v in (flags, primary, neighbour)]
        return FakeSet(every[0], Identities(np.arange(len(u)), every[1], u, every[2]))

    return made


def test_sides_are_intervals_of_the_hash() -> None:
    np.testing.assert_array_equal(side_of(np.array([0, 0.099, 0.1, 0.349, 0.35, 0.999]), 0.1, 0.25), [0, 0, 1, 1, 2, 2])


def test_shares_are_those_asked_for(make: Callable[..., Any]) -> None:
    found = splits(make(np.linspace(0, 1, 1000, endpoint=False)), 0.1, 0.25)
    assert [(found == s).sum() for s in ("validation", "reference", "train")] == [100, 250, 650]
    rows = split_rows(make([0.05, 0.15, 0.9]), Split.REFERENCE, 0.1, 0.25)
    np.testing.assert_array_equal(rows, [1])


@pytest.mark.parametrize("flag", list(Flag))
def test_known_defects_take_no_part(flag: Flag, make: Callable[..., Any]) -> None:
    harmless = {
        Flag.EDGE, Flag.BRIGHT_NEIGHBOUR, Flag.NON_FINITE, Flag.MISSING_PIXELS, Flag.BAND_MISSING, Flag.DUPLICATE,
        Flag.COSMIC_RAY, Flag.STAR,
    }  # fmt: skip
    (found,) = splits(make([0.9], flags=int(flag)), 0.1, 0.2)
    assert (found == "train") == (flag in harmless)


def test_second_rows_take_no_part(make: Callable[..., Any]) -> None:
    assert splits(make([0.9, 0.9], primary=[True, False]), 0.1, 0.2).tolist() == ["train", None]


def test_of_two_close_objects_on_two_sides_the_later_one_is_left_out(make: Callable[..., Any]) -> None:
    u = np.array([0.05, 0.15, 0.9, 0.9, 0.15, 0.05])
    neighbour = np.array([0.9, 0.05, 0.15, 0.95, 0.9, 0.01])
    assert splits(make(u, neighbour=neighbour), 0.1, 0.2).tolist() == [
        "validation", None, None, "train", "reference", "validation",
    ]  # fmt: skip
