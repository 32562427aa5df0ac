"""Finds places of a tile where no source is, on which a simulated galaxy can be laid as if it were seen there.

Only the middle is kept free: neighbours farther out stay, as real objects have them. It refuses to make sky up: a tile
without such places is an error.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from galflow.errors import DataError
from galflow.surveys.base import UNUSABLE, Image
from galflow.surveys.reading.observed import largest_weight, weighted

_NEIGHBOURS = 16
"""Sources that may be so large as to reach a place although others lie nearer."""
_ROUNDS = 50
_USABLE_REACH = 2
"""All pixels this near to a place, in y and in x, must be data in all bands."""


def empty_places(
    images: Mapping[str, Image],
    x: np.ndarray,
    y: np.ndarray,
    reach: np.ndarray,
    *,
    count: int,
    size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """``(y, x)`` centre pixels, each (count,) int64, of squares of ``size`` pixels that lie within the tile.

    ``x``, ``y`` and ``reach``, (n,) in pixels: no place lies within ``reach`` of a source. Places are drawn evenly and
    may overlap. ``images``: the tile's bands on one grid (galflow.surveys.reading.common_grid). Raises DataError where
    they are not to be found, or for bands of different shape.
    """
    from scipy.spatial import cKDTree

    first = next(iter(images.values()))
    if len({image.flux.shape for image in images.values()}) != 1:
        shapes = ", ".join(f"{band} {image.flux.shape}" for band, image in images.items())
        raise DataError(f"empty places are places in all bands, on one grid; got shapes {shapes}, (y, x); align them")
    height, width = first.flux.shape
    if min(height, width) < size:
        raise DataError(
            f"a tile of {height} x {width} pixels holds no square of {size}; lower the stamp size to at most "
            f"{min(height, width)}"
        )
    tree = cKDTree(np.column_stack([y, x])) if len(x) else None
    half = size // 2
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    found = 0
    for _ in range(_ROUNDS):
        row = rng.integers(half, height - size + half + 1, size=4 * count)
        column = rng.integers(half, width - size + half + 1, size=4 * count)
        free = _usable(images, row, column)
        if tree is not None:
            distance, source = tree.query(np.column_stack([row, column]), k=min(_NEIGHBOURS, len(x)))
            distance, source = distance.reshape(len(row), -1), source.reshape(len(row), -1)
            free &= (distance > reach[source]).all(axis=1)
        rows.append(row[free])
        columns.append(column[free])
        found += int(free.sum())
        if found >= count:
            return np.concatenate(rows)[:count], np.concatenate(columns)[:count]
    raise DataError(
        f"only {found} of {count} empty places were found in {_ROUNDS * 4 * count} trials: the tile is too crowded or "
        "masked; lower min_separation or count"
    )


def _usable(images: Mapping[str, Image], row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """(n,) bool: whether the pixels around each place are data in every band."""
    around = np.arange(-_USABLE_REACH, _USABLE_REACH + 1)
    usable = np.ones(len(row), dtype=bool)
    for image in images.values():
        height, width = image.flux.shape
        y = np.clip(row[:, None, None] + around[:, None], 0, height - 1)
        x = np.clip(column[:, None, None] + around, 0, width - 1)
        usable &= np.isfinite(image.flux[y, x]).all(axis=(1, 2))
        if image.ivar is not None:
            usable &= weighted(image.ivar[y, x], largest_weight(image.ivar)).all(axis=(1, 2))
        if image.mask is not None:
            usable &= ((image.mask[y, x] & np.uint16(UNUSABLE)) == 0).all(axis=(1, 2))
    return usable
