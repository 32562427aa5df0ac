"""Which rows of overlapping tiles are one object of the sky: mutual nearest neighbours, then one primary row each.

Plain geometry on arrays: this file reads no tile and knows no product. Two rows of one tile are never one object: a
tile's own catalogue tells its objects apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
from scipy.spatial import cKDTree

ARCSEC_PER_RADIAN = 180.0 * 3600.0 / np.pi
CUT_RADII = 3.0
"""A row this near to its tile's edge, in match radii, may be what the edge left of a galaxy whose centre is as far."""


def chord(angle_arcsec: float | np.ndarray) -> float | np.ndarray:
    """The straight distance, on the unit sphere, of two directions so many arcsec apart."""
    return 2.0 * np.sin(np.asarray(angle_arcsec) / ARCSEC_PER_RADIAN / 2.0)


@dataclass(frozen=True, eq=False)
class TileRows:
    """What matching needs to know of the rows of one tile. All arrays are (n,) or (n, 3)."""

    tile: str
    direction: np.ndarray
    """(n, 3) unit vectors; NaN for a row without a position."""
    scorable: np.ndarray
    """Bool: whether the row has pixels to be scored; one that has not is primary only if no other row is."""
    depth_arcsec: np.ndarray
    """Distance to the nearest edge of the tile, negative beyond it; NaN where unknown."""
    radius_arcsec: float
    """Rows of another tile nearer than this (or than that tile's own radius) are the same object."""

    def __len__(self) -> int:
        return len(self.direction)

    @property
    def placed(self) -> np.ndarray:
        """(n,) bool: rows that have a position."""
        return np.isfinite(self.direction).all(axis=1)

    def take(self, rows: np.ndarray) -> TileRows:
        """Some of the rows."""
        return TileRows(
            self.tile, self.direction[rows], self.scorable[rows], self.depth_arcsec[rows], self.radius_arcsec
        )


def mutual_pairs(a: np.ndarray, b: np.ndarray, radius_arcsec: float) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers in ``a`` and ``b``, (n, 3) and (m, 3) unit vectors, that are each other's nearest within a radius."""
    nothing = np.zeros(0, np.int64)
    if not len(a) or not len(b):
        return nothing, nothing
    limit = float(chord(radius_arcsec))
    distance, nearest = cKDTree(b).query(a, distance_upper_bound=limit)
    _, back = cKDTree(a).query(b, distance_upper_bound=limit)
    rows = np.flatnonzero(np.isfinite(distance))
    rows = rows[back[nearest[rows]] == rows]
    return rows, nearest[rows]


def primary_rows(tiles: Sequence[TileRows], *, matches: bool = True) -> list[np.ndarray]:
    """For each row of each tile the (tile number, row) of its object's primary row: (n, 2) int64, itself if primary.

    Rows are taken from the best to the worst: those with pixels first, then the deepest in its tile, then by tile name
    and row. Each that no better one has claimed is primary and claims its mutual nearest neighbour in every other
    tile, the mutual nearest neighbours of these in tiles that have no row of the object yet, and what else lies within
    the radius without a match: where a tile sees two objects and a tile that is deeper there sees one, it is one. What
    a tile's edge left of a galaxy is claimed by the nearest row of a deeper tile from ``CUT_RADII`` radii away. So an
    object has exactly one primary row, and the outcome depends on no order of the tiles. Without ``matches`` every
    row is primary.
    """
    starts = np.cumsum([0, *(len(t) for t in tiles)])
    primary = np.arange(starts[-1])
    if matches:
        mutual, loose = _matches(tiles, starts)
        involved = np.array(sorted({*mutual, *loose, *chain.from_iterable(loose.values())}), dtype=np.int64)
        tile_of = np.searchsorted(starts, involved, side="right") - 1
        owners = dict(zip(involved.tolist(), tile_of.tolist(), strict=True))
        unclaimed = set(owners)
        for row in involved[_best_first(tiles, starts, involved)].tolist():
            if row in unclaimed:
                mine = _claims(row, mutual, loose, owners, unclaimed)
                unclaimed -= mine
                primary[list(mine)] = row
    owner = np.searchsorted(starts, primary, side="right") - 1
    pairs = np.stack([owner, primary - starts[owner]], axis=-1)
    return np.split(pairs, starts[1:-1])


_Links = dict[int, list[int]]
"""Row -> rows of other tiles; numbers count through all tiles."""


