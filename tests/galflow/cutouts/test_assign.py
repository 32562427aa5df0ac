"""Objects of overlapping tiles: each once, from the tile where it lies deepest; checked by brute force."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS, NoConvergence

from galflow.cutouts.assign import assign
from galflow.cutouts.flags import repeated
from galflow.errors import SpecError
from galflow.surveys.base import Footprint

MakeWcs = Callable[..., WCS]


def _catalog(ra: np.ndarray, dec: np.ndarray, ids: np.ndarray | None = None) -> pa.Table:
    ids = np.arange(len(ra)) if ids is None else ids
    return pa.table({"object_id": ids, "ra_deg": ra, "dec_deg": dec, "mag_r": np.linspace(18, 24, len(ra))})


def _tiles(tan_wcs: MakeWcs, ra0: float, dec0: float) -> dict[str, Footprint]:
    """Overlapping tiles, one turned, one of another scale, in an order that is not that of their names."""
    step = 150 * 0.2 / 3600
    wide = step / np.cos(np.deg2rad(dec0))
    return {
        "b/2": Footprint(tan_wcs(crval=(ra0 + wide, dec0)), (201, 201)),
        "a/1": Footprint(tan_wcs(crval=(ra0, dec0)), (201, 201)),
        "c": Footprint(tan_wcs(crval=((ra0 + wide / 2) % 360, dec0 + step), angle_deg=33.0), (180, 240)),
        "d": Footprint(tan_wcs(crval=(ra0, dec0 - step), scale_arcsec=0.1), (301, 201)),
    }


@pytest.mark.parametrize(("ra0", "dec0"), [(150.0, 2.0), (0.0, -45.0), (359.995, 80.0), (10.0, 89.99)])
def test_each_object_goes_once_to_the_tile_where_it_lies_deepest(tan_wcs: MakeWcs, ra0: float, dec0: float) -> None:
    rng = np.random.default_rng(1)
    tiles = _tiles(tan_wcs, ra0, dec0)
    half = 300 * 0.2 / 3600
    ra = (ra0 + rng.uniform(-half, 2 * half, 1500) / np.cos(np.deg2rad(dec0))) % 360
    dec = np.clip(dec0 + rng.uniform(-half, half, 1500), -90, 90)
    result = assign(_catalog(ra, dec), tiles)

    expected = {}
    for i in range(len(ra)):
        best, deepest = None, 0.0
        for name in sorted(tiles):
            wcs, (height, width) = tiles[name].wcs, tiles[name].shape
            assert wcs is not None
            x, y = (float(v) for v in wcs.all_world2pix(ra[i], dec[i], 0, quiet=True))
            depth = min(x + 0.5, width - 0.5 - x, y + 0.5, height - 0.5 - y)
            # A gnomonic projection also maps the antipode; nothing there is near.
            if depth > deepest:
                best, deepest = name, depth
        expected[i] = best
    found = {i: name for name, rows in result.by_tile.items() for i in rows.column("object_id").to_pylist()}
    outside = set(result.outside.column("object_id").to_pylist())
    assert found == {i: name for i, name in expected.items() if name is not None}
    assert outside == {i for i, name in expected.items() if name is None}
    assert len(found) + len(outside) == 1500
    assert all(result.by_tile[name].num_rows > 20 for name in tiles)
    assert len(outside) > 20


def test_positions_are_pixels_of_the_tile_and_the_row_travels_along(tan_wcs: MakeWcs) -> None:
    tiles = _tiles(tan_wcs, 150.0, 2.0)
    wcs = tiles["a/1"].wcs
    assert wcs is not None
    ra, dec = (np.atleast_1d(v) for v in wcs.all_pix2world([30.25, 100.0], [40.5, 99.0], 0))
    result = assign(_catalog(ra, dec), tiles)
    rows = result.by_tile["a/1"]
    np.testing.assert_allclose(rows.column("x").to_numpy(), [30.25, 100.0], atol=1e-6)
    np.testing.assert_allclose(rows.column("y").to_numpy(), [40.5, 99.0], atol=1e-6)
    assert rows.column("mag_r").to_pylist() == [18.0, 24.0]
    assert rows.column("repeated_id").to_pylist() == [False, False]


def test_the_other_side_of_the_sky_is_outside(tan_wcs: MakeWcs) -> None:
    tiles = {"a": Footprint(tan_wcs(), (201, 201))}
    result = assign(_catalog(np.array([330.0, 150.0, 150.0]), np.array([-2.0, -88.0, 2.0])), tiles)
    assert result.by_tile["a"].column("object_id").to_pylist() == [2]
    assert result.outside.column("object_id").to_pylist() == [0, 1]
    assert np.isnan(result.outside.column("x").to_numpy()).all()


def test_a_row_without_a_position_is_kept_outside(tan_wcs: MakeWcs) -> None:
    tiles = {"a": Footprint(tan_wcs(), (201, 201))}
    ra = pa.array([150.0, None, float("nan"), 150.0], pa.float64())
    table = pa.table({"object_id": [1, 2, 3, 4], "ra_deg": ra, "dec_deg": pa.array([2.0, 2.0, 2.0, float("inf")])})
    result = assign(table, tiles)
    assert result.by_tile["a"].column("object_id").to_pylist() == [1]
    assert result.outside.column("object_id").to_pylist() == [2, 3, 4]


def test_an_empty_catalogue_and_one_far_from_all_tiles(tan_wcs: MakeWcs) -> None:
    tiles = {"a": Footprint(tan_wcs(), (201, 201))}
    none = np.zeros(0)
    assert assign(_catalog(none, none), tiles).by_tile["a"].num_rows == 0
    assert assign(_catalog(np.array([10.0]), np.array([60.0])), tiles).outside.num_rows == 1


def test_repeated_ids_are_marked_after_the_first_and_beyond_2_to_53() -> None:
    ids = pa.array([2**62 + 1, 2**62, 2**62 + 1, 7, 7, 7], pa.int64())
    assert repeated(ids).tolist() == [False, False, True, False, True, True]
    unsigned = pa.chunked_array([pa.array([2**63 + 1, 2**63], pa.uint64()), pa.array([2**63 + 1], pa.uint64())])
    assert repeated(unsigned).tolist() == [False, False, True]
    assert repeated(pa.array([], pa.int64())).tolist() == []


def test_an_id_repeated_across_tiles_is_marked(tan_wcs: MakeWcs) -> None:
    tiles = {"a": Footprint(tan_wcs(), (201, 201)), "b": Footprint(tan_wcs(crval=(151.0, 2.0)), (201, 201))}
    table = _catalog(np.array([150.0, 151.0, 150.001]), np.array([2.0, 2.0, 2.0]), np.array([5, 5, 6]))
    result = assign(table, tiles)
    assert result.by_tile["a"].column("repeated_id").to_pylist() == [False, False]
    assert result.by_tile["b"].column("repeated_id").to_pylist() == [True]


def test_a_tile_without_wcs_is_refused(tan_wcs: MakeWcs) -> None:
    none = _catalog(np.zeros(1), np.zeros(1))
    for blind in (None, Footprint(None, (10, 10))):
        with pytest.raises(
            SpecError, match=r"tile 'x' has no WCS.*declare a nominal WCS, or give a catalogue with pixel"
        ):
            assign(none, {"a": Footprint(tan_wcs(), (10, 10)), "x": blind})


# --- frames, and WCS that fail


def _galactic(tan_wcs: MakeWcs, latitude_first: bool) -> WCS:
    """The tile at ra 150, dec 2 in Galactic coordinates."""
    centre = SkyCoord(150.0, 2.0, unit="deg").galactic
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["GLAT-TAN", "GLON-TAN"] if latitude_first else ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.crval = [centre.b.deg, centre.l.deg] if latitude_first else [centre.l.deg, centre.b.deg]
    wcs.wcs.crpix = [101, 101]
    wcs.wcs.cd = np.array([[-0.2, 0.03], [0.03, 0.2]]) / 3600
    wcs.wcs.set()
    return wcs


@pytest.mark.parametrize("latitude_first", [False, True])
def test_an_equatorial_catalogue_finds_tiles_in_galactic_coordinates(tan_wcs: MakeWcs, latitude_first: bool) -> None:
    wcs = _galactic(tan_wcs, latitude_first)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 200, 50), rng.uniform(0, 200, 50)
    sky = wcs.pixel_to_world(x, y).icrs
    result = assign(
        _catalog(sky.ra.deg, sky.dec.deg),
        {"a": Footprint(wcs, (201, 201)), "b": Footprint(tan_wcs(crval=(150, 12)), (201, 201))},
    )
    rows = result.by_tile["a"]
    assert rows.num_rows == 50
    np.testing.assert_allclose(rows.column("x").to_numpy(), x, atol=1e-5)
    np.testing.assert_allclose(rows.column("y").to_numpy(), y, atol=1e-5)


class _Partial(WCS):
    """A WCS that raises for positions south of a declination, as wcslib does beyond some projections."""

    south: float = -90.0

    def all_world2pix(self, *world: object, **how: object) -> object:
        if np.min(np.asarray(world[1])) < self.south:
            raise NoConvergence("the solution is diverging")
        return super().all_world2pix(*world, **how)


def _partial(tan_wcs: MakeWcs, south: float) -> _Partial:
    made = _Partial(tan_wcs().to_header())
    made.south = south
    return made


def test_positions_for_which_a_wcs_raises_cost_those_positions_alone(tan_wcs: MakeWcs) -> None:
    ra, dec = np.full(7, 150.0), 2.0 + np.array([0.003, -0.004, 0.0, -0.0041, 0.001, 0.002, 0.004])
    result = assign(_catalog(ra, dec), {"a": Footprint(_partial(tan_wcs, 1.999), (201, 201))})
    assert result.by_tile["a"].column("object_id").to_pylist() == [0, 2, 4, 5, 6]
    assert result.outside.column("object_id").to_pylist() == [1, 3]
    assert result.problems == {}


def test_a_wcs_without_any_position_costs_its_tile_with_a_reason(tan_wcs: MakeWcs) -> None:
    good, broken = Footprint(tan_wcs(), (201, 201)), WCS(naxis=2)
    broken.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    broken.wcs.cd = np.zeros((2, 2))
    linear = WCS(naxis=2)
    tiles = {
        "a": Footprint(broken, (50, 50)),
        "b": good,
        "c": Footprint(_partial(tan_wcs, 80.0), (201, 201)),
        "d": Footprint(linear, (9, 9)),
    }
    result = assign(_catalog(np.array([150.0]), np.array([2.0])), tiles)
    assert result.by_tile["b"].num_rows == 1
    assert result.by_tile["a"].num_rows == result.by_tile["c"].num_rows == 0
    assert sorted(result.problems) == ["a", "c", "d"]
    assert all(
        "its WCS gives no positions: " in text and "check its cards" in text for text in result.problems.values()
    )


def test_a_tile_of_the_whole_sky_whose_corners_are_no_sky() -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---AIT", "DEC--AIT"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [0.0, 0.0], [180.5, 90.5], [-1.0, 1.0]
    wcs.wcs.set()
    ra, dec = np.array([0.0, 90.0, 170.0, 300.0]), np.array([0.0, 60.0, -80.0, 10.0])
    result = assign(_catalog(ra, dec), {"sky": Footprint(wcs, (180, 360))})
    assert result.by_tile["sky"].num_rows == 4
