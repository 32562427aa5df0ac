"""Which tiles are neighbours: across right ascension 0, at the pole, and with work that grows as the tiles do."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial
from astropy.wcs import WCS

from galflow.surveys.base import Footprint
from galflow.surveys.reading.places import Place, neighbours


def footprint(ra: float, dec: float, side_deg: float = 1.0, pixels: int = 100) -> Footprint:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(pixels + 1) / 2] * 2
    wcs.wcs.cdelt = [-side_deg / pixels, side_deg / pixels]
    wcs.wcs.set()
    return Footprint(wcs, (pixels, pixels))


def found(**centres: tuple[float, float]) -> dict[str, tuple[str, ...]]:
    return neighbours({name: Place.of(footprint(*centre)) for name, centre in centres.items()}, 30.0)


def test_circle_holds_the_tile() -> None:
    place = Place.of(footprint(120.0, 60.0))
    assert place is not None
    assert place.radius_deg == pytest.approx(np.sqrt(0.5), rel=0.03)
    np.testing.assert_allclose(np.rad2deg(np.arcsin(place.direction[2])), 60.0, atol=1e-6)
    assert Place.of(None) is None
    assert Place.of(Footprint(None, (10, 10))) is None


def test_neighbours_across_right_ascension_zero() -> None:
    assert found(west=(359.6, 0.0), east=(0.4, 0.0), far=(180.0, 0.0)) == {
        "west": ("east",),
        "east": ("west",),
        "far": (),
    }


def test_at_high_declination_a_degree_of_right_ascension_is_short() -> None:
    assert found(a=(10.0, 80.0), b=(16.0, 80.0))["a"] == ("b",)
    assert found(a=(10.0, 0.0), b=(16.0, 0.0))["a"] == ()


def test_all_tiles_around_the_pole_are_neighbours() -> None:
    tiles = {f"t{i}": (90.0 * i, 89.6) for i in range(4)}
    assert all(len(others) == 3 for others in found(**tiles).values())


def test_the_margin_counts_once_and_unknown_places_have_no_neighbours() -> None:
    radius = 0.5
    apart = 2 * radius + 20 / 3600
    known = [Place(tuple(direction(d)), radius) for d in (0.0, apart, 2.5)]
    places_ = {"a": known[0], "b": known[1], "c": known[2], "lost": None}
    assert neighbours(places_, 30.0) == {"a": ("b",), "b": ("a",), "c": (), "lost": ()}
    assert neighbours(places_, 15.0)["a"] == ()


def direction(ra_deg: float) -> list[float]:
    return [float(np.cos(np.deg2rad(ra_deg))), float(np.sin(np.deg2rad(ra_deg))), 0.0]


def test_work_grows_as_the_tiles_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by the candidates that are looked at, which time on a busy machine does not tell."""
    looked: list[int] = []

    class Counting(scipy.spatial.cKDTree):  # type: ignore[misc]
        def query_ball_point(self, *arguments: object, **options: object) -> object:
            lists = super().query_ball_point(*arguments, **options)
            looked.append(sum(len(found) for found in lists))
            return lists

    monkeypatch.setattr(scipy.spatial, "cKDTree", Counting)
    for side in (30, 90):
        grid = [(x, y) for x in range(side) for y in range(side)]
        step = np.deg2rad(0.2)
        made = {
            f"{x}-{y}": Place(
                (np.cos(x * step) * np.cos(y * step), np.sin(x * step) * np.cos(y * step), np.sin(y * step)), 0.12
            )
            for x, y in grid
        }
        around = neighbours(made, 30.0)
        assert len(around["10-10"]) in (4, 8)
    assert looked[1] / looked[0] < 1.5 * (90 / 30) ** 2


def test_a_large_tile_and_a_small_one_within_it_are_neighbours_of_each_other() -> None:
    large, small = Place(tuple(direction(0.0)), 5.0), Place(tuple(direction(4.5)), 0.1)
    assert neighbours({"large": large, "small": small}, 1.0) == {"large": ("small",), "small": ("large",)}
    three = {"large": large, "small": small, "tiny": Place(tuple(direction(-4.0)), 0.1)}
    assert neighbours(three, 1.0)["tiny"] == ("large",)