def _claims(row: int, mutual: _Links, loose: _Links, tile_of: dict[int, int], unclaimed: set[int]) -> set[int]:
    """The rows of the object whose primary row this is, itself among them."""
    mine, tiles = {row}, {tile_of[row]}
    for step in (mutual.get(row, ()), [k for other in mutual.get(row, ()) for k in mutual[other]]):
        for other in step:
            if other in unclaimed and tile_of[other] not in tiles:
                mine.add(other)
                tiles.add(tile_of[other])
    return mine | unclaimed.intersection(loose.get(row, ()))


def _matches(tiles: Sequence[TileRows], starts: np.ndarray) -> tuple[_Links, _Links]:
    """Mutual nearest neighbours; and for each row those nearby that have none in the row's tile."""
    mutual: _Links = {}
    loose: _Links = {}
    placed = [np.flatnonzero(t.placed) for t in tiles]
    for i, j in combinations(range(len(tiles)), 2):
        radius = max(tiles[i].radius_arcsec, tiles[j].radius_arcsec)
        a, b = tiles[i].direction[placed[i]], tiles[j].direction[placed[j]]
        numbers = placed[i] + starts[i], placed[j] + starts[j]
        matched = mutual_pairs(a, b, radius)
        _link(mutual, numbers[0][matched[0]], numbers[1][matched[1]])
        _link(mutual, numbers[1][matched[1]], numbers[0][matched[0]])
        sides = (i, a), (j, b)
        for p, q in ((0, 1), (1, 0)):
            tile, rows = sides[q]
            depth = tiles[tile].depth_arcsec[placed[tile]]
            one, other = _strays(sides[p][1], rows, depth, matched[q], radius)
            _link(loose, numbers[p][one], numbers[q][other])
    return mutual, loose


def _link(links: _Links, rows: np.ndarray, others: np.ndarray) -> None:
    for row, other in zip(rows.tolist(), others.tolist(), strict=True):
        links.setdefault(row, []).append(other)


def _strays(
    a: np.ndarray, b: np.ndarray, depth_arcsec: np.ndarray, taken: np.ndarray, radius_arcsec: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a row of ``a``, (n, 3), and one of ``b``, (m, 3), without a match that may be one object all the same.

    Those within the radius, and the nearest row of ``a`` to a row of ``b`` that its tile's edge cuts: the centre of
    what is left of a galaxy lies beside the galaxy's own. ``depth_arcsec``: (m,), of ``b``; ``taken``: its rows that
    match.
    """
    alone = np.setdiff1d(np.arange(len(b)), taken)
    if not len(a) or not len(alone):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    tree = cKDTree(a)
    lists = tree.query_ball_point(b[alone], float(chord(radius_arcsec)))
    one = np.array([row for found in lists for row in found], dtype=np.int64)
    other = np.repeat(alone, [len(found) for found in lists])
    cut = alone[depth_arcsec[alone] < CUT_RADII * radius_arcsec]
    distance, nearest = tree.query(b[cut], distance_upper_bound=float(chord(CUT_RADII * radius_arcsec)))
    near = np.isfinite(distance)
    return np.concatenate([one, nearest[near]]), np.concatenate([other, cut[near]])


def _best_first(tiles: Sequence[TileRows], starts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The order of ``rows`` from the best to the worst."""
    owner = np.searchsorted(starts, rows, side="right") - 1
    by_name = np.argsort(np.argsort([t.tile for t in tiles]))
    scorable = np.concatenate([t.scorable for t in tiles])[rows]
    depth = np.nan_to_num(np.concatenate([t.depth_arcsec for t in tiles])[rows], nan=-np.inf)
    return np.lexsort((rows - starts[owner], by_name[owner], -depth, ~scorable))


def least_of_neighbours(direction: np.ndarray, values: np.ndarray, radius_arcsec: np.ndarray) -> np.ndarray:
    """(n,) the least of ``values`` among other rows nearby; infinite without such a row.

    ``direction``: (n, 3) unit vectors; a row whose is NaN is nobody's neighbour. ``radius_arcsec``: (n,); two rows are
    near if they are by the larger one of theirs, so that each sees the other.
    """
    least = np.full(len(values), np.inf)
    known = np.flatnonzero(np.isfinite(direction).all(axis=1))
    if len(known) < 2:
        return least
    pairs = cKDTree(direction[known]).query_pairs(float(chord(radius_arcsec[known].max())), output_type="ndarray")
    i, j = known[pairs[:, 0]], known[pairs[:, 1]]
    apart = np.linalg.norm(direction[i] - direction[j], axis=1)
    near = apart <= chord(np.maximum(radius_arcsec[i], radius_arcsec[j]))
    np.minimum.at(least, i[near], values[j[near]])
    np.minimum.at(least, j[near], values[i[near]])
    return least
