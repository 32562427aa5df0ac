"""Which rows of overlapping tiles are one object, against truth that is known because the sky was made."""

import itertools

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from galflow.cutouts.matching import TileRows, least_of_neighbours, mutual_pairs, primary_rows
from galflow.surveys.reading.positions import unit_vectors

ARCSEC = 1 / 3600


def tile(name: str, ra, dec, depth=None, scorable=None, radius: float = 1.0) -> TileRows:
    ra, dec = np.atleast_1d(ra).astype(float), np.atleast_1d(dec).astype(float)
    depth = np.full(len(ra), 10.0) if depth is None else np.atleast_1d(depth).astype(float)
    scorable = np.ones(len(ra), bool) if scorable is None else np.atleast_1d(scorable)
    return TileRows(name, unit_vectors(ra, dec), scorable, depth, radius)


def objects(tiles: list[TileRows]) -> set[frozenset[tuple[str, int]]]:
    """Each object as the set of its rows."""
    found: dict[tuple[int, int], set[tuple[str, int]]] = {}
    for number, pairs in enumerate(primary_rows(tiles)):
        for row, owner in enumerate(map(tuple, pairs.tolist())):
            found.setdefault(owner, set()).add((tiles[number].tile, row))
    return {frozenset(rows) for rows in found.values()}


def test_every_object_of_a_made_sky_has_one_primary_row_and_it_is_the_deepest():
    rng = np.random.default_rng(1)
    # 900 objects at least 4 arcsec apart, at a declination where right ascension is stretched threefold.
    x, y = (v.ravel() * 4 * ARCSEC for v in np.meshgrid(np.arange(30), np.arange(30)))
    dec = 70.0 + y
    ra = 150.0 + x / np.cos(np.deg2rad(dec))
    edges = [(0, 14), (11, 24), (20, 30)]
    tiles, truth = [], []
    for name, (low, high) in zip("abc", edges, strict=True):
        inside = np.flatnonzero((x / ARCSEC / 4 >= low) & (x / ARCSEC / 4 < high))
        jitter = rng.normal(0, 0.1 * ARCSEC, (2, len(inside)))
        depth = np.minimum(x[inside] / ARCSEC / 4 - low, high - x[inside] / ARCSEC / 4)
        tiles.append(
            tile(name, ra[inside] + jitter[0] / np.cos(np.deg2rad(dec[inside])), dec[inside] + jitter[1], depth)
        )
        truth.append(inside)
    owners = primary_rows(tiles)
    primaries = np.concatenate(
        [
            t[(o == np.stack([np.full(len(o), i), np.arange(len(o))], -1)).all(1)]
            for i, (t, o) in enumerate(zip(truth, owners, strict=True))
        ]
    )
    np.testing.assert_array_equal(np.sort(primaries), np.arange(900))
    for number, pairs in enumerate(owners):
        for row, (t, r) in enumerate(pairs):
            assert truth[number][row] == truth[t][r]
            assert tiles[t].depth_arcsec[r] >= tiles[number].depth_arcsec[row]


def test_the_outcome_depends_on_no_order_of_the_tiles():
    rng = np.random.default_rng(2)
    tiles = [
        tile(n, 10 + rng.uniform(0, 20, 60) * ARCSEC, rng.uniform(0, 20, 60) * ARCSEC, rng.uniform(0, 9, 60))
        for n in "abcd"
    ]
    first = objects(tiles)
    assert all(objects(list(order)) == first for order in itertools.permutations(tiles))
    assert len({row for rows in first for row in rows}) == 240


def test_two_rows_of_one_tile_are_two_objects_however_close():
    two = tile("a", [10.0, 10.0 + 0.3 * ARCSEC], [0.0, 0.0], depth=[5, 5])
    assert objects([two, tile("b", 99.0, 0.0)]) == {frozenset({("a", 0)}), frozenset({("a", 1)}), frozenset({("b", 0)})}
    # Both tiles see both: each finds its own twin.
    other = tile("b", [10.0 + 0.05 * ARCSEC, 10.0 + 0.35 * ARCSEC], [0.0, 0.0], depth=[3, 3])
    assert objects([two, other]) == {frozenset({("a", 0), ("b", 0)}), frozenset({("a", 1), ("b", 1)})}


def test_what_an_edge_left_of_a_galaxy_is_no_object_of_its_own():
    """The centre of what is left lies inside the tile, the galaxy's own beyond its edge."""
    whole = tile("a", [10.0, 10.0 + 6 * ARCSEC], [0.0, 0.0], depth=[9, 9])
    for depth, apart, one in ((0.4, 2.0, True), (0.4, 3.5, False), (5.0, 2.0, False)):
        rest = tile("b", 10.0 + apart * ARCSEC, 0.0, depth=depth)
        expected = {frozenset({("a", 0), ("b", 0)}), frozenset({("a", 1)})}
        assert (objects([whole, rest]) == expected) == one, (depth, apart)
    # Where the galaxy has a row of its own in that tile, what lies beside it is another object.
    both = tile("b", [10.0, 10.0 + 2.0 * ARCSEC], [0.0, 0.0], depth=[2.0, 5.0])
    assert len(objects([whole, both])) == 3


