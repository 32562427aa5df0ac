"""Which objects train, validate and calibrate: by hash of what an object is, so that reprocessing moves nobody.

An object of the sky is on one side only, and so are objects that lie close together or are near-duplicates of one
another. This file reads no pixels.
"""

from __future__ import annotations

import enum

import numpy as np

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_NORMAL, Flag, has_flag
from galflow.cutouts.identities import can_be_primary


class Split(enum.StrEnum):
    """What a normal object is used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    REFERENCE = "reference"
    """Held out from all training; its scores calibrate those of all objects."""


def side_of(u: np.ndarray, validation: float, reference: float) -> np.ndarray:
    """(N,) 0, 1 or 2 for numbers in [0, 1): validation, reference or training, in this order."""
    beyond: np.ndarray = (u >= validation).astype(np.int64) + (u >= validation + reference)
    return beyond


_SIDES = (Split.VALIDATION, Split.REFERENCE, Split.TRAIN)


def splits(cutouts: CutoutSet, validation: float, reference: float) -> np.ndarray:
    """(N,) each row's split, None for a row that takes no part.

    A row takes part if it is its object's primary row and nothing is known against it, and if no such object nearby
    falls on an earlier side (validation before reference before training): of two close objects on different sides the
    later one is left out.
    """
    join = cutouts.join
    side = side_of(join.split_hash, validation, reference)
    alone = side_of(join.neighbour_hash, validation, reference) >= side
    chosen = normal_rows(cutouts) & alone
    found: np.ndarray = np.array([str(s) for s in _SIDES], dtype=object)[side]
    found[~chosen] = None
    return found


def learnt_rows(cutouts: CutoutSet, validation: float, reference: float) -> np.ndarray:
    """(N,) bool: rows of objects that train, be it by another row: second rows of an object show the same galaxy."""
    trains = splits(cutouts, validation, reference) == str(Split.TRAIN)
    side = side_of(cutouts.join.split_hash, validation, reference)
    second = has_flag(marked_flags(cutouts), Flag.DUPLICATE) & (side == _SIDES.index(Split.TRAIN))
    return np.asarray(trains | second)


def marked_flags(cutouts: CutoutSet) -> np.ndarray:
    """(N,) the set's flags, and DUPLICATE for second rows of objects that another tile has deeper inside."""
    flags = cutouts.read("flags")
    second = can_be_primary(flags) & ~cutouts.join.is_primary
    return np.where(second, flags | int(Flag.DUPLICATE), flags)


def split_rows(cutouts: CutoutSet, split: Split, validation: float, reference: float) -> np.ndarray:
    """Row numbers of the objects of a split."""
    return np.flatnonzero(splits(cutouts, validation, reference) == str(split))


def normal_rows(cutouts: CutoutSet) -> np.ndarray:
    """(N,) bool: primary rows of objects without a known defect."""
    return ~has_flag(cutouts.read("flags"), NOT_NORMAL) & cutouts.join.is_primary
