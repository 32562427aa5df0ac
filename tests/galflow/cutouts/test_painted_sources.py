"""Stars put in the place of held-out objects, and objects laid beside others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from galflow.cutouts.batches import CutoutRows
from galflow.cutouts.painted import HeldOut
from galflow.cutouts.painted_sources import painted_sources
from galflow.errors import DataError

SIDE, FWHM = 32, 3.0


@pytest.fixture
def objects() -> HeldOut:
    """Two tiles of 30 and 20 broad galaxies in noise of sigma 2, in two bands."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    tiles = []
    for count in (30, 20):
        light = rng.uniform(40, 200, (count, 1, 1, 1)) * np.exp(-0.5 * (y**2 + x**2) / 3.5**2)
        flux = (light * np.array([1.0, 0.5])[:, None, None] + rng.normal(0, 2, (count, 2, SIDE, SIDE))).astype("f4")
        tiles.append(CutoutRows(flux, np.ones_like(flux), None, {"z": np.arange(count, dtype=np.float32)}))
    flags = tuple(np.zeros(len(t.flux), np.int64) for t in tiles)
    return HeldOut(tuple(tiles), (np.full(2, 2.0),) * 2, (FWHM,) * 2, (FWHM,) * 2, flags)


def _flux(tiles: tuple[CutoutRows, ...]) -> np.ndarray:
    return np.concatenate([rows.flux for rows in tiles])


def test_stars_are_as_small_as_the_psf_and_the_galaxy_is_gone(objects: HeldOut) -> None:
    painted = painted_sources(objects, np.arange(50) % 2 == 0, 40, 3, stars=True)
    stars = _flux(painted.tiles)[painted.kind == "star"].sum(1)
    assert len(stars) == 40
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    near = np.hypot(y, x) <= 9
    for star in stars:
        bright = np.where(near & (star > 12), star, 0)
        area = (star > 0.5 * star.max()).sum()
        assert bright.sum() > 0
        # A Moffat profile of that FWHM covers 7 pixels above half of its height; the galaxies cover 50.
        assert area < 20


def test_a_blend_keeps_its_object_and_adds_another_one(objects: HeldOut) -> None:
    half = np.arange(50) % 2 == 0
    painted = painted_sources(objects, half, 40, 3, stars=False)
    assert set(painted.kind) == {"blend"}
    added = _flux(painted.tiles) - _flux(objects.tiles)[painted.original]
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    for light in added:
        assert (light == 0).mean() > 0.5, "the second object brings nothing of its surroundings"
        total = np.maximum(light.sum(0), 0)
        centre = np.hypot((total * y).sum(), (total * x).sum()) / total.sum()
        assert 0.1 * SIDE < centre < 0.5 * SIDE
    columns = np.concatenate([rows.columns["z"] for rows in painted.tiles])
    first = np.concatenate([rows.columns["z"] for rows in objects.tiles])
    np.testing.assert_array_equal(columns, first[painted.original])


def test_both_objects_of_a_blend_are_of_one_half(objects: HeldOut) -> None:
    """Objects of one half are dark in the second band, so that what is added says from which half it is."""
    half = np.arange(50) % 3 == 0
    tiles, first = [], 0
    for rows in objects.tiles:
        flux = rows.flux.copy()
        flux[half[first : first + len(flux)], 1] = 0
        tiles.append(CutoutRows(flux, rows.ivar, None, rows.columns))
        first += len(flux)
    marked = replace(objects, tiles=tuple(tiles))
    painted = painted_sources(marked, half, 60, 5, stars=False)
    added = _flux(painted.tiles) - _flux(marked.tiles)[painted.original]
    dark = (added[:, 1] == 0).all((1, 2))
    np.testing.assert_array_equal(dark, half[painted.original])


def test_the_same_seed_paints_the_same(objects: HeldOut) -> None:
    half = np.arange(50) % 2 == 0
    one, other = (painted_sources(objects, half, 10, 7, stars=True) for _ in range(2))
    np.testing.assert_array_equal(_flux(one.tiles), _flux(other.tiles))


def test_without_a_known_noise_nothing_is_painted(objects: HeldOut) -> None:
    unknown = replace(objects, sky_sigma=(np.array([2.0, np.nan]),) * 2)
    with pytest.raises(DataError, match="stars and blends cannot be painted to scale"):
        painted_sources(unknown, np.ones(50, bool), 10, 7, stars=True)
