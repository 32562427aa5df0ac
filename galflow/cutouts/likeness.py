"""Copies of one image among ready-made ones, which no position tells apart: found by their pixels, kept on one side.

When a set is cut, each image gets a hash and a small picture of itself; when sets are joined, these are compared.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.identities import can_be_primary, hashed_unit
from galflow.cutouts.set_writing import Pixels
from galflow.surveys.reading.near_duplicates import NO_HASH, image_hashes, image_vectors, near_duplicate_groups

IMAGE_HASH, IMAGE_VECTOR = "image_hash", "image_vector"
_AT_ONCE = 1024


def likeness(pixels: Pixels, flags: np.ndarray) -> dict[str, np.ndarray]:
    """Hash, (N,) uint64, and picture, (N, elements) float16, of each cutout; no hash of one that is not primary.

    ``flags``: (N,), of which planted copies have theirs.
    """
    parts = [slice(start, start + _AT_ONCE) for start in range(0, max(1, len(pixels)), _AT_ONCE)]
    observed = [pixels.ivar[part] > 0 for part in parts]
    hashes = np.concatenate([image_hashes(pixels.flux[p], o) for p, o in zip(parts, observed, strict=True)])
    vectors = np.concatenate([image_vectors(pixels.flux[p], o) for p, o in zip(parts, observed, strict=True)])
    hashes[~can_be_primary(flags)] = NO_HASH
    return {IMAGE_HASH: hashes, IMAGE_VECTOR: vectors}


def read_likeness(cutouts: CutoutSet) -> tuple[np.ndarray, np.ndarray] | None:
    """What ``likeness`` gave; None for a survey whose objects are no ready-made images."""
    if not cutouts.has(IMAGE_HASH):
        return None
    return cutouts.read(IMAGE_HASH), cutouts.read(IMAGE_VECTOR)


def copy_hashes(sets: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """For each set (N,) in [0, 1): one number for all copies of an image, in all sets; NaN for an image without one."""
    hashes = np.concatenate([of for of, _ in sets])
    groups = near_duplicate_groups(hashes, vectors=np.concatenate([of for _, of in sets]))
    _, number, count = np.unique(groups, return_inverse=True, return_counts=True)
    # The least hash of a group names it, wherever its images lie.
    least = np.full(len(count), NO_HASH)
    np.minimum.at(least, number, hashes)
    found = np.where((count > 1)[number], hashed_unit(least[number]), np.nan)
    return np.split(found, np.cumsum([len(of) for of, _ in sets])[:-1])


Likeness = tuple[np.ndarray, np.ndarray]


class KnownCopies:
    """Which images are copies of each other, found once for tiles that all have one another as neighbours."""

    def __init__(self) -> None:
        self._products: frozenset[str] = frozenset()
        self._found: dict[str, np.ndarray] = {}

    def of(self, products: Sequence[str], sets: Sequence[Likeness | None]) -> np.ndarray | None:
        """(N,) for the first of these sets, as ``copy_hashes``; None if its rows are no ready-made images."""
        if sets[0] is None:
            return None
        having = {product: of for product, of in zip(products, sets, strict=True) if of is not None}
        if self._products != frozenset(having):
            self._products = frozenset(having)
            self._found = dict(zip(having, copy_hashes(list(having.values())), strict=True))
        return self._found[products[0]]
