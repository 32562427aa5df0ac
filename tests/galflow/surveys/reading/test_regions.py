"""Regions of the sky against astropy's separations and winding numbers on the sphere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from galflow.spec.selection import RegionSpec, SelectionSpec
from galflow.surveys.reading.places import Place
from galflow.surveys.reading.positions import separation_arcsec, unit_vectors
from galflow.surveys.reading.regions import inside, out_of_reach

RNG = np.random.default_rng(1)
RA, DEC = RNG.uniform(0, 360, 4000), np.rad2deg(np.arcsin(RNG.uniform(-1, 1, 4000)))
CONCAVE = [[340, -20], [40, -25], [35, 10], [8, -10], [352, 12]]
SHAPES: list[dict[str, Any]] = [
    {"circle": {"ra_deg": 359, "dec_deg": 80, "radius_deg": 25}},
    {"box": {"ra_deg": [350, 10], "dec_deg": [-30, 30]}},
    {"box": {"ra_deg": [100, 140], "dec_deg": [60, 89]}},
    {"box": {"ra_deg": [0, 360], "dec_deg": [-90, -70]}},
    {"polygon": [[0, 0], [90, 0], [0, 90]]},
    {"polygon": CONCAVE},
]


def test_a_circle_is_astropys() -> None:
    far = SkyCoord(RA, DEC, unit="deg").separation(SkyCoord(359, 80, unit="deg")).deg
    np.testing.assert_array_equal(inside([RegionSpec(**SHAPES[0])], RA, DEC), far <= 25)


def test_a_box_goes_through_zero_and_holds_its_edges() -> None:
    box = RegionSpec(**SHAPES[1])
    expected = ((RA >= 350) | (RA <= 10)) & (np.abs(DEC) <= 30)
    np.testing.assert_array_equal(inside([box], RA, DEC), expected)
    assert inside([box], np.array([350.0, 10.0, 0.0, 360.0]), np.array([-30.0, 30.0, 30.0, 0.0])).all()


def test_an_octant_and_a_concave_polygon() -> None:
    direction = unit_vectors(RA, DEC)
    np.testing.assert_array_equal(inside([RegionSpec(**SHAPES[4])], RA, DEC), (direction >= 0).all(axis=1))
    polygon = RegionSpec(polygon=CONCAVE)
    vertices = unit_vectors(*np.array(CONCAVE, float).T)
    # A polygon goes once round each point in it; seen from behind, so it does round its antipodes.
    tangents = vertices - (direction @ vertices.T)[..., None] * direction[:, None]
    following = np.roll(tangents, -1, axis=1)
    turn = np.arctan2((np.cross(tangents, following) * direction[:, None]).sum(-1), (tangents * following).sum(-1))
    expected = (np.abs(turn.sum(axis=1)) > np.pi) & (direction @ np.array(polygon.middle) > 0)
    np.testing.assert_array_equal(inside([polygon], RA, DEC), expected)
    assert expected.sum() > 40


def test_several_are_one_and_no_position_lies_in_none() -> None:
    both = inside([RegionSpec(**s) for s in SHAPES[:2]], RA, DEC)
    one, two = (inside([RegionSpec(**s)], RA, DEC) for s in SHAPES[:2])
    np.testing.assert_array_equal(both, one | two)
    everything = RegionSpec(circle={"ra_deg": 0, "dec_deg": 0, "radius_deg": 180})
    assert inside([everything], np.array([np.nan, 3.0]), np.array([1.0, 2.0])).tolist() == [False, True]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: next(iter(s)))
def test_a_tile_is_out_of_reach_only_where_nothing_of_it_lies_within(shape: dict[str, Any]) -> None:
    selection = SelectionSpec(regions=(shape,))
    far = 0
    for i in range(200):
        place, radius = Place(tuple(unit_vectors(RA[i], DEC[i])), float(RNG.uniform(0.5, 15))), 0.0
        radius = place.radius_deg
        within = separation_arcsec(RA[i], DEC[i], RA, DEC) <= radius * 3600
        if out_of_reach(selection, place):
            far += 1
            assert not inside(selection.regions, RA[within], DEC[within]).any()
    assert far > 60
    assert not out_of_reach(selection, None), "who knows"
    assert not out_of_reach(SelectionSpec(), place), "all of the sky"


def test_a_tile_just_beyond_an_edge_is_out_of_reach() -> None:
    for shape, ra, dec in (
        ({"circle": {"ra_deg": 10, "dec_deg": 0, "radius_deg": 1}}, 12.11, 0.0),
        ({"box": {"ra_deg": [9, 11], "dec_deg": [-1, 1]}}, 12.11, 0.0),
        ({"polygon": [[9, -1], [11, -1], [11, 1], [9, 1]]}, 12.11, 0.0),
    ):
        selection = SelectionSpec.model_validate({"regions": [shape]})
        assert out_of_reach(selection, Place(tuple(unit_vectors(ra, dec)), 1.1))
        assert not out_of_reach(selection, Place(tuple(unit_vectors(ra, dec)), 1.12))