def test_an_object_has_one_row_in_a_tile_that_tells_its_neighbours_apart():
    """Through a third tile's row an object would reach its neighbour, if the tile had no row of the object yet."""
    a, c = tile("a", 10.0, 0.0, depth=9), tile("c", 10.0 + 0.7 * ARCSEC, 0.0, depth=5)
    b = tile("b", [10.0 + 0.1 * ARCSEC, 10.0 + 1.2 * ARCSEC], [0.0, 0.0], depth=[7, 7])
    assert objects([a, b, c]) == {frozenset({("a", 0), ("b", 0), ("c", 0)}), frozenset({("b", 1)})}


def test_where_the_deeper_tile_sees_one_object_it_is_one():
    parted = tile("a", [10.0, 10.0 + 0.8 * ARCSEC], [0.0, 0.0], depth=[2, 2])
    whole = tile("b", 10.0 + 0.3 * ARCSEC, 0.0, depth=9)
    assert objects([parted, whole]) == {frozenset({("a", 0), ("a", 1), ("b", 0)})}
    shallow = tile("b", 10.0 + 0.3 * ARCSEC, 0.0, depth=1)
    assert objects([parted, shallow]) == {frozenset({("a", 0), ("b", 0)}), frozenset({("a", 1)})}


def test_a_row_without_pixels_is_primary_only_if_no_other_is():
    blind = tile("a", 10.0, 0.0, depth=50, scorable=False)
    seen = tile("b", 10.0, 0.0, depth=1)
    assert primary_rows([blind, seen])[0].tolist() == [[1, 0]]
    assert primary_rows([blind, tile("b", 20.0, 0.0)])[0].tolist() == [[0, 0]]


def test_a_chain_of_matches_is_one_object():
    tiles = [
        tile(n, 10 + shift * ARCSEC, 0.0, depth=d) for n, shift, d in (("a", 0.0, 9), ("b", 0.8, 5), ("c", 1.6, 4))
    ]
    assert objects(tiles) == {frozenset({("a", 0), ("b", 0), ("c", 0)})}


def test_equal_depths_are_decided_by_the_tiles_names():
    assert primary_rows([tile("b", 10.0, 0.0), tile("a", 10.0, 0.0)])[0].tolist() == [[1, 0]]


def test_rows_without_a_position_match_nothing():
    nowhere = tile("a", [np.nan, 10.0], [np.nan, 0.0])
    assert objects([nowhere, tile("b", [10.0, np.nan], [0.0, np.nan])]) == {
        frozenset({("a", 0)}), frozenset({("a", 1), ("b", 0)}), frozenset({("b", 1)})
    }  # fmt: skip


def test_without_matching_every_row_is_primary():
    tiles = [tile("a", 10.0, 0.0), tile("b", 10.0, 0.0)]
    assert [o.tolist() for o in primary_rows(tiles, matches=False)] == [[[0, 0]], [[1, 0]]]


@pytest.mark.parametrize("dec", [0.0, 60.0, 89.9, -75.0])
def test_pairs_are_those_of_astropy(dec):
    rng = np.random.default_rng(3)
    a = SkyCoord(
        rng.uniform(0, 60, 200) * ARCSEC / np.cos(np.deg2rad(dec)), dec + rng.uniform(0, 60, 200) * ARCSEC, unit="deg"
    )
    b = SkyCoord(
        rng.uniform(0, 60, 300) * ARCSEC / np.cos(np.deg2rad(dec)), dec + rng.uniform(0, 60, 300) * ARCSEC, unit="deg"
    )
    one, other = mutual_pairs(unit_vectors(a.ra.deg, a.dec.deg), unit_vectors(b.ra.deg, b.dec.deg), 1.5)
    nearest, apart, _ = a.match_to_catalog_sky(b)
    back, _, _ = b.match_to_catalog_sky(a)
    expected = [(i, j) for i, j in enumerate(nearest) if back[j] == i and apart[i].arcsec < 1.5]
    assert len(expected) > 20
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == expected


def test_the_least_of_neighbours_is_seen_from_both_sides():
    direction = unit_vectors(np.array([10, 10 + 1.5 * ARCSEC, 10 + 4 * ARCSEC, np.nan]), np.zeros(4))
    least = least_of_neighbours(direction, np.array([0.2, 0.9, 0.1, 0.0]), np.array([1.0, 2.0, 1.0, 9.0]))
    np.testing.assert_array_equal(least, [0.9, 0.2, np.inf, np.inf])
